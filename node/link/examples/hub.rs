//! What a call and a piece of a stream cost at the in-memory hub, in real time, under a paused clock.
//!
//! `cargo run --release -p tetryx-link --example hub [-- CALLS]` (default 1,000,000).
#![allow(clippy::print_stdout, reason = "a program whose output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_link::memory::{Conditions, Hub};
use tetryx_link::{Channel, Handler, Links, Service};
use tetryx_protocol::id::NodeId;

const STATIONS: u8 = 9;

/// Answers each call with what it was asked, after another task had a turn, as one does that asks a Raft core.
#[derive(Debug)]
struct Echo {
    at_once: bool,
}

impl Handler for Echo {
    fn call(&self, _: NodeId, _: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let at_once = self.at_once;
        Box::pin(async move {
            if !at_once {
                tokio::task::yield_now().await;
            }
            Ok(body)
        })
    }

    fn open(&self, _: NodeId, _: Service, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move { while let Ok(Some(_)) = channel.recv.read(usize::MAX).await {} })
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

async fn calls(what: &str, count: u32, at_once: bool, set: impl FnOnce(&Hub)) {
    let hub = Hub::new();
    let links: Vec<_> = (0..STATIONS).map(|number| hub.join(node(number))).collect();
    for each in &links {
        each.serve(Arc::new(Echo { at_once }));
    }
    set(&hub);
    let body = Bytes::from_static(&[7; 100]);
    let began = Instant::now();
    for turn in 0..count {
        let (from, to) = (turn % 8, turn % 8 + 1);
        let call = links[from as usize].call(node(to as u8), Service::Raft, body.clone());
        // Under weather a call may fail, and that costs too.
        let _ = call.await;
    }
    report(what, began, count);
}

async fn pieces(what: &str, count: u32, set: impl FnOnce(&Hub)) {
    let hub = Hub::new();
    let links = hub.join(node(1));
    hub.join(node(2)).serve(Arc::new(Echo { at_once: true }));
    set(&hub);
    let Ok(mut channel) = links.open(node(2), Service::Chunks).await else {
        return println!("{what}: not opened");
    };
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let began = Instant::now();
    for _ in 0..count {
        if channel.send.write_bytes(piece.clone()).await.is_err() {
            break;
        }
    }
    report(what, began, count);
}

fn report(what: &str, began: Instant, count: u32) {
    let each = began.elapsed().as_nanos() / u128::from(count.max(1));
    println!("{what}: {each} ns each");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 1_000_000,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let latency = |hub: &Hub| hub.set_latency_everywhere(Duration::from_millis(20));
    let weather = |hub: &Hub| {
        hub.set_weather_everywhere(Conditions {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            loss_permille: 10,
            break_permille: 1,
            duplicate_permille: 10,
            rate: Some(1 << 30),
        });
    };
    runtime.block_on(async {
        calls("calls answered at once, nothing set", count, true, |_| {}).await;
        calls("calls, nothing set", count, false, |_| {}).await;
        calls("calls, latency 20 ms", count, false, latency).await;
        calls("calls, weather", count, false, weather).await;
        pieces("pieces, nothing set", count, |_| {}).await;
        pieces("pieces, latency 20 ms", count, latency).await;
        pieces("pieces, weather", count, weather).await;
    });
    Ok(())
}
