//! A network in memory that can be cut, slowed, and made to lose and repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::watch;

use super::SeededEntropy;
use crate::replica::Replica;
use crate::transport::{RpcClass, Transport, TransportError};
use crate::wire::Request;

/// What a request is, as far as tests tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Append,
    Vote,
    PreVote,
    TransferLeader,
    SnapshotOffer,
    SnapshotPiece,
    SnapshotInstall,
    Propose,
    ReadIndex,
    SnapshotWanted,
    SnapshotRead,
}

impl Kind {
    fn of(request: &Request) -> Self {
        match request {
            Request::Append(_) => Self::Append,
            Request::Vote(_) => Self::Vote,
            Request::PreVote(_) => Self::PreVote,
            Request::TransferLeader { .. } => Self::TransferLeader,
            Request::SnapshotOffer { .. } => Self::SnapshotOffer,
            Request::SnapshotPiece { .. } => Self::SnapshotPiece,
            Request::SnapshotInstall { .. } => Self::SnapshotInstall,
            Request::Propose { .. } => Self::Propose,
            Request::ReadIndex => Self::ReadIndex,
            Request::SnapshotWanted { .. } => Self::SnapshotWanted,
            Request::SnapshotRead { .. } => Self::SnapshotRead,
        }
    }
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// The sender learns at once that there is no way.
    Refused,
    /// It never arrives.
    RequestLost,
    /// It is carried out, but the answer never arrives.
    AnswerLost,
    /// It is carried out twice.
    Repeated,
}

/// A call, as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) from: NodeId,
    pub(crate) kind: Kind,
    /// How many calls of this kind there were from this node before.
    pub(crate) before: u64,
}

type Rule = Box<dyn FnMut(Call) -> Fate + Send>;

/// The network. Clones share it.
#[derive(Clone)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    counts: watch::Sender<BTreeMap<(NodeId, Kind), u64>>,
    entropy: SeededEntropy,
}

struct State {
    replicas: BTreeMap<NodeId, WeakReplica>,
    /// Which start of a node may send: a killed one is silent.
    starts: BTreeMap<NodeId, u64>,
    isolated: BTreeSet<NodeId>,
    /// These hear one another, and nobody else.
    side: BTreeSet<NodeId>,
    rule: Rule,
    delay: (Duration, Duration),
}

type WeakReplica = Weak<Replica>;

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            replicas: BTreeMap::new(),
            starts: BTreeMap::new(),
            isolated: BTreeSet::new(),
            side: BTreeSet::new(),
            rule: Box::new(|_| Fate::Delivered),
            delay: (Duration::ZERO, Duration::ZERO),
        };
        let (counts, _) = watch::channel(BTreeMap::new());
        let entropy = SeededEntropy::new(seed);
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                counts,
                entropy,
            }),
        }
    }

    /// The transport of one node. Those it had before are silent from now on.
    pub(crate) fn transport(&self, from: NodeId) -> Arc<dyn Transport> {
        Arc::new(HubTransport {
            hub: self.clone(),
            sender: Sender {
                from,
                start: self.next_start(from),
            },
        })
    }

    fn next_start(&self, node: NodeId) -> u64 {
        let mut state = self.shared.state.lock();
        let start = state.starts.entry(node).or_default();
        *start += 1;
        *start
    }

    pub(crate) fn plug(&self, replica: &Arc<Replica>) {
        self.shared
            .state
            .lock()
            .replicas
            .insert(replica.id(), Arc::downgrade(replica));
    }

    /// Makes a node silent and deaf.
    pub(crate) fn unplug(&self, node: NodeId) {
        self.next_start(node);
        self.shared.state.lock().replicas.remove(&node);
    }

    /// Cuts a node off: what it sends and what is sent to it vanishes.
    pub(crate) fn isolate(&self, node: NodeId) {
        self.shared.state.lock().isolated.insert(node);
    }

    /// Cuts the network in two: `side`, and everybody else.
    pub(crate) fn split(&self, side: impl IntoIterator<Item = NodeId>) {
        self.shared.state.lock().side = side.into_iter().collect();
    }

    pub(crate) fn heal(&self) {
        let mut state = self.shared.state.lock();
        state.isolated.clear();
        state.side.clear();
    }

    /// Decides over the fate of calls from now on.
    pub(crate) fn rule(&self, rule: impl FnMut(Call) -> Fate + Send + 'static) {
        self.shared.state.lock().rule = Box::new(rule);
    }

    /// Each way takes between `min` and `max`, so that calls overtake each other.
    pub(crate) fn delay(&self, min: Duration, max: Duration) {
        self.shared.state.lock().delay = (min, max);
    }

    pub(crate) fn count(&self, from: NodeId, kind: Kind) -> u64 {
        self.shared
            .counts
            .borrow()
            .get(&(from, kind))
            .copied()
            .unwrap_or(0)
    }

    /// Waits until `from` has sent `count` requests of a kind.
    pub(crate) async fn wait_count(&self, from: NodeId, kind: Kind, count: u64) {
        let mut counts = self.shared.counts.subscribe();
        let reached = counts.wait_for(|counts| counts.get(&(from, kind)).is_some_and(|sent| *sent >= count));
        reached.await.expect("the hub lives as long as its tests");
    }

    fn way(&self) -> Duration {
        let (min, max) = self.shared.state.lock().delay;
        let spread = u64::try_from((max - min).as_micros()).expect("delays are short");
        min + Duration::from_micros(self.shared.entropy.below(spread + 1))
    }

    fn target(&self, from: NodeId, to: NodeId) -> Option<Arc<Replica>> {
        let state = self.shared.state.lock();
        let is_cut = state.side.contains(&from) != state.side.contains(&to);
        if is_cut || state.isolated.contains(&from) || state.isolated.contains(&to) {
            return None;
        }
        state.replicas.get(&to)?.upgrade()
    }

    async fn carry(
        self,
        sender: Sender,
        to: NodeId,
        class: RpcClass,
        body: Bytes,
    ) -> Result<Bytes, TransportError> {
        let from = sender.from;
        if self.shared.state.lock().starts[&from] != sender.start {
            return std::future::pending().await;
        }
        let kind = Kind::of(&Request::decode(&body).expect("replicas send requests"));
        let mut before = 0;
        self.shared.counts.send_modify(|counts| {
            let count = counts.entry((from, kind)).or_default();
            before = *count;
            *count += 1;
        });
        let fate = (self.shared.state.lock().rule)(Call { from, kind, before });
        if fate == Fate::Refused {
            return Err(TransportError::Unreachable {
                node: to,
                reason: "the test says so".to_owned(),
            });
        }
        tokio::time::sleep(self.way()).await;
        let (Some(replica), false) = (self.target(from, to), fate == Fate::RequestLost) else {
            // A cable that is cut says nothing.
            return std::future::pending().await;
        };
        let answer = replica.handle_rpc(class, body.clone()).await;
        let answer = if fate == Fate::Repeated {
            replica.handle_rpc(class, body).await
        } else {
            answer
        };
        drop(replica);
        tokio::time::sleep(self.way()).await;
        if fate == Fate::AnswerLost || self.target(from, to).is_none() {
            return std::future::pending().await;
        }
        answer.map_err(|error| TransportError::NoAnswer {
            node: to,
            reason: error.to_string(),
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Sender {
    from: NodeId,
    start: u64,
}

#[derive(Debug)]
struct HubTransport {
    hub: Hub,
    sender: Sender,
}

impl Transport for HubTransport {
    fn call(
        &self,
        to: NodeId,
        class: RpcClass,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(self.hub.clone().carry(self.sender, to, class, body))
    }
}
