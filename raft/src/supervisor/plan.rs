//! Who should vote: a pure function of who there is, how they are, and who votes now.
//!
//! | members that may vote | voters |
//! |---|---|
//! | 1 or 2 | 1 |
//! | 3 or 4 | 3 |
//! | 5 and more | 5 |
//!
//! Two voters stop when either of them does, so two members have one voter: the other one follows, and writes go on
//! without it. Whatever it had not heard of when the voter is lost for good is lost with it.
//!
//! # Invariants
//! - The number of voters asked for is odd, and never zero.
//! - The leader stays a voter, unless it is itself to leave and nobody could take over.
//! - A voter that is healthy leaves only for one that is healthy, too, and in a zone that has none; or because there are
//!   more voters than members call for; or because its membership ends.
//! - A voter that is to leave and still runs stays until there is somebody in its place, if there may ever be.
//! - What a plan asks for is what the next one finds: nobody is swapped back and forth.
//!
//! # Non-goals
//! - Giving up votes of dead members that nobody can replace: an operator removes them, who knows whether they return.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tetryx_protocol::id::NodeId;

use crate::profile::Profile;

/// What a member may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A voter, before others.
    Preferred,
    /// A voter, if there are too few who are preferred.
    Allowed,
    /// Nothing for long: it hands over what it has.
    Leaving,
    /// Nothing any more.
    Gone,
}

impl Standing {
    fn may_vote(self) -> bool {
        matches!(self, Self::Preferred | Self::Allowed)
    }
}

/// A member as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberHealth {
    /// Who.
    pub node: NodeId,
    /// The failure zone it is in.
    pub zone: String,
    /// What it may be.
    pub standing: Standing,
    /// For how long it has answered without a break.
    pub reachable_for: Option<Duration>,
    /// For how long it has not answered.
    pub unreachable_for: Option<Duration>,
    /// Whether its log is nearly as long as the leader's.
    pub caught_up: bool,
}

/// Who takes part in consensus now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roll {
    /// Who leads, and is asking.
    pub leader: NodeId,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// For how long the voters have been the same.
    pub unchanged_for: Duration,
}

/// How long to wait before acting on what is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A member must have answered for so long without a break before it is given a vote.
    pub stable_for: Duration,
    /// A voter that has not answered for so long is dead, and replaced if there is a spare.
    pub dead_after: Duration,
    /// Healthy voters are exchanged, and dead ones replaced, only when the voters have been the same for so long.
    pub dwell: Duration,
}

impl Patience {
    /// What suits the timing of a cluster: a vote after two elections' time, a replacement after half a minute on one
    /// site, a minute on fibre, and two minutes behind a satellite.
    pub fn for_profile(profile: Profile) -> Self {
        let dead_after = Duration::from_secs(match profile {
            Profile::Lan => 30,
            Profile::Wan => 60,
            Profile::Geo => 120,
        });
        Self {
            stable_for: profile.election_max() * 2,
            dead_after,
            dwell: dead_after,
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Let this member follow the log.
    Admit(NodeId),
    /// Make exactly these the voters.
    Voters(BTreeSet<NodeId>),
    /// Let this voter lead: the leader is about to leave.
    HandOver(NodeId),
    /// Stop sending this node the log.
    Dismiss(NodeId),
}

/// The next step towards the voters that there should be; `None` if everything is as it should be or must wait.
/// `members` are all that are known, each once; nodes of the roll that are not among them are left as they are.
pub fn plan(members: &[MemberHealth], roll: &Roll, patience: &Patience) -> Option<Change> {
    let members: BTreeMap<NodeId, &MemberHealth> =
        members.iter().map(|member| (member.node, member)).collect();
    let newcomer = members.values().find(|member| {
        member.standing != Standing::Gone
            && !roll.voters.contains(&member.node)
            && !roll.learners.contains(&member.node)
    });
    if let Some(newcomer) = newcomer {
        return Some(Change::Admit(newcomer.node));
    }
    let planning = Planning {
        members: &members,
        roll,
        patience,
    };
    if let Some(wanted) = planning.voters() {
        return Some(planning.way_to(wanted));
    }
    let gone = |node: &&NodeId| {
        members
            .get(node)
            .is_some_and(|member| member.standing == Standing::Gone)
    };
    roll.learners.iter().find(gone).map(|node| Change::Dismiss(*node))
}

struct Planning<'a> {
    members: &'a BTreeMap<NodeId, &'a MemberHealth>,
    roll: &'a Roll,
    patience: &'a Patience,
}

impl Planning<'_> {
    /// The voters there should be, if they are not those there are.
    fn voters(&self) -> Option<BTreeSet<NodeId>> {
        let (mut kept, leaving): (BTreeSet<_>, BTreeSet<_>) =
            self.roll.voters.iter().partition(|node| self.stays(node));
        let mut fit = self.fit();
        let seats = seats(self.electable());
        let mut newest = None;
        while kept.len() < seats
            && let Some(best) = self.best(&fit, &kept)
        {
            fit.remove(&best);
            kept.insert(best);
            newest = Some(best);
        }
        if kept.len() < seats && !leaving.is_empty() && self.somebody_may_become_fit(&fit) {
            // Their seats are not given up while somebody is on the way.
            kept.extend(leaving.iter().copied().take(seats - kept.len()));
        }
        if kept.is_empty() {
            // Nobody else can take part: even those who should leave must stay.
            return None;
        }
        if kept.len().is_multiple_of(2)
            && let Some(newest) = newest
        {
            // It waits for another one, rather than taking somebody's place.
            kept.remove(&newest);
            fit.insert(newest);
        }
        while kept.len() > seats || kept.len().is_multiple_of(2) {
            let given_up = self.least_needed(&kept)?;
            kept.remove(&given_up);
        }
        if kept == self.roll.voters && self.roll.unchanged_for >= self.patience.dwell {
            self.exchange(&mut kept, &fit);
        }
        (kept != self.roll.voters).then_some(kept)
    }

