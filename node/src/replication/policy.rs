//! Which node should hold which NAR: pure, and the same on every node that has applied the same log.
//!
//! # Invariants
//! - A node is a *holder* of a NAR by the state alone: no clock and no link has a say in it.
//! - A holder that was away for too long is replaced by *stand-ins*: exactly those nodes that would be holders if it
//!   were removed. They hold copies, but count for nothing: as soon as all holders answer, theirs are surplus.
//! - A copy may be dropped only when this node is neither holder nor stand-in, and each holder has just said that its
//!   own copy is placed.
//!
//! # Why no two nodes drop each other's last copy
//! "Placed" is said by a node that has the NAR whole and durable, and is a holder by the state it has applied; while
//! that state stands, it does not drop the copy, and the answer is given under a hold that a running collection
//! respects. A node drops its copy by a state applied after its collection began. So let X drop because A said
//! "placed", and let the members change such that A is no holder any more, but X is. If X has applied that before its
//! collection began, it does not drop. If not, X cannot say "placed" under the new state before it has looked anew,
//! and A, who must hear that from X before it drops, keeps its copy.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::cache::{CacheName, Replication};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::member::MemberState;
use tetryx_protocol::peer::Holding;
use tetryx_protocol::placement::{Copies, PlaceCandidate, place};
use tetryx_state::records::MemberRecord;
use tetryx_state::tables::ReadTables;
use tetryx_state::{StateError, query};

/// The members as placement sees them.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    me: NodeId,
    states: BTreeMap<NodeId, MemberState>,
    candidates: Vec<PlaceCandidate>,
    /// `candidates` without those that were away for too long; `None` when nobody was.
    present: Option<Vec<PlaceCandidate>>,
}

/// What this node owes to a NAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It must hold it.
    Holder,
    /// It must hold it as long as a holder is away.
    StandIn,
    /// Nothing.
    None,
}

/// Where a NAR goes before its upload is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WritePlan {
    /// How many others must hold it.
    pub(crate) others: usize,
    /// Whom to ask, in this order.
    pub(crate) candidates: Vec<NodeId>,
}

impl Membership {
    /// `away` are the members that this node has not heard of for so long that their copies are made elsewhere.
    pub(crate) fn new(me: NodeId, members: &[(NodeId, MemberRecord)], away: &BTreeSet<NodeId>) -> Self {
        let states: BTreeMap<NodeId, MemberState> = members
            .iter()
            .filter(|(_, member)| !member.state.is_removed())
            .map(|(node, member)| (*node, member.state))
            .collect();
        let candidates: Vec<PlaceCandidate> = members
            .iter()
            .filter(|(_, member)| member.state.is_active())
            .map(|(node, member)| PlaceCandidate {
                node: *node,
                zone: member.zone.clone(),
                weight: member.weight,
            })
            .collect();
        let is_away = |candidate: &PlaceCandidate| candidate.node != me && away.contains(&candidate.node);
        let present = candidates
            .iter()
            .any(is_away)
            .then(|| candidates.iter().filter(|c| !is_away(c)).cloned().collect());
        Self {
            me,
            states,
            candidates,
            present,
        }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    /// Every member but this node, those that leave included.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.states.keys().copied().filter(|node| *node != self.me)
    }

    /// Whether this node hands over what it has.
    pub(crate) fn is_draining(&self) -> bool {
        self.states.get(&self.me).is_some_and(|state| state.is_draining())
    }

    /// Who must hold the NAR, best first. Fewer than `copies` where there are fewer members.
    pub(crate) fn holders(&self, nar: &NarHash, copies: Copies) -> Vec<NodeId> {
        place(nar, &self.candidates, copies)
    }

    /// What this node owes to a NAR that has these holders.
    pub(crate) fn duty(&self, nar: &NarHash, copies: Copies, holders: &[NodeId]) -> Duty {
        if holders.contains(&self.me) {
            return Duty::Holder;
        }
        let stands_in = self
            .present
            .as_ref()
            .is_some_and(|present| place(nar, present, copies).contains(&self.me));
        if stands_in { Duty::StandIn } else { Duty::None }
    }

