//! A node with a roster that a test can edit, and a handler that a test can watch.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_protocol::id::{ClusterId, NodeId};
use tokio::sync::{Notify, mpsc};
use tracing_subscriber::fmt::MakeWriter;

use crate::{Admission, Channel, Endpoint, Handler, LinkConfig, LinkError, Links, Roster, Service};

/// Longer than anything that works takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

/// What the handler does with calls.
pub(super) const HANG: &[u8] = b"hang until released";
pub(super) const HUGE: &[u8] = b"answer with too much";
pub(super) const REFUSE: &[u8] = b"refuse";

#[derive(Debug)]
pub(super) struct TestRoster {
    pub(super) cluster: Mutex<Option<(ClusterId, u64)>>,
    nodes: Mutex<BTreeMap<NodeId, (Admission, Vec<String>)>>,
    pub(super) knocked: Mutex<Vec<NodeId>>,
}

impl TestRoster {
    pub(super) fn set(&self, node: NodeId, admission: Admission, addresses: &[String]) {
        self.nodes.lock().insert(node, (admission, addresses.to_vec()));
    }
}

impl Roster for TestRoster {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        *self.cluster.lock()
    }

    fn admission(&self, node: NodeId) -> Admission {
        self.nodes
            .lock()
            .get(&node)
            .map_or(Admission::Unknown, |(admission, _)| *admission)
    }

    fn addresses(&self, node: NodeId) -> Vec<String> {
        self.nodes
            .lock()
            .get(&node)
            .map_or_else(Vec::new, |(_, addresses)| addresses.clone())
    }

    fn knocked(&self, node: NodeId) {
        self.knocked.lock().push(node);
    }
}

/// Echoes calls and channels, and reports what came.
#[derive(Debug)]
pub(super) struct TestHandler {
    seen: mpsc::UnboundedSender<(NodeId, Service)>,
    pub(super) release: Arc<Notify>,
    finished: mpsc::UnboundedSender<NodeId>,
}

impl Handler for TestHandler {
    fn call(&self, from: NodeId, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        let _ = self.seen.send((from, service));
        let release = self.release.clone();
        let finished = self.finished.clone();
        Box::pin(async move {
            let answer = match body.as_ref() {
                HANG => {
                    release.notified().await;
                    Ok(body)
                }
                HUGE => Ok(Bytes::from(vec![0; crate::CALL_BYTES_MAX + 1])),
                REFUSE => Err("no, because of this".to_owned()),
                _ => Ok(body),
            };
            let _ = finished.send(from);
            answer
        })
    }

    fn open(&self, from: NodeId, service: Service, mut channel: Channel) -> BoxFuture<'static, ()> {
        let _ = self.seen.send((from, service));
        Box::pin(async move {
            loop {
                let echoed = match channel.recv.read(64 * 1024).await {
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

pub(super) struct Station {
    pub(super) key: SigningKey,
    pub(super) node: NodeId,
    pub(super) roster: Arc<TestRoster>,
    pub(super) endpoint: Endpoint,
    pub(super) address: String,
    pub(super) seen: mpsc::UnboundedReceiver<(NodeId, Service)>,
    pub(super) finished: mpsc::UnboundedReceiver<NodeId>,
    pub(super) release: Arc<Notify>,
}

impl Station {
    /// A station that serves, with a key of that seed. It is a member of [`CLUSTER`] and knows only itself.
    pub(super) fn start(seed: u8) -> Self {
        let roster = Arc::new(TestRoster {
            cluster: Mutex::new(Some((CLUSTER, 1))),
            nodes: Mutex::default(),
            knocked: Mutex::default(),
        });
        Self::start_with(seed, roster)
    }

    pub(super) fn start_with(seed: u8, roster: Arc<TestRoster>) -> Self {
        // Other test processes use other keys: a datagram of theirs that strays to a port of ours means nothing.
        let mut secret = [seed; 32];
        secret[..4].copy_from_slice(&std::process::id().to_le_bytes());
        let key = SigningKey::from_bytes(&secret);
        let endpoint = Endpoint::bind(LinkConfig {
            key: key.clone(),
            listen: "127.0.0.1:0".parse().unwrap(),
            roster: roster.clone(),
        });
        let endpoint = endpoint.unwrap();
        let (seen_tx, seen) = mpsc::unbounded_channel();
        let (finished_tx, finished) = mpsc::unbounded_channel();
        let release = Arc::new(Notify::new());
        endpoint.serve(Arc::new(TestHandler {
            seen: seen_tx,
            release: release.clone(),
            finished: finished_tx,
        }));
        Self {
            node: endpoint.node(),
            address: endpoint.local_addr().unwrap().to_string(),
            key,
            roster,
            endpoint,
            seen,
            finished,
            release,
        }
    }

    /// Takes another station into the roster.
    pub(super) fn knows(&self, other: &Self) {
        self.roster.set(
            other.node,
            Admission::Member,
            std::slice::from_ref(&other.address),
        );
    }

    pub(super) async fn ask(&self, other: &Self) -> Result<Bytes, LinkError> {
        self.ask_for(other, b"hello").await
    }

    /// Asks until the other side's refusal is heard: on a machine that is starved, the packet with the reason can
    /// come after one that says that the connection is void.
    pub(super) async fn refusal(&self, other: &Self) -> String {
        let hear = async {
            loop {
                match self.ask(other).await {
                    Err(LinkError::Refused { reason, .. }) => return reason,
                    Err(LinkError::NoAnswer { .. }) => {}
                    unexpected => panic!("not a refusal: {unexpected:?}"),
                }
            }
        };
        patiently(hear).await
    }

    pub(super) async fn ask_for(&self, other: &Self, body: &'static [u8]) -> Result<Bytes, LinkError> {
        let call = self
            .endpoint
            .call(other.node, Service::Rpc, Bytes::from_static(body));
        patiently(call).await
    }
}

/// Two stations that know each other.
pub(super) fn pair() -> (Station, Station) {
    let (a, b) = (Station::start(1), Station::start(2));
    a.knows(&b);
    b.knows(&a);
    (a, b)
}

pub(super) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

/// The log of this thread, from now on.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Waits for a line that has all of `words`.
    pub(super) async fn line_with(&self, words: &[&str]) {
        let wait = async {
            while !self.has_line_with(words) {
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("no line with {words:?} in:\n{}", self.text()));
    }

    pub(super) fn has_line_with(&self, words: &[&str]) -> bool {
        self.text()
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
