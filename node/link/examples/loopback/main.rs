//! Bytes per second over loopback: quinn as it comes, our channels, and our calls of 64 KiB.
//!
//! `cargo run --release -p tetryx-link --example loopback [-- MIB]` (default 2048).
#![allow(clippy::print_stdout, reason = "a program whose output is its purpose")]

mod raw;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::future::{BoxFuture, join_all, try_join_all};
use quinn::{Runtime, TokioRuntime};
use tetryx_link::{Admission, Channel, Endpoint, Handler, LinkConfig, LinkError, Links, Roster, Service};
use tetryx_protocol::id::{ClusterId, NodeId};

const STREAMS: u64 = 8;
const PIECE: usize = 64 * 1024;

#[derive(Debug)]
struct Everybody(String);

impl Roster for Everybody {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        Some((ClusterId::from_bytes([1; 16]), 1))
    }

    fn admission(&self, _: NodeId) -> Admission {
        Admission::Member
    }

    fn addresses(&self, _: NodeId) -> Vec<String> {
        vec![self.0.clone()]
    }
}

/// Answers calls with 64 KiB, and streams with as many bytes as are asked for.
#[derive(Debug)]
struct Source(Bytes);

impl Handler for Source {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let piece = self.0.clone();
        Box::pin(async move { Ok(piece) })
    }

    fn open(&self, _: NodeId, _: Service, mut channel: Channel) -> BoxFuture<'static, ()> {
        let piece = self.0.clone();
        Box::pin(async move {
            let mut wanted = [0; 8];
            if channel.recv.read_exact(&mut wanted).await.is_err() {
                return;
            }
            for _ in 0..u64::from_le_bytes(wanted) / PIECE as u64 {
                if channel.send.write_bytes(piece.clone()).await.is_err() {
                    return;
                }
            }
            let _ = channel.send.finish();
        })
    }
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / f64::from(1 << 20)
}

/// quinn alone. Bytes received, and the time.
async fn raw(bytes: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let (receiver, sender, _open) = raw::connect().await?;
    tokio::spawn(async move {
        let streams = (0..STREAMS).map(|_| async {
            let mut stream = sender.open_uni().await?;
            let piece = Bytes::from(vec![7; PIECE]);
            for _ in 0..bytes / STREAMS / PIECE as u64 {
                stream.write_chunk(piece.clone()).await?;
            }
            let _ = stream.finish();
            let _ = stream.stopped().await;
            Ok::<_, quinn::WriteError>(())
        });
        join_all(streams).await;
    });
    let began = TokioRuntime.now();
    let streams = (0..STREAMS).map(|_| {
        let receiver = receiver.clone();
        tokio::spawn(async move {
            let mut stream = receiver.accept_uni().await.expect("the sender opens it");
            let mut got = 0;
            while let Ok(Some(chunk)) = stream.read_chunk(1 << 20, true).await {
                got += chunk.bytes.len() as u64;
            }
            got
        })
    });
    let got: u64 = try_join_all(streams).await?.into_iter().sum();
    Ok(rate(got, TokioRuntime.now() - began))
}

/// Two stations.
fn stations() -> Result<(Endpoint, Endpoint), LinkError> {
    let station = |seed: u8, other: String| {
        Endpoint::bind(LinkConfig {
            key: SigningKey::from_bytes(&[seed; 32]),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            roster: Arc::new(Everybody(other)),
        })
    };
    let sender = station(1, String::new())?;
    let address = sender.local_addr().expect("a bound socket has an address");
    let receiver = station(2, address.to_string())?;
    sender.serve(Arc::new(Source(Bytes::from(vec![7; PIECE]))));
    Ok((sender, receiver))
}

async fn channels(bytes: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let (sender, receiver) = stations()?;
    let node = sender.node();
    receiver.call(node, Service::Chunks, Bytes::new()).await?;
    let began = TokioRuntime.now();
    let streams = (0..STREAMS).map(|_| {
        let receiver = receiver.clone();
        tokio::spawn(async move {
            let mut channel = receiver.open(node, Service::Chunks).await?;
            channel.send.write_all(&(bytes / STREAMS).to_le_bytes()).await?;
            let mut got = 0;
            while let Some(piece) = channel.recv.read(1 << 20).await? {
                got += piece.len() as u64;
            }
            Ok::<_, LinkError>(got)
        })
    });
    let mut got = 0;
    for stream in try_join_all(streams).await? {
        got += stream?;
    }
    Ok(rate(got, TokioRuntime.now() - began))
}

/// Calls of 64 KiB per second, 32 at a time.
async fn calls(count: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let (sender, receiver) = stations()?;
    let node = sender.node();
    receiver.call(node, Service::Chunks, Bytes::new()).await?;
    let began = TokioRuntime.now();
    let callers = (0..32).map(|_| {
        let receiver = receiver.clone();
        tokio::spawn(async move {
            for _ in 0..count / 32 {
                receiver.call(node, Service::Chunks, Bytes::new()).await?;
            }
            Ok::<_, LinkError>(())
        })
    });
    for caller in try_join_all(callers).await? {
        caller?;
    }
    Ok(f64::from(count) / (TokioRuntime.now() - began).as_secs_f64())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mib: u64 = match std::env::args().nth(1) {
        Some(mib) => mib.parse()?,
        None => 2048,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    println!("run  quinn alone  channels  share  calls of 64 KiB");
    for run in 1..=3 {
        let raw = runtime.block_on(raw(mib << 20))?;
        let ours = runtime.block_on(channels(mib << 20))?;
        let calls = runtime.block_on(calls(20_000))?;
        println!(
            "{run:>3}  {raw:>5.0} MiB/s  {ours:>2.0} MiB/s  {:>4.2}  {calls:>6.0} /s, {:>4.0} MiB/s",
            ours / raw,
            calls / 16.0
        );
    }
    Ok(())
}