    /// Where a NAR goes before its upload here is acknowledged: holders before other members, and whoever is
    /// `reachable` before whoever is not.
    pub(crate) fn write_plan(
        &self,
        nar: &NarHash,
        copies: Copies,
        write_replicas: u8,
        reachable: impl Fn(&NodeId) -> bool,
    ) -> WritePlan {
        let active = self.states.values().filter(|state| state.is_active()).count();
        let wanted = match copies {
            Copies::Exactly(copies) => usize::from(copies.min(write_replicas)),
            Copies::All => usize::from(write_replicas),
        };
        let own = usize::from(!self.is_draining());
        let holders = self.holders(nar, copies);
        let mut candidates: Vec<NodeId> = holders.clone();
        candidates.retain(|node| *node != self.me);
        let further = self.candidates.iter().map(|candidate| candidate.node);
        candidates.extend(further.filter(|node| *node != self.me && !holders.contains(node)));
        // Stable: within each half the order stays.
        candidates.sort_by_key(|node| !reachable(node));
        WritePlan {
            others: wanted.min(active).saturating_sub(own),
            candidates,
        }
    }
}

/// Whether a copy on a node that owes the NAR nothing may go, by what the holders have just answered.
pub(crate) fn may_drop(holders: &[NodeId], answer: impl Fn(&NodeId) -> Option<Holding>) -> bool {
    !holders.is_empty() && holders.iter().all(|node| answer(node) == Some(Holding::Placed))
}

/// How many copies each NAR should have: the most that any cache with a path of that content asks for.
#[derive(Clone, Debug)]
pub(crate) struct CopyRules {
    /// Descending; the last one needs no look at the caches, since each NAR is in some cache.
    groups: Vec<(Copies, Vec<CacheName>)>,
    default: Copies,
}

impl CopyRules {
    /// # Errors
    /// Those of the tables.
    pub(crate) fn read<T: ReadTables>(tables: &T, default: u8) -> Result<Self, StateError<T::Error>> {
        let default = Copies::Exactly(default.max(1));
        let mut groups: Vec<(Copies, Vec<CacheName>)> = Vec::new();
        for (name, cache) in query::caches(tables)? {
            let copies = copies_of(cache.replication, default);
            match groups.iter_mut().find(|(known, _)| *known == copies) {
                Some((_, names)) => names.push(name),
                None => groups.push((copies, vec![name])),
            }
        }
        groups.sort_by_key(|(copies, _)| std::cmp::Reverse(rank(*copies)));
        Ok(Self { groups, default })
    }

    /// # Errors
    /// Those of the tables.
    pub(crate) fn of<T: ReadTables>(
        &self,
        tables: &T,
        nar: &NarHash,
    ) -> Result<Copies, StateError<T::Error>> {
        let Some(((last, _), greater)) = self.groups.split_last() else {
            return Ok(self.default);
        };
        for (copies, caches) in greater {
            for cache in caches {
                if query::holds(tables, cache, nar)? {
                    return Ok(*copies);
                }
            }
        }
        Ok(*last)
    }

    /// For a NAR that no record names yet: what this cache asks for.
    pub(crate) fn of_cache(&self, cache: &CacheName) -> Copies {
        let asked = self.groups.iter().find(|(_, names)| names.contains(cache));
        asked.map_or(self.default, |(copies, _)| *copies)
    }
}

fn copies_of(replication: Replication, default: Copies) -> Copies {
    match replication {
        Replication::Default => default,
        Replication::Copies(copies) => Copies::Exactly(copies.max(1)),
        Replication::All => Copies::All,
    }
}

