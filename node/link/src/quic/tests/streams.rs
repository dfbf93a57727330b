use bytes::Bytes;
use futures::future::join_all;

use super::station::{HANG, HUGE, REFUSE, pair, patiently};
use crate::{CALL_BYTES_MAX, Channel, LinkError, Links, Service};

#[tokio::test]
async fn the_largest_call_goes_through() {
    let (a, b) = pair();
    let body = Bytes::from(vec![0x5a; CALL_BYTES_MAX]);

    let answer = patiently(a.endpoint.call(b.node, Service::Rpc, body.clone())).await;

    assert!(answer.unwrap() == body);
}

#[tokio::test]
async fn a_larger_call_does_not_leave() {
    let (a, mut b) = pair();
    let body = Bytes::from(vec![0; CALL_BYTES_MAX + 1]);

    let error = patiently(a.endpoint.call(b.node, Service::Rpc, body)).await;

    assert!(matches!(error, Err(LinkError::TooLarge { .. })));
    assert!(b.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_larger_answer_is_refused_in_words() {
    let (a, b) = pair();

    let error = a.ask_for(&b, HUGE).await.unwrap_err();

    assert!(
        matches!(&error, LinkError::Refused { reason, .. } if reason.contains("ask for less")),
        "{error}"
    );
}

#[tokio::test]
async fn a_handlers_reason_reaches_the_caller_and_the_connection_stays() {
    let (a, b) = pair();

    let error = a.ask_for(&b, REFUSE).await.unwrap_err();

    assert!(matches!(&error, LinkError::Refused { reason, .. } if reason == "no, because of this"));
    assert!(a.ask(&b).await.is_ok());
    assert_eq!(a.endpoint.connections(), 1);
}

#[tokio::test]
async fn a_call_that_was_given_up_is_carried_out_and_harms_no_other() {
    let (a, mut b) = pair();
    let given_up = tokio::spawn(a.endpoint.call(b.node, Service::Rpc, Bytes::from_static(HANG)));
    b.seen.recv().await.unwrap();

    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    let other = a.ask(&b).await;
    b.release.notify_one();

    assert_eq!(other.unwrap(), "hello");
    assert_eq!(b.finished.recv().await, Some(a.node));
    assert_eq!(b.finished.recv().await, Some(a.node));
}

#[tokio::test]
async fn a_thousand_calls_at_once_are_all_answered() {
    let (a, b) = pair();
    let calls = (0..1000_u32).map(|n| {
        let body = Bytes::copy_from_slice(&n.to_le_bytes());
        a.endpoint.call(b.node, Service::Raft, body)
    });

    let answers = patiently(join_all(calls)).await;

    for (n, answer) in (0..1000_u32).zip(answers) {
        assert_eq!(answer.unwrap(), n.to_le_bytes().as_slice());
    }
}

#[tokio::test]
async fn a_channel_carries_more_than_its_window() {
    let (a, b) = pair();
    let sent = Bytes::from((0..8_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());

    let channel = patiently(a.endpoint.open(b.node, Service::Chunks)).await;
    let Channel { mut send, mut recv } = channel.unwrap();
    let write = async {
        send.write_bytes(sent.clone()).await.unwrap();
        send.finish().unwrap();
        send.received().await.unwrap();
    };
    let (received, ()) = patiently(async { tokio::join!(recv.read_to_end(sent.len()), write) }).await;

    assert!(received.unwrap() == sent);
}

#[tokio::test]
async fn a_channel_dropped_unfinished_is_not_taken_for_whole() {
    let (a, b) = pair();
    let channel = patiently(a.endpoint.open(b.node, Service::Chunks)).await;
    let Channel { mut send, mut recv } = channel.unwrap();
    send.write_all(b"half of ").await.unwrap();
    assert_eq!(patiently(recv.read(100)).await.unwrap().unwrap(), "half of ");

    drop(send);

    let end = patiently(recv.read(100)).await;
    assert!(matches!(end, Err(LinkError::Broken { reason, .. }) if reason.contains("gave it up")));
}

#[tokio::test]
async fn a_reader_that_stops_fails_the_writer() {
    let (a, b) = pair();
    let channel = patiently(a.endpoint.open(b.node, Service::Chunks)).await;
    let Channel { mut send, recv } = channel.unwrap();

    recv.stop();
    // The echo cannot be written any more, so the other side lets go of its reading half.
    let failed = async {
        loop {
            if let Err(error) = send.write_all(&[0; 10_000]).await {
                return error;
            }
        }
    };

    assert!(matches!(patiently(failed).await, LinkError::Broken { .. }));
}

#[tokio::test]
async fn a_channel_that_nobody_reads_delays_no_election() {
    let (a, b) = pair();
    let channel = patiently(a.endpoint.open(b.node, Service::Chunks)).await;
    let Channel {
        mut send,
        recv: _unread,
    } = channel.unwrap();
    let stuck = tokio::spawn(async move { send.write_bytes(Bytes::from(vec![0; 64 << 20])).await });

    for _ in 0..20 {
        let call = a
            .endpoint
            .call(b.node, Service::Raft, Bytes::from_static(b"vote"));
        assert_eq!(patiently(call).await.unwrap(), "vote");
    }

    assert!(!stuck.is_finished());
    stuck.abort();
}