    /// How to get to the voters `wanted`.
    fn way_to(&self, wanted: BTreeSet<NodeId>) -> Change {
        if wanted.contains(&self.roll.leader) {
            return Change::Voters(wanted);
        }
        // A leader that leaves hands over first, to one that votes already.
        let heir = wanted
            .iter()
            .find(|node| self.roll.voters.contains(node) && self.is_reachable(node));
        heir.map_or_else(|| Change::Voters(wanted.clone()), |heir| Change::HandOver(*heir))
    }

    /// Replaces a dead voter, or else moves a vote to a zone that has none.
    fn exchange(&self, kept: &mut BTreeSet<NodeId>, fit: &BTreeSet<NodeId>) {
        let dead = kept.iter().copied().find(|node| self.is_dead(node));
        if let Some(dead) = dead {
            let mut others = kept.clone();
            others.remove(&dead);
            if let Some(best) = self.best(fit, &others) {
                kept.remove(&dead);
                kept.insert(best);
            }
            return;
        }
        let zones = self.zones(kept);
        let Some(best) = self
            .best(fit, kept)
            .filter(|best| !zones.contains_key(self.zone(best)))
        else {
            return;
        };
        let crowded = kept.iter().rev().copied().find(|node| {
            *node != self.roll.leader && zones.get(self.zone(node)).is_some_and(|count| *count > 1)
        });
        if let Some(crowded) = crowded {
            kept.remove(&crowded);
            kept.insert(best);
        }
    }

    /// Which voter is missed least: a dead one, one of a crowded zone, one that is not preferred. Never the leader.
    fn least_needed(&self, kept: &BTreeSet<NodeId>) -> Option<NodeId> {
        let zones = self.zones(kept);
        let rank = |node: &NodeId| {
            (
                self.stays(node),
                !self.is_dead(node),
                zones.get(self.zone(node)).is_none_or(|count| *count < 2),
                self.members
                    .get(node)
                    .is_none_or(|member| member.standing == Standing::Preferred),
                std::cmp::Reverse(*node),
            )
        };
        let leader_stays = self.stays(&self.roll.leader);
        kept.iter()
            .filter(|node| !(leader_stays && **node == self.roll.leader))
            .min_by_key(|node| rank(node))
            .copied()
    }

    /// The learner that should vote first: of a zone that has no voter, preferred, with the lowest id.
    fn best(&self, fit: &BTreeSet<NodeId>, kept: &BTreeSet<NodeId>) -> Option<NodeId> {
        let zones = self.zones(kept);
        fit.iter().copied().min_by_key(|node| {
            (
                self.members.get(node).map(|member| member.standing),
                zones.contains_key(self.zone(node)),
                *node,
            )
        })
    }

    /// Learners that could vote now.
    fn fit(&self) -> BTreeSet<NodeId> {
        let is_fit = |member: &&&MemberHealth| {
            member.standing.may_vote()
                && self.roll.learners.contains(&member.node)
                && member.caught_up
                && member
                    .reachable_for
                    .is_some_and(|stable| stable >= self.patience.stable_for)
        };
        self.members
            .values()
            .filter(is_fit)
            .map(|member| member.node)
            .collect()
    }

    fn somebody_may_become_fit(&self, fit: &BTreeSet<NodeId>) -> bool {
        self.roll.learners.iter().any(|node| {
            let is_electable = self
                .members
                .get(node)
                .is_some_and(|member| member.standing.may_vote());
            is_electable && !fit.contains(node) && !self.is_dead(node)
        })
    }

    /// How many members may vote.
    fn electable(&self) -> usize {
        let known = self.members.values().filter(|member| member.standing.may_vote());
        let unknown = self
            .roll
            .voters
            .iter()
            .filter(|node| !self.members.contains_key(node));
        known.count() + unknown.count()
    }

    fn stays(&self, node: &NodeId) -> bool {
        self.members
            .get(node)
            .is_none_or(|member| member.standing.may_vote())
    }

    fn is_dead(&self, node: &NodeId) -> bool {
        // Whoever leads is there.
        *node != self.roll.leader && self.silence_is_over(node)
    }

    fn silence_is_over(&self, node: &NodeId) -> bool {
        self.members
            .get(node)
            .and_then(|member| member.unreachable_for)
            .is_some_and(|silent| silent >= self.patience.dead_after)
    }

    fn is_reachable(&self, node: &NodeId) -> bool {
        self.members
            .get(node)
            .is_none_or(|member| member.unreachable_for.is_none())
    }

    fn zone(&self, node: &NodeId) -> &str {
        self.members.get(node).map_or("", |member| member.zone.as_str())
    }

    /// How many of `nodes` are in each zone.
    fn zones(&self, nodes: &BTreeSet<NodeId>) -> BTreeMap<&str, usize> {
        let mut zones = BTreeMap::new();
        for node in nodes {
            *zones.entry(self.zone(node)).or_insert(0) += 1;
        }
        zones
    }
}

/// How many voters there should be among so many members that may vote.
fn seats(electable: usize) -> usize {
    match electable {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    }
}
