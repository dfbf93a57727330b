//! A leader has every entry that was committed before its term.
//!
//! Checked when a leader is first seen, by the last entry that was committed in an earlier term: that it has the ones
//! before follows from log matching.

use std::collections::BTreeSet;

use tetryx_protocol::id::NodeId;
use tetryx_raft::ReplicaRole;

use super::raft::Sight;
use super::raft_committed::Committed;

#[derive(Default)]
pub(super) struct Completeness {
    judged: BTreeSet<(u64, NodeId)>,
}

impl Completeness {
    pub(super) fn look(&mut self, sights: &[Sight], committed: &Committed) -> Result<(), String> {
        for Sight { seen, entries } in sights {
            let office = (seen.term, seen.node);
            if seen.role != ReplicaRole::Leader || !self.judged.insert(office) {
                continue;
            }
            let Some(due) = committed.last_before(office) else {
                continue;
            };
            let was_cut_off = seen.purged.is_some_and(|purged| purged.index >= due.index);
            let first = entries.first().map(|mark| mark.at.index);
            // What comes before the entries that were read was committed here, and judged so.
            let was_committed = first.is_none_or(|first| due.index < first)
                && seen
                    .committed
                    .is_some_and(|committed| committed.index >= due.index);
            let has = entries.iter().any(|mark| mark.at == due);
            if !(was_cut_off || was_committed || has) {
                return Err(format!(
                    "node {} leads in term {} without entry {due:?}, which was committed before; its log ends at {:?}",
                    seen.node, seen.term, seen.last_log
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::raft_fixture::{entry, node, sight};
    use super::*;

    fn committed() -> Committed {
        let mut committed = Committed::default();
        let mut sight = sight(node(1), vec![entry(1, 1, 1), entry(1, 1, 2)]);
        sight.seen.committed = Some(sight.entries[1].at);
        committed.look(&[sight]).expect("it is the first");
        committed
    }

    fn leader(entries: Vec<tetryx_raft::EntryMark>) -> Sight {
        let mut sight = sight(node(2), entries);
        (sight.seen.role, sight.seen.term) = (ReplicaRole::Leader, 2);
        sight
    }

    #[test]
    fn a_leader_with_everything_that_was_committed_is_fine() {
        let leader = leader(vec![entry(1, 1, 1), entry(1, 1, 2), entry(2, 2, 3)]);
        let judged = Completeness::default().look(&[leader], &committed());
        assert_eq!(judged, Ok(()));
    }

    #[test]
    fn a_leader_that_lacks_the_end_of_what_was_committed_is_noticed() {
        let short = leader(vec![entry(1, 1, 1)]);
        let judged = Completeness::default().look(&[short], &committed());
        judged.expect_err("entry 2 is missing");
    }

    #[test]
    fn a_leader_with_another_entry_in_the_place_of_a_committed_one_is_noticed() {
        let other = leader(vec![entry(1, 1, 1), entry(2, 2, 2), entry(2, 2, 3)]);
        let judged = Completeness::default().look(&[other], &committed());
        judged.expect_err("entry 2 is another one");
    }
}
