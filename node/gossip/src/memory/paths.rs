//! The ways between members: how long a message takes, and whether it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use tetryx_protocol::id::NodeId;

use super::tally::Tally;

/// How messages fare between two members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// One way.
    pub latency: Duration,
    /// What is added to the latency at the most, drawn for each message.
    pub jitter: Duration,
    /// Messages in a thousand that do not arrive.
    pub loss_permille: u32,
    /// Messages in a thousand that arrive twice.
    pub duplicate_permille: u32,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) everywhere: Conditions,
    own: BTreeMap<(NodeId, NodeId), Conditions>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// When the last message on a way arrives. Only kept for ways on which one could overtake another.
    last: BTreeMap<(NodeId, NodeId), Duration>,
}

impl Paths {
    pub(super) fn conditions(&self, from: NodeId, to: NodeId) -> Conditions {
        self.own.get(&(from, to)).copied().unwrap_or(self.everywhere)
    }

    /// Changes the conditions in both directions.
    pub(super) fn change(&mut self, a: NodeId, b: NodeId, change: impl Fn(&mut Conditions)) {
        for way in [(a, b), (b, a)] {
            change(self.own.entry(way).or_insert(self.everywhere));
        }
    }

    /// Changes the conditions everywhere.
    pub(super) fn change_everywhere(&mut self, change: impl Fn(&mut Conditions)) {
        change(&mut self.everywhere);
        self.own.values_mut().for_each(change);
    }

    pub(super) fn set_cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        if cut {
            self.cuts.insert((from, to));
        } else {
            self.cuts.remove(&(from, to));
        }
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from, to))
    }

    /// Whether both directions are whole, as a connection needs.
    pub(super) fn are_whole(&self, a: NodeId, b: NodeId) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }

    /// How long a question and its answer take.
    pub(super) fn round_trip(&self, a: NodeId, b: NodeId) -> Duration {
        self.conditions(a, b).latency + self.conditions(b, a).latency
    }

    /// When a message that is sent now arrives: not at all, once, or twice.
    pub(super) fn travel(
        &mut self,
        rng: &mut Rng,
        tally: &mut Tally,
        now: Duration,
        from: NodeId,
        to: NodeId,
    ) -> [Option<Duration>; 2] {
        tally.sent += 1;
        let conditions = self.conditions(from, to);
        if self.is_cut(from, to) || happens(rng, conditions.loss_permille) {
            tally.lost += 1;
            return [None, None];
        }
        let first = self.arrival(rng, now, from, to, conditions);
        if !happens(rng, conditions.duplicate_permille) {
            return [Some(first), None];
        }
        tally.duplicated += 1;
        let second = self.arrival(rng, now, from, to, conditions);
        [Some(first), Some(second)]
    }

    fn arrival(
        &mut self,
        rng: &mut Rng,
        now: Duration,
        from: NodeId,
        to: NodeId,
        conditions: Conditions,
    ) -> Duration {
        let jitter = u64::try_from(conditions.jitter.as_nanos()).unwrap_or(u64::MAX);
        let late = if jitter == 0 { 0 } else { rng.u64(0..=jitter) };
        let arrives = now + conditions.latency + Duration::from_nanos(late);
        let last = self.last.entry((from, to)).or_default();
        *last = arrives.max(*last);
        *last
    }
}

/// Draws only where there is something to decide, so that a calm mesh costs nothing.
fn happens(rng: &mut Rng, permille: u32) -> bool {
    permille > 0 && rng.u32(0..1_000) < permille
}
