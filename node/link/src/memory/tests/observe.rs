use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;

use super::fixture::{CALM, Pair, number};
use super::{A, B};
use crate::Service;
use crate::memory::Tamper;

/// B lies: what it serves is not what it was asked to send back.
struct Liar;

impl Tamper for Liar {
    fn stream(&self, from: NodeId, _: NodeId, service: Service, piece: Bytes) -> Bytes {
        if from == B && service == Service::Chunks {
            return piece.iter().map(|byte| byte ^ 0xff).collect();
        }
        piece
    }

    fn answer(&self, from: NodeId, _: NodeId, _: Service, body: Bytes) -> Bytes {
        assert_eq!(from, B);
        let lie = number(&body) + 1000;
        Bytes::copy_from_slice(&lie.to_be_bytes())
    }
}

#[tokio::test(start_paused = true)]
async fn a_lying_node_changes_what_it_serves_and_nothing_else() {
    let pair = Pair::under(CALM);
    pair.hub.tamper(Some(Arc::new(Liar)));

    let answer = pair.ask(7).await.unwrap();
    let mut channel = pair.stream().await;
    channel.send.write_all(&[0x0f; 3]).await.unwrap();
    let piece = channel.recv.read(100).await.unwrap().unwrap();
    pair.hub.tamper(None);

    assert_eq!(number(&answer), 1007);
    assert_eq!(piece, [0xf0; 3][..]);
    assert_eq!(pair.arrived(), [7]);
    assert_eq!(number(&pair.ask(8).await.unwrap()), 8);
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_each_delivered_call_and_its_answer() {
    let pair = Pair::under(CALM);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    pair.hub.observe(Arc::new(move |passage| {
        sink.lock()
            .push((passage.from, passage.to, number(&passage.body), passage.answer));
    }));

    pair.ask(7).await.unwrap();
    pair.hub.cut_one_way(B, A);
    pair.ask(8).await.unwrap_err();
    pair.hub.cut_one_way(A, B);
    pair.ask(9).await.unwrap_err();

    assert_eq!(
        *seen.lock(),
        [(A, B, 7, false), (B, A, 7, true), (A, B, 8, false)]
    );
}
