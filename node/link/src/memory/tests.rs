mod fixture;
mod freeze;
mod observe;
mod weather;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_protocol::id::{ClusterId, NodeId};

use super::{Hub, MemoryLinks};
use crate::{Admission, CALL_BYTES_MAX, Channel, Handler, LinkError, Links, Roster, Service};

/// Answers with what it was asked, refuses what is empty, and sends streams back.
#[derive(Debug)]
struct Echo;

impl Handler for Echo {
    fn call(&self, _: NodeId, _: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async move {
            if body.is_empty() {
                return Err("nothing was asked".to_owned());
            }
            Ok(body)
        })
    }

    fn open(&self, _: NodeId, _: Service, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let echoed = match channel.recv.read(100_000).await {
                    Ok(Some(bytes)) => channel.send.write_bytes(bytes).await,
                    Ok(None) => break drop(channel.send.finish()),
                    Err(error) => Err(error),
                };
                if echoed.is_err() {
                    break;
                }
            }
        })
    }
}

#[derive(Debug)]
struct Members(Vec<NodeId>);

impl Roster for Members {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        Some((ClusterId::from_bytes([7; 16]), 1))
    }

    fn admission(&self, node: NodeId) -> Admission {
        if self.0.contains(&node) {
            Admission::Member
        } else {
            Admission::Unknown
        }
    }

    fn addresses(&self, _: NodeId) -> Vec<String> {
        Vec::new()
    }
}

const fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

const A: NodeId = node(1);
const B: NodeId = node(2);

struct Two {
    hub: Hub,
    a: Arc<MemoryLinks>,
}

fn two() -> Two {
    let hub = Hub::new();
    let a = hub.join(A);
    hub.join(B).serve(Arc::new(Echo));
    Two { hub, a }
}

async fn ask(links: &MemoryLinks) -> Result<Bytes, LinkError> {
    links.call(B, Service::Rpc, Bytes::from_static(b"hello")).await
}

#[tokio::test]
async fn a_call_is_answered() {
    let two = two();

    assert_eq!(ask(&two.a).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_handlers_reason_reaches_the_caller() {
    let two = two();

    let error = two.a.call(B, Service::Rpc, Bytes::new()).await.unwrap_err();

    assert!(matches!(error, LinkError::Refused { reason, .. } if reason == "nothing was asked"));
}

#[tokio::test]
async fn a_call_past_the_limit_does_not_leave() {
    let two = two();
    let body = Bytes::from(vec![0; CALL_BYTES_MAX + 1]);

    let error = two.a.call(B, Service::Rpc, body).await.unwrap_err();

    assert!(matches!(error, LinkError::TooLarge { .. }));
}

#[tokio::test(start_paused = true)]
async fn latency_counts_both_ways() {
    let two = two();
    two.hub.set_latency(A, B, Duration::from_millis(300));

    let early = tokio::time::timeout(Duration::from_millis(599), ask(&two.a)).await;
    let late = tokio::time::timeout(Duration::from_millis(602), ask(&two.a)).await;

    assert!(early.is_err());
    assert!(late.unwrap().is_ok());
    assert_eq!(two.a.path(B).unwrap().rtt, Duration::from_millis(600));
}

#[tokio::test]
async fn a_cut_on_the_way_there_is_certain_and_on_the_way_back_is_not() {
    let two = two();

    two.hub.cut_one_way(A, B);
    assert!(matches!(
        ask(&two.a).await.unwrap_err(),
        LinkError::Unreachable { .. }
    ));
    two.hub.heal_all();
    two.hub.cut_one_way(B, A);
    assert!(matches!(
        ask(&two.a).await.unwrap_err(),
        LinkError::NoAnswer { .. }
    ));
    two.hub.heal(A, B);
    assert!(ask(&two.a).await.is_ok());
}

#[tokio::test]
async fn a_node_taken_away_answers_again_after_it_came_back() {
    let two = two();

    two.hub.take_away(B);
    assert!(matches!(
        ask(&two.a).await.unwrap_err(),
        LinkError::Unreachable { .. }
    ));
    two.hub.join(B).serve(Arc::new(Echo));
    assert!(ask(&two.a).await.is_ok());
}

#[tokio::test]
async fn a_stranger_is_refused_except_to_join() {
    let hub = Hub::new();
    let a = hub.join(A);
    hub.join_with_roster(B, Arc::new(Members(vec![B])))
        .serve(Arc::new(Echo));

    let refused = ask(&a).await.unwrap_err();
    let joined = a
        .call_stranger(Vec::new(), B, Service::Join, Bytes::from_static(b"let me in"))
        .await;

    assert!(matches!(refused, LinkError::Refused { reason, .. } if reason.contains("not a member")));
    assert_eq!(joined.unwrap(), "let me in");
}

#[tokio::test]
async fn a_stream_carries_more_than_its_window() {
    let two = two();
    let sent = Bytes::from((0..10_000_000_u32).map(|n| n as u8).collect::<Vec<_>>());

    let Channel { mut send, mut recv } = two.a.open(B, Service::Chunks).await.unwrap();
    let write = async {
        send.write_bytes(sent.clone()).await.unwrap();
        send.finish().unwrap();
        send.received().await.unwrap();
    };
    let (received, ()) = tokio::join!(recv.read_to_end(sent.len()), write);

    assert!(received.unwrap() == sent);
}

#[tokio::test]
async fn a_reader_of_many_gets_as_many_pieces_as_are_there() {
    let two = two();
    let Channel { mut send, mut recv } = two.a.open(B, Service::Chunks).await.unwrap();
    for piece in [&b"one"[..], b"two", b"three"] {
        send.write_all(piece).await.unwrap();
    }
    send.finish().unwrap();
    send.received().await.unwrap();

    let mut pieces = vec![Bytes::new(); 8];
    let read = recv.read_pieces(&mut pieces).await.unwrap();

    assert_eq!(read, Some(3));
    assert_eq!(pieces[..3], ["one", "two", "three"]);
    assert_eq!(recv.read_pieces(&mut pieces).await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_dropped_unfinished_is_not_taken_for_whole() {
    let two = two();
    let Channel { mut send, mut recv } = two.a.open(B, Service::Chunks).await.unwrap();

    send.write_all(b"half of ").await.unwrap();
    drop(send);

    assert!(matches!(
        recv.read_to_end(100).await.unwrap_err(),
        LinkError::Broken { .. }
    ));
}

#[tokio::test]
async fn a_cut_breaks_open_streams() {
    let two = two();
    let Channel { mut send, mut recv } = two.a.open(B, Service::Chunks).await.unwrap();
    send.write_all(b"echo").await.unwrap();
    assert_eq!(recv.read(100).await.unwrap().unwrap(), "echo");

    two.hub.cut(A, B);

    assert!(recv.read(100).await.is_err());
    assert!(send.write_all(b"echo").await.is_err());
}
