//! What is committed is on a quorum, and never changes.
//!
//! Each committed entry that is seen anywhere is kept: whoever has committed, applied or cut off an entry of that number
//! must mean the same one. And in the moment in which an entry is first seen to be committed, of the voters (by a
//! membership that counted then) so many may have it that they are a majority: who runs has acknowledged it, who does
//! not run may have.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::id::NodeId;
use tetryx_raft::{EntryKind, LogPosition, Observation};

use super::raft::Sight;

type Voters = Vec<BTreeSet<NodeId>>;

#[derive(Default)]
pub(super) struct Committed {
    entries: BTreeMap<u64, (LogPosition, [u8; 32])>,
    memberships: BTreeMap<LogPosition, Voters>,
    /// The last entry that was on a quorum.
    counted: Option<LogPosition>,
}

impl Committed {
    /// The last entry that was committed in an earlier term than this one.
    pub(super) fn last_before(&self, office: (u64, NodeId)) -> Option<LogPosition> {
        let mut latest = self.entries.values().rev().map(|(at, _)| *at);
        latest.find(|at| at.office() < office)
    }

    pub(super) fn look(&mut self, sights: &[Sight]) -> Result<(), String> {
        for Sight { seen, entries } in sights {
            let committed = seen.committed.map(|at| at.index);
            for mark in entries {
                if let EntryKind::Membership { voters } = &mark.kind {
                    self.memberships.insert(mark.at, voters.clone());
                }
                if Some(mark.at.index) > committed {
                    continue;
                }
                let known = self.entries.entry(mark.at.index).or_insert((mark.at, mark.hash));
                if *known != (mark.at, mark.hash) {
                    return Err(format!(
                        "node {} has committed {:?}, where {:?} was committed",
                        seen.node, mark.at, known.0
                    ));
                }
            }
            for (what, at) in [
                ("committed", seen.committed),
                ("applied", seen.applied),
                ("made a snapshot up to", seen.snapshot),
                ("cut off its log up to", seen.purged),
            ] {
                let Some(at) = at else { continue };
                if let Some((known, _)) = self.entries.get(&at.index).filter(|(known, _)| *known != at) {
                    return Err(format!(
                        "node {} has {what} {at:?}, where {known:?} was committed",
                        seen.node
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether what is newly committed can be on a quorum. All are seen in one moment.
    pub(super) fn is_on_a_quorum(&mut self, seen: &[Observation]) -> Result<(), String> {
        for seen in seen {
            if let Some(at) = seen.membership_at {
                self.memberships.insert(at, seen.voters.clone());
            }
        }
        let newest = seen.iter().max_by_key(|seen| seen.committed.map(|at| at.index));
        let Some((by, at)) = newest.and_then(|by| Some((by, by.committed?))) else {
            return Ok(());
        };
        if self.counted.is_some_and(|counted| counted.index >= at.index) {
            return Ok(());
        }
        let lacks = |node: &NodeId| {
            let mut running = seen.iter().filter(|seen| seen.node == *node);
            running.any(|seen| {
                seen.acknowledged
                    .is_none_or(|end| end.index < at.index || end.office() < at.office())
            })
        };
        let is_possible = |voters: &Voters| {
            voters
                .iter()
                .all(|set| set.iter().filter(|node| !lacks(node)).count() * 2 > set.len())
        };
        // Leaders count by the newest membership of their log, which may come after the entry.
        let before = self
            .memberships
            .iter()
            .filter(|(known, _)| known.index <= at.index);
        let in_force = before.max_by_key(|(known, _)| known.index);
        let first = in_force.map_or(0, |(known, _)| known.index);
        let last = by.membership_at.map_or(0, |known| known.index);
        let mut candidates = self
            .memberships
            .iter()
            .filter(|(known, _)| (first..=last.max(first)).contains(&known.index))
            .map(|(_, voters)| voters)
            .peekable();
        if candidates.peek().is_some() && !candidates.any(is_possible) {
            let ends: Vec<_> = seen.iter().map(|seen| (seen.node, seen.acknowledged)).collect();
            return Err(format!(
                "node {} has committed {at:?}, which no quorum can have: the durable ends of the logs are {ends:?}",
                by.node
            ));
        }
        self.counted = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::raft_fixture::{entry, following, node, sight, three_voters};
    use super::*;

    #[test]
    fn the_same_committed_entries_on_all_are_fine() {
        let mut committed = Committed::default();
        for number in 1..=3 {
            let mut sight = sight(node(number), vec![entry(1, 1, 1), entry(1, 1, 2)]);
            sight.seen.committed = Some(sight.entries[1].at);
            assert_eq!(committed.look(&[sight]), Ok(()));
        }
        assert_eq!(committed.last_before((1, node(1))), None);
        let end = Some(entry(1, 1, 2).at);
        assert_eq!(committed.last_before((2, node(1))), end);
    }

    #[test]
    fn another_committed_entry_of_the_same_number_is_noticed() {
        let mut committed = Committed::default();
        let mut one = sight(node(1), vec![entry(1, 1, 1)]);
        one.seen.committed = Some(one.entries[0].at);
        let mut other = sight(node(2), vec![entry(2, 2, 1)]);
        other.seen.committed = Some(other.entries[0].at);
        committed.look(&[one]).expect("it is the first");
        committed.look(&[other]).expect_err("it was replaced");
    }

    #[test]
    fn a_state_of_another_entry_than_was_committed_is_noticed() {
        let mut committed = Committed::default();
        let mut one = sight(node(1), vec![entry(1, 1, 1)]);
        one.seen.committed = Some(one.entries[0].at);
        let mut other = sight(node(2), Vec::new());
        other.seen.applied = Some(entry(2, 2, 1).at);
        committed.look(&[one, other]).expect_err("it applied another one");
    }

    #[test]
    fn a_majority_with_the_entry_is_a_quorum_and_so_is_one_with_a_station_that_is_down() {
        let at = entry(1, 1, 5).at;
        let [one, two, mut three] = three_voters(at);
        three.acknowledged = Some(entry(1, 1, 4).at);
        let mut committed = Committed::default();
        assert_eq!(
            committed.is_on_a_quorum(&[one.clone(), two, three.clone()]),
            Ok(())
        );
        assert_eq!(Committed::default().is_on_a_quorum(&[one, three]), Ok(()));
    }

    #[test]
    fn a_commit_without_a_quorum_is_noticed() {
        let at = entry(1, 1, 5).at;
        let [one, mut two, mut three] = three_voters(at);
        (two.acknowledged, three.acknowledged) = (Some(entry(1, 1, 4).at), None);
        let judged = Committed::default().is_on_a_quorum(&[one, two, three]);
        judged.expect_err("one log is no quorum of three");
    }

    #[test]
    fn the_membership_before_a_change_counts_as_well_as_the_one_after_it() {
        let at = entry(1, 1, 5).at;
        let mut alone = following(node(1), at);
        alone.voters = vec![[node(1)].into()];
        alone.membership_at = Some(entry(1, 1, 1).at);
        let mut committed = Committed::default();
        assert_eq!(committed.is_on_a_quorum(&[alone.clone()]), Ok(()));

        let next = entry(1, 1, 6).at;
        alone.voters = vec![[node(1)].into(), [node(1), node(2)].into()];
        (alone.committed, alone.acknowledged) = (Some(next), Some(next));
        alone.membership_at = Some(entry(1, 1, 7).at);
        let newcomer = following(node(2), entry(1, 1, 1).at);
        assert_eq!(committed.is_on_a_quorum(&[alone, newcomer]), Ok(()));
    }
}
