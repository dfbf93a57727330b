//! The switchboard between in-memory links.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::watch;

use super::links::MemoryLinks;
use super::pipe::PipeBreaker;
use crate::{Handler, Roster};

/// Connects nodes of one process. Clones are the same hub.
#[derive(Clone, Default)]
pub struct Hub {
    pub(super) state: Arc<Mutex<HubState>>,
}

#[derive(Default)]
pub(super) struct HubState {
    nodes: BTreeMap<NodeId, Seat>,
    paths: BTreeMap<(NodeId, NodeId), Path>,
    latency: Duration,
    failure_after: Duration,
}

/// One node's place at the hub.
pub(super) struct Seat {
    pub(super) handler: watch::Sender<Option<Arc<dyn Handler>>>,
    pub(super) roster: Option<Arc<dyn Roster>>,
    /// Turns true when the node is taken away.
    pub(super) gone: watch::Sender<bool>,
}

/// The way from one node to another.
#[derive(Default)]
struct Path {
    latency: Option<Duration>,
    /// Counts up with each cut, so that whoever waits on the path notices. Odd: cut now.
    cuts: watch::Sender<u64>,
    pipes: Vec<PipeBreaker>,
}

impl Path {
    fn set_cut(&mut self, cut: bool) {
        self.cuts.send_if_modified(|count| {
            let change = (*count % 2 == 1) != cut;
            *count += u64::from(change);
            change
        });
    }

    fn is_cut(&self) -> bool {
        *self.cuts.borrow() % 2 == 1
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        formatter
            .debug_struct("Hub")
            .field("nodes", &state.nodes.keys())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub without nodes, without latency, where a cut is noticed at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a node its links. A node that was there before is taken away first, as at a restart.
    pub fn join(&self, node: NodeId) -> Arc<MemoryLinks> {
        self.seat(node, None)
    }

    /// As [`Hub::join`], where the roster decides who may call the node, and names the cluster it speaks for.
    pub fn join_with_roster(&self, node: NodeId, roster: Arc<dyn Roster>) -> Arc<MemoryLinks> {
        self.seat(node, Some(roster))
    }

    fn seat(&self, node: NodeId, roster: Option<Arc<dyn Roster>>) -> Arc<MemoryLinks> {
        self.take_away(node);
        let seat = Seat {
            handler: watch::Sender::new(None),
            roster: roster.clone(),
            gone: watch::Sender::new(false),
        };
        let gone = seat.gone.subscribe();
        self.state.lock().nodes.insert(node, seat);
        Arc::new(MemoryLinks::new(self.clone(), node, roster, gone))
    }

    /// The time that a message takes between any two nodes, one way, unless [`Hub::set_latency`] says otherwise.
    pub fn set_latency_everywhere(&self, one_way: Duration) {
        self.state.lock().latency = one_way;
    }

    /// The time that a message takes between two nodes, one way, in both directions.
    pub fn set_latency(&self, a: NodeId, b: NodeId, one_way: Duration) {
        let mut state = self.state.lock();
        state.paths.entry((a, b)).or_default().latency = Some(one_way);
        state.paths.entry((b, a)).or_default().latency = Some(one_way);
    }

    /// How long it takes until a node notices that a path is cut or a node is gone; before, it waits in vain.
    pub fn set_failure_after(&self, wait: Duration) {
        self.state.lock().failure_after = wait;
    }

    /// Cuts both directions between two nodes.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts one direction.
    ///
    /// Calls in that direction fail as unreachable. Calls in the other direction are carried out, but bring no
    /// answer. Open streams between the two break, whichever direction they have data in.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        let mut state = self.state.lock();
        state.paths.entry((from, to)).or_default().set_cut(true);
        let wait = state.failure_after;
        for way in [(from, to), (to, from)] {
            let pipes = std::mem::take(&mut state.paths.entry(way).or_default().pipes);
            break_later(pipes, wait, "the connection timed out");
        }
    }

    /// Mends both directions between two nodes.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        let mut state = self.state.lock();
        for way in [(a, b), (b, a)] {
            state.paths.entry(way).or_default().set_cut(false);
        }
    }

    /// Mends every path.
    pub fn heal_all(&self) {
        for path in self.state.lock().paths.values_mut() {
            path.set_cut(false);
        }
    }

    /// Takes a node away, as if its process was killed: what it was doing for others stops where it is.
    pub fn take_away(&self, node: NodeId) {
        let mut state = self.state.lock();
        if let Some(seat) = state.nodes.remove(&node) {
            seat.gone.send_replace(true);
        }
        let wait = state.failure_after;
        for ((from, to), path) in &mut state.paths {
            if *from == node || *to == node {
                break_later(std::mem::take(&mut path.pipes), wait, "the node is gone");
            }
        }
    }

    /// The latency of a path.
    pub(super) fn latency(&self, from: NodeId, to: NodeId) -> Duration {
        let state = self.state.lock();
        let own = state.paths.get(&(from, to)).and_then(|path| path.latency);
        own.unwrap_or(state.latency)
    }

    pub(super) fn failure_after(&self) -> Duration {
        self.state.lock().failure_after
    }

    /// Whether a message sent now would arrive.
    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        let state = self.state.lock();
        state.paths.get(&(from, to)).is_some_and(Path::is_cut)
    }

    /// What counts up with each cut and each mending of a path.
    pub(super) fn cuts(&self, from: NodeId, to: NodeId) -> watch::Receiver<u64> {
        let mut state = self.state.lock();
        state.paths.entry((from, to)).or_default().cuts.subscribe()
    }

    /// What is needed of a node to talk to it.
    pub(super) fn with_seat<T>(&self, node: NodeId, look: impl FnOnce(&Seat) -> T) -> Option<T> {
        self.state.lock().nodes.get(&node).map(look)
    }

    /// Has a pipe break with its path.
    pub(super) fn watch_pipe(&self, from: NodeId, to: NodeId, pipe: PipeBreaker) {
        let mut state = self.state.lock();
        let pipes = &mut state.paths.entry((from, to)).or_default().pipes;
        pipes.retain(PipeBreaker::in_use);
        pipes.push(pipe);
    }

    /// Breaks the streams between two nodes at once.
    pub(super) fn break_streams(&self, a: NodeId, b: NodeId, reason: &'static str) {
        let mut state = self.state.lock();
        for way in [(a, b), (b, a)] {
            let pipes = std::mem::take(&mut state.paths.entry(way).or_default().pipes);
            break_later(pipes, Duration::ZERO, reason);
        }
    }
}

fn break_later(pipes: Vec<PipeBreaker>, wait: Duration, reason: &'static str) {
    if wait.is_zero() || pipes.is_empty() {
        for pipe in pipes {
            pipe.break_with(reason);
        }
        return;
    }
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        for pipe in pipes {
            pipe.break_with(reason);
        }
    });
}
