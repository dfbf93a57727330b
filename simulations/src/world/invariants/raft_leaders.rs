//! A term has one leader at most.
//!
//! openraft lets several nodes lead in one term, one after the other in the order of their ids, and orders entries by
//! term *and* leader. What must not happen: a term is led in twice by the same node (it forgot over a restart that it
//! had led, and may number other entries as it did then), or by a lower node after a higher one.

use std::collections::BTreeMap;

use tetryx_protocol::id::{ClientId, NodeId};
use tetryx_raft::{Observation, ReplicaRole};

#[derive(Default)]
pub(super) struct Leaders {
    /// By term: who led in it, and in which of its runs.
    led: BTreeMap<u64, BTreeMap<NodeId, ClientId>>,
}

impl Leaders {
    pub(super) fn look(&mut self, seen: &[Observation]) -> Result<(), String> {
        // Who is seen for the first time in the same moment may have come in any order.
        let before: BTreeMap<u64, NodeId> = self
            .led
            .iter()
            .filter_map(|(term, led)| Some((*term, *led.last_key_value()?.0)))
            .collect();
        for seen in seen.iter().filter(|seen| seen.role == ReplicaRole::Leader) {
            let led = self.led.entry(seen.term).or_default();
            match led.get(&seen.node) {
                Some(run) if *run == seen.opened_as => continue,
                Some(_) => {
                    return Err(format!(
                        "node {} leads in term {} again, in which it led before it was restarted",
                        seen.node, seen.term
                    ));
                }
                None => {}
            }
            if let Some(higher) = before.get(&seen.term).filter(|before| **before > seen.node) {
                return Err(format!(
                    "node {} leads in term {}, in which {higher} led already",
                    seen.node, seen.term
                ));
            }
            led.insert(seen.node, seen.opened_as);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::raft_fixture::{leading, node, run};
    use super::*;

    #[test]
    fn a_leader_may_be_deposed_and_elected_again_in_a_later_term() {
        let mut leaders = Leaders::default();
        for (number, term) in [(1, 3), (1, 3), (2, 4), (1, 5)] {
            assert_eq!(leaders.look(&[leading(node(number), term)]), Ok(()));
        }
    }

    #[test]
    fn leading_twice_in_a_term_is_noticed() {
        let mut leaders = Leaders::default();
        leaders.look(&[leading(node(1), 3)]).expect("nobody led before");
        let mut again = leading(node(1), 3);
        again.opened_as = run(2);
        leaders.look(&[again]).expect_err("it has forgotten that it led");
    }

    #[test]
    fn a_lower_leader_after_a_higher_one_in_a_term_is_noticed() {
        let mut leaders = Leaders::default();
        leaders.look(&[leading(node(2), 3)]).expect("nobody led before");
        leaders
            .look(&[leading(node(1), 3)])
            .expect_err("a quorum had promised to follow a higher one");
    }
}
