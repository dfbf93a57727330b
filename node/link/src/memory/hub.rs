//! The switchboard between in-memory links.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;

use super::links::MemoryLinks;
use super::pipe::PipeBreaker;
use super::seat::Seat;
use super::state::HubState;
use crate::Roster;

/// Connects nodes of one process. Clones are the same hub.
#[derive(Clone, Default)]
pub struct Hub {
    /// Never held while anything of a node is dropped, because that may come back here.
    pub(super) state: Arc<Mutex<HubState>>,
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
        let seat = Arc::new(Seat::new(roster));
        self.state.lock().nodes.insert(node, seat.clone());
        Arc::new(MemoryLinks::new(self.clone(), node, seat))
    }

    /// The time that a message takes between any two nodes, one way, unless [`Hub::set_latency`] says otherwise.
    pub fn set_latency_everywhere(&self, one_way: Duration) {
        self.state.lock().latency = one_way;
    }

    /// The time that a message takes between two nodes, one way, in both directions.
    pub fn set_latency(&self, a: NodeId, b: NodeId, one_way: Duration) {
        let mut state = self.state.lock();
        state.path(a, b).latency = Some(one_way);
        state.path(b, a).latency = Some(one_way);
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
    /// answer. Open streams between the two break, whichever direction they have data in; until that is noticed,
    /// nothing arrives in the direction that is cut.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        let mut state = self.state.lock();
        let path = state.path(from, to);
        path.set_cut(true);
        path.pipes.retain(PipeBreaker::in_use);
        let streams = path.pipes.len() as u64;
        for pipe in &path.pipes {
            pipe.stall();
        }
        state.tally.cut += streams;
        let wait = state.failure_after;
        for way in [(from, to), (to, from)] {
            let pipes = std::mem::take(&mut state.path(way.0, way.1).pipes);
            break_later(pipes, wait, "the connection timed out");
        }
    }

    /// Mends both directions between two nodes.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        let mut state = self.state.lock();
        state.path(a, b).set_cut(false);
        state.path(b, a).set_cut(false);
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
        let seat = state.nodes.remove(&node);
        let wait = state.failure_after;
        for ((from, to), path) in &mut state.paths {
            if *from == node || *to == node {
                break_later(std::mem::take(&mut path.pipes), wait, "the node is gone");
            }
        }
        drop(state);
        if let Some(seat) = seat {
            seat.leave();
        }
        self.thaw(node);
    }

    pub(super) fn failure_after(&self) -> Duration {
        self.state.lock().failure_after
    }

    /// Has the two pipes of a stream break with its path. Cut now: nobody will break them later, so they are at once.
    pub(super) fn watch_stream(&self, from: NodeId, to: NodeId, there: PipeBreaker, back: PipeBreaker) {
        let mut state = self.state.lock();
        let cut = state.is_cut(from, to) || state.is_cut(to, from);
        state.tally.cut += u64::from(cut);
        for (a, b, pipe) in [(from, to, there), (to, from, back)] {
            if cut {
                pipe.break_with("the connection timed out");
                continue;
            }
            let pipes = &mut state.path(a, b).pipes;
            pipes.retain(PipeBreaker::in_use);
            pipes.push(pipe);
        }
    }

    /// Breaks the streams between two nodes at once.
    pub(super) fn break_streams(&self, a: NodeId, b: NodeId, reason: &'static str) {
        let mut state = self.state.lock();
        for way in [(a, b), (b, a)] {
            let pipes = std::mem::take(&mut state.path(way.0, way.1).pipes);
            break_later(pipes, Duration::ZERO, reason);
        }
    }
}

/// Breaks pipes when the time has come that a lost connection takes to be noticed.
pub(super) fn break_later(pipes: Vec<PipeBreaker>, wait: Duration, reason: &'static str) {
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
