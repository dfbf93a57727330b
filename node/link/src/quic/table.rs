//! Which connection is used for which node and lane.
//!
//! # Invariants
//! - At most one connection per node and lane is used for new streams. Others are let go of when they are idle.
//! - Of two nodes that dial each other at the same time, both keep the connection that the one with the smaller id
//!   dialled. Otherwise the newer connection is kept: the other side may have lost the older one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::watch;

use super::close::Close;
use super::link::Link;
use crate::service::Lane;
use crate::{LinkError, PathInfo};

/// The pause after a dial or a connection that failed; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// The longest pause after a node could not be reached.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The longest pause after a node refused this one.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Two connections made within this time and four round trips were dialled at the same time.
const SIMULTANEOUS: Duration = Duration::from_secs(1);

/// A dial that several callers wait for.
pub(super) type Dial = Shared<BoxFuture<'static, Result<Arc<Link>, LinkError>>>;

/// All connections of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Mutex<BTreeMap<(NodeId, Lane), Slot>>,
}

#[derive(Default)]
struct Slot {
    current: Option<Arc<Link>>,
    /// Superseded, and not closed yet.
    draining: Vec<Arc<Link>>,
    dial: Option<Dial>,
    /// Set during the pause after a failure: what a caller is told.
    paused: Option<LinkError>,
    /// Failures in a row.
    failures: u32,
    /// Counts connections that became current.
    made: watch::Sender<u64>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Slot")
            .field("current", &self.current)
            .field("draining", &self.draining.len())
            .field("dialling", &self.dial.is_some())
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// What a caller is to do to get a connection.
pub(super) enum Way {
    /// Use this one.
    Link(Arc<Link>),
    /// Wait for the dial, or for a connection to be made by the other side.
    Wait(Dial, watch::Receiver<u64>),
    /// Give up: the last attempt has only just failed.
    Paused(LinkError),
}

impl Table {
    /// The way to a node. `dial` is called if nobody has begun to dial yet.
    pub(super) fn way(&self, peer: NodeId, lane: Lane, dial: impl FnOnce() -> Dial) -> Way {
        let mut slots = self.slots.lock();
        let slot = slots.entry((peer, lane)).or_default();
        if let Some(link) = slot.current.as_ref().filter(|link| link.is_alive()) {
            return Way::Link(link.clone());
        }
        slot.current = None;
        if let Some(error) = &slot.paused {
            return Way::Paused(error.clone());
        }
        let dial = slot.dial.get_or_insert_with(dial).clone();
        Way::Wait(dial, slot.made.subscribe())
    }

    /// Takes up a new connection, and returns the one that is now used.
    pub(super) fn take_up(&self, new: Arc<Link>, now: Instant) -> Arc<Link> {
        let mut slots = self.slots.lock();
        let slot = slots.entry((new.peer, new.lane)).or_default();
        let old = slot.current.take().filter(|old| old.is_alive());
        let (kept, let_go) = match old {
            Some(old) if prefers_old(&old, &new, now) => (old, Some(new)),
            old => (new, old),
        };
        slot.current = Some(kept.clone());
        slot.paused = None;
        slot.made.send_modify(|made| *made += 1);
        if let Some(link) = let_go {
            slot.draining.retain(|link| link.is_alive());
            slot.draining.push(link.clone());
            tokio::spawn(async move { link.drain().await });
        }
        kept
    }

    /// A dial is over. Returns how long to pause if it failed.
    pub(super) fn dialled(&self, peer: NodeId, lane: Lane, failed: Option<&LinkError>) -> Option<Duration> {
        let mut slots = self.slots.lock();
        let slot = slots.entry((peer, lane)).or_default();
        slot.dial = None;
        let error = failed?;
        if slot.current.as_ref().is_some_and(|link| link.is_alive()) {
            return None;
        }
        Some(slot.pause(error, PAUSE_MAX))
    }

    /// A connection was ended by a refusal. Returns how long to pause.
    pub(super) fn refused(&self, link: &Link, error: &LinkError) -> Duration {
        let mut slots = self.slots.lock();
        let slot = slots.entry((link.peer, link.lane)).or_default();
        slot.pause(error, REFUSED_PAUSE_MAX)
    }

    /// A connection worked: what failed before is forgotten.
    pub(super) fn worked(&self, link: &Link) {
        if let Some(slot) = self.slots.lock().get_mut(&(link.peer, link.lane)) {
            slot.failures = 0;
        }
    }

    /// The pause is over.
    pub(super) fn resume(&self, peer: NodeId, lane: Lane) {
        if let Some(slot) = self.slots.lock().get_mut(&(peer, lane)) {
            slot.paused = None;
        }
    }

    /// Closes all connections with a node.
    pub(super) fn forget(&self, node: NodeId) {
        let mut slots = self.slots.lock();
        for lane in Lane::ALL {
            let Some(slot) = slots.remove(&(node, lane)) else {
                continue;
            };
            for link in slot.current.into_iter().chain(slot.draining) {
                Close::Forgotten.close(&link.connection, "dropped");
            }
        }
    }

    /// What is known of the path to a node, by the connection that carries the most.
    pub(super) fn path(&self, node: NodeId, now: Instant) -> Option<PathInfo> {
        let slots = self.slots.lock();
        let link = [Lane::Chunks, Lane::Rpc, Lane::Raft]
            .into_iter()
            .find_map(|lane| {
                let current = slots.get(&(node, lane))?.current.as_ref();
                current.filter(|link| link.is_alive())
            })?;
        let stats = link.connection.stats();
        Some(PathInfo {
            rtt: stats.path.rtt,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
            connected_for: now.saturating_duration_since(link.since),
        })
    }
}

impl Slot {
    fn pause(&mut self, error: &LinkError, max: Duration) -> Duration {
        let pause = PAUSE_FIRST.saturating_mul(1_u32 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.paused = Some(error.clone());
        pause.min(max)
    }
}

fn prefers_old(old: &Link, new: &Link, now: Instant) -> bool {
    let young = SIMULTANEOUS + 4 * new.connection.rtt();
    let simultaneous = old.dialler != new.dialler && now.saturating_duration_since(old.since) < young;
    simultaneous && old.dialler < new.dialler
}
