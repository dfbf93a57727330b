//! Logs that agree on an entry agree on all before it.
//!
//! Checked by induction: wherever an entry of this term, leader and number is seen, it has the same bytes, and the
//! entry before it is the same one.

use std::collections::BTreeMap;

use tetryx_raft::LogPosition;

use super::raft::Sight;

#[derive(Default)]
pub(super) struct Matching {
    /// The hash of each entry that was ever seen, and what stood before it where that was seen.
    entries: BTreeMap<LogPosition, ([u8; 32], Option<LogPosition>)>,
}

impl Matching {
    pub(super) fn look(&mut self, sights: &[Sight]) -> Result<(), String> {
        for Sight { seen, entries } in sights {
            let mut before: Option<LogPosition> = None;
            for mark in entries {
                if before.is_some_and(|before| before.index + 1 != mark.at.index || before > mark.at) {
                    return Err(format!("on node {}, {:?} follows {before:?}", seen.node, mark.at));
                }
                let known = self.entries.entry(mark.at).or_insert((mark.hash, before));
                if known.0 != mark.hash {
                    return Err(format!(
                        "entry {:?} of node {} is another one elsewhere",
                        mark.at, seen.node
                    ));
                }
                match (known.1, before) {
                    (Some(known), Some(before)) if known != before => {
                        return Err(format!(
                            "before entry {:?} stands {before:?} on node {}, and {known:?} elsewhere",
                            mark.at, seen.node
                        ));
                    }
                    (None, Some(_)) => known.1 = before,
                    _ => {}
                }
                before = Some(mark.at);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::raft_fixture::{entry, node, sight};
    use super::*;

    #[test]
    fn logs_may_differ_in_their_ends() {
        let mut matching = Matching::default();
        let one = sight(node(1), vec![entry(1, 1, 1), entry(1, 1, 2), entry(1, 1, 3)]);
        let other = sight(node(2), vec![entry(1, 1, 1), entry(1, 1, 2), entry(2, 2, 3)]);
        assert_eq!(matching.look(&[one, other]), Ok(()));
    }

    #[test]
    fn an_entry_that_is_another_one_elsewhere_is_noticed() {
        let mut matching = Matching::default();
        let one = sight(node(1), vec![entry(1, 1, 1), entry(1, 1, 2)]);
        let mut other = sight(node(2), vec![entry(1, 1, 1), entry(1, 1, 2)]);
        other.entries[1].hash = [9; 32];
        matching.look(&[one, other]).expect_err("they do not match");
    }

    #[test]
    fn logs_that_agree_after_an_entry_in_which_they_differ_are_noticed() {
        let mut matching = Matching::default();
        let one = sight(node(1), vec![entry(1, 1, 1), entry(3, 1, 2)]);
        let other = sight(node(2), vec![entry(2, 2, 1), entry(3, 1, 2)]);
        matching.look(&[one]).expect("there is one log");
        matching.look(&[other]).expect_err("they do not match");
    }

    #[test]
    fn a_gap_in_a_log_is_noticed() {
        let gap = sight(node(1), vec![entry(1, 1, 1), entry(1, 1, 3)]);
        Matching::default().look(&[gap]).expect_err("entry 2 is missing");
    }
}