fn rank(copies: Copies) -> u16 {
    match copies {
        Copies::Exactly(copies) => u16::from(copies),
        Copies::All => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::member::Role;
    use tetryx_protocol::time::UtcTime;

    use super::*;

    const THREE: Copies = Copies::Exactly(3);

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn member(n: u8, state: MemberState) -> (NodeId, MemberRecord) {
        let record = MemberRecord {
            name: format!("node-{n}"),
            zone: "zone".to_owned(),
            addresses: Vec::new(),
            gossip: Vec::new(),
            http_url: None,
            role: Role::Voter,
            weight: 100,
            state,
            added: UtcTime::from_unix_ms(0),
            feature_level: 1,
        };
        (node(n), record)
    }

    fn members(count: u8) -> Vec<(NodeId, MemberRecord)> {
        (1..=count).map(|n| member(n, MemberState::Active)).collect()
    }

    fn membership(me: u8, members: &[(NodeId, MemberRecord)], away: &[u8]) -> Membership {
        Membership::new(node(me), members, &away.iter().copied().map(node).collect())
    }

    fn nars() -> impl Iterator<Item = NarHash> {
        (0..200_u32).map(|n| NarHash::of(&n.to_le_bytes()))
    }

    #[test]
    fn every_node_names_the_same_holders() {
        let members = members(7);
        for nar in nars() {
            let expected = membership(1, &members, &[]).holders(&nar, THREE);
            assert_eq!(expected.len(), 3);
            for me in 2..=7 {
                let view = membership(me, &members, &[4, 5]);
                assert_eq!(view.holders(&nar, THREE), expected);
                let duty = view.duty(&nar, THREE, &expected);
                assert_eq!(duty == Duty::Holder, expected.contains(&node(me)));
            }
        }
    }

    #[test]
    fn stand_ins_are_those_who_inherit_when_the_absent_holder_is_removed() {
        let all = members(6);
        let mut without: Vec<_> = all.clone();
        without[2] = member(
            3,
            MemberState::Removed {
                at: UtcTime::from_unix_ms(1),
            },
        );
        for nar in nars() {
            let heirs = membership(1, &without, &[]).holders(&nar, THREE);
            for me in [1, 2, 4, 5, 6] {
                let view = membership(me, &all, &[3]);
                let holders = view.holders(&nar, THREE);
                let duty = view.duty(&nar, THREE, &holders);
                assert_eq!(
                    duty != Duty::None,
                    heirs.contains(&node(me)) || holders.contains(&node(me))
                );
                assert_eq!(
                    duty == Duty::StandIn,
                    !holders.contains(&node(me)) && heirs.contains(&node(me))
                );
            }
        }
    }

    #[test]
    fn a_draining_node_holds_nothing_and_is_no_target() {
        let mut all = members(4);
        all[0] = member(
            1,
            MemberState::Draining {
                since: UtcTime::from_unix_ms(1),
            },
        );
        for nar in nars() {
            let leaving = membership(1, &all, &[]);
            assert!(leaving.is_draining());
            let holders = leaving.holders(&nar, THREE);
            assert_eq!(leaving.duty(&nar, THREE, &holders), Duty::None);
            assert!(
                !membership(2, &all, &[])
                    .write_plan(&nar, THREE, 2, |_| true)
                    .candidates
                    .contains(&node(1))
            );
            // Its own copy goes with it, so it counts for nothing.
            assert_eq!(leaving.write_plan(&nar, THREE, 2, |_| true).others, 2);
        }
    }

    #[test]
    fn a_write_needs_as_many_others_as_are_asked_for_and_exist() {
        let nar = NarHash::of(b"nar");
        let others = |members: u8, copies, replicas| {
            membership(1, &self::members(members), &[])
                .write_plan(&nar, copies, replicas, |_| true)
                .others
        };
        assert_eq!(others(1, THREE, 2), 0);
        assert_eq!(others(2, THREE, 2), 1);
        assert_eq!(others(5, THREE, 2), 1);
        assert_eq!(others(5, THREE, 3), 2);
        assert_eq!(others(5, Copies::Exactly(1), 2), 0);
        assert_eq!(others(3, Copies::All, 9), 2);
        assert_eq!(others(5, THREE, 0), 0);
    }

    #[test]
    fn a_write_goes_to_reachable_holders_first_and_to_the_unreachable_last() {
        for nar in nars() {
            let view = membership(1, &members(6), &[]);
            let mut holders = view.holders(&nar, THREE);
            holders.retain(|holder| *holder != node(1));
            let down = holders[0];
            let plan = view.write_plan(&nar, THREE, 2, |node| *node != down);
            assert_eq!(plan.candidates.len(), 5);
            assert_eq!(plan.candidates[0], holders[1]);
            assert_eq!(plan.candidates[4], down);
        }
    }

    #[test]
    fn a_copy_goes_only_when_every_holder_has_said_placed() {
        let holders = [node(1), node(2)];
        assert!(may_drop(&holders, |_| Some(Holding::Placed)));
        for worse in [None, Some(Holding::No), Some(Holding::Complete)] {
            let answer = |asked: &NodeId| {
                if *asked == node(2) {
                    worse
                } else {
                    Some(Holding::Placed)
                }
            };
            assert!(!may_drop(&holders, answer), "{worse:?}");
        }
        assert!(!may_drop(&[], |_| Some(Holding::Placed)));
    }
}
