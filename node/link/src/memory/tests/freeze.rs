use bytes::Bytes;
use tokio::time::timeout;

use super::fixture::{CALM, Pair, ms};
use super::{A, B};
use crate::memory::Conditions;
use crate::{LinkError, Links, Service};

fn slow() -> Pair {
    Pair::under(Conditions {
        latency: ms(10),
        ..CALM
    })
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_frozen_node_arrive_at_the_thaw_in_their_order() {
    let pair = slow();
    pair.hub.freeze(B);

    let asked = tokio::spawn(futures::future::join_all((0..20).map(|n| pair.ask(n))));
    tokio::time::sleep(ms(500)).await;
    assert!(pair.arrived().is_empty());
    pair.hub.thaw(B);
    let outcomes = asked.await.unwrap();

    assert!(outcomes.iter().all(Result::is_ok));
    assert!(pair.arrived().into_iter().eq(0..20));
    assert_eq!(pair.elapsed(), ms(510));
    assert_eq!(pair.hub.tally().frozen, 20);
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_frozen_node_leave_at_the_thaw_in_their_order() {
    let pair = slow();
    pair.hub.freeze(A);

    let asked = tokio::spawn(futures::future::join_all((0..20).map(|n| pair.ask(n))));
    tokio::time::sleep(ms(500)).await;
    pair.hub.thaw(A);
    let outcomes = asked.await.unwrap();

    assert!(outcomes.iter().all(Result::is_ok));
    assert!(pair.arrived().into_iter().eq(0..20));
    assert_eq!(pair.arrivals()[0], ms(510));
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_whoever_is_frozen() {
    let answering = Pair::seeded(1, CALM, ms(100));
    let asking = Pair::seeded(1, CALM, ms(100));

    for (pair, frozen) in [(answering, B), (asking, A)] {
        let asked = tokio::spawn(pair.ask(0));
        tokio::time::sleep(ms(50)).await;
        pair.hub.freeze(frozen);
        tokio::time::sleep(ms(450)).await;
        assert!(!asked.is_finished());
        pair.hub.thaw(frozen);
        assert!(asked.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_and_to_a_frozen_node_go_on_at_the_thaw() {
    for frozen in [A, B] {
        let pair = slow();
        let mut channel = pair.stream().await;
        channel.send.write_all(b"before").await.unwrap();
        assert_eq!(channel.recv.read(100).await.unwrap().unwrap(), "before");

        pair.hub.freeze(frozen);
        let said = tokio::spawn(async move {
            channel.send.write_all(b"while").await.unwrap();
            channel.send.finish().unwrap();
            channel.recv.read_to_end(100).await
        });
        tokio::time::sleep(ms(500)).await;
        assert!(!said.is_finished());
        pair.hub.thaw(frozen);

        assert_eq!(said.await.unwrap().unwrap(), "while");
        assert!(pair.hub.tally().frozen > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_given_up_on_a_frozen_node_breaks_at_the_thaw() {
    let pair = slow();
    let mut channel = pair.stream().await;
    pair.hub.freeze(A);

    let hub = pair.hub.clone();
    drop(channel.send);
    let early = timeout(ms(500), channel.recv.read(100)).await;
    hub.thaw(A);
    let late = channel.recv.read(100).await;

    // B's end gives up too, once it has heard of it.
    assert!(early.is_err());
    assert!(matches!(late, Err(LinkError::Broken { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_freeze_alone_refuses_and_breaks_nothing() {
    let pair = slow();
    let mut channel = pair.stream().await;

    pair.hub.freeze(A);
    pair.hub.freeze(B);
    let waited = timeout(ms(10_000), pair.ask(0)).await;
    pair.hub.thaw(A);
    pair.hub.thaw(B);

    assert!(waited.is_err());
    assert!(pair.ask(1).await.is_ok());
    channel.send.write_all(b"piece").await.unwrap();
    assert_eq!(channel.recv.read(100).await.unwrap().unwrap(), "piece");
}

#[tokio::test(start_paused = true)]
async fn a_node_killed_while_frozen_answers_nobody() {
    let pair = slow();
    pair.hub.freeze(B);
    let asked = tokio::spawn(pair.ask(0));
    let sends = pair.b.call(A, Service::Rpc, Bytes::from_static(b"from"));
    let sends = tokio::spawn(sends);
    tokio::time::sleep(ms(100)).await;

    pair.hub.take_away(B);

    for outcome in [asked.await.unwrap(), sends.await.unwrap()] {
        assert!(matches!(outcome, Err(LinkError::Unreachable { .. })));
    }
    assert!(pair.arrived().is_empty());
    assert!(!pair.hub.is_frozen(B));
}
