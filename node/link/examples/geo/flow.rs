//! A transfer between two stations of the simulated network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::future::{BoxFuture, join_all};
use quinn::{Runtime, TokioRuntime};
use tetryx_link::{Admission, Channel, Endpoint, Handler, LinkConfig, LinkSettings, Links, Roster, Service};
use tetryx_protocol::id::{ClusterId, NodeId};

use crate::net::{Network, Path};

/// Streams of one transfer: windows of 2 MiB each, one or two of which wait for a lost packet at any time.
const STREAMS: u64 = 16;

/// One sender and one receiver, with a path of their own or a shared one.
pub(crate) struct Flow {
    sender: NodeId,
    receiver: Endpoint,
    _sender_end: Endpoint,
    received: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Everybody {
    address: SocketAddr,
    settings: LinkSettings,
}

impl Roster for Everybody {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        Some((ClusterId::from_bytes([1; 16]), 1))
    }

    fn admission(&self, _: NodeId) -> Admission {
        Admission::Member
    }

    fn addresses(&self, _: NodeId) -> Vec<String> {
        vec![self.address.to_string()]
    }

    fn link_settings(&self, _: NodeId) -> LinkSettings {
        self.settings
    }
}

/// Sends as many bytes as it is asked for.
#[derive(Debug)]
struct Source;

impl Handler for Source {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async { Err("only streams".to_owned()) })
    }

    fn open(&self, _: NodeId, _: Service, mut channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut wanted = [0; 8];
            if channel.recv.read_exact(&mut wanted).await.is_err() {
                return;
            }
            let mut left = u64::from_le_bytes(wanted);
            let piece = Bytes::from(vec![0; 64 * 1024]);
            while left > 0 {
                let len = left.min(piece.len() as u64) as usize;
                if channel.send.write_bytes(piece.slice(..len)).await.is_err() {
                    return;
                }
                left -= len as u64;
            }
            let _ = channel.send.finish();
        })
    }
}

impl Flow {
    /// Two stations of a number, joined by the given paths.
    pub(crate) fn new(
        network: &Network,
        number: u8,
        settings: LinkSettings,
        there: &Path,
        back: &Path,
    ) -> Self {
        let address = |last| SocketAddr::from(([10, 0, number, last], 4480));
        let (from, to) = (address(1), address(2));
        network.route(from, to, there);
        network.route(to, from, back);
        let end = |own: SocketAddr, other: SocketAddr, seed: u8| {
            let config = LinkConfig {
                key: SigningKey::from_bytes(&[seed; 32]),
                listen: own,
                roster: Arc::new(Everybody {
                    address: other,
                    settings,
                }),
            };
            let endpoint = Endpoint::on_socket(config, network.socket(own), Arc::new(TokioRuntime));
            endpoint.expect("a simulated socket takes everything")
        };
        let sender = end(from, to, 2 * number + 1);
        let receiver = end(to, from, 2 * number + 2);
        sender.serve(Arc::new(Source));
        Self {
            sender: sender.node(),
            receiver,
            _sender_end: sender,
            received: Arc::default(),
        }
    }

    /// Bytes that the receiver's application has seen.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Fetches so many bytes over several streams; the time it took, connecting included.
    pub(crate) async fn fetch(&self, bytes: u64) -> Duration {
        let began = TokioRuntime.now();
        let streams = (0..STREAMS).map(|_| self.stream(bytes / STREAMS));
        join_all(streams).await;
        TokioRuntime.now() - began
    }

    async fn stream(&self, bytes: u64) {
        let channel = self.receiver.open(self.sender, Service::Chunks).await;
        let Channel { mut send, mut recv } = channel.expect("the sender is there");
        send.write_all(&bytes.to_le_bytes())
            .await
            .expect("the sender listens");
        while let Some(piece) = recv.read(1 << 20).await.expect("the sender goes on") {
            self.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
}
