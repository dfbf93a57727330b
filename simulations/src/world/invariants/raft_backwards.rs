//! The term, the vote and what was applied never go back.
//!
//! On one node, whether it is restarted in between or not:
//! - the durable vote never falls (its term, its leader, that it was granted), and no restart finds a term below it;
//! - the durable end of the log is not lost: it is earlier only if the vote says that another leader than the one it is
//!   of, who may replace it, was promised to be followed;
//! - what was cut off the log is in the state that a restart finds.
//!
//! As long as it runs also: the term, what is committed and what is applied never fall. A vote is made durable before
//! the term that it is of counts, so on a slow disk the term is behind it for a while. After a restart all three may be
//! earlier: a term that was not durable yet has been told to nobody, and the others are learnt again.

use std::collections::BTreeMap;

use tetryx_protocol::id::NodeId;
use tetryx_raft::Observation;

#[derive(Default)]
pub(super) struct Backwards {
    last: BTreeMap<NodeId, Observation>,
}

impl Backwards {
    pub(super) fn look(&mut self, seen: &[Observation]) -> Result<(), String> {
        for now in seen {
            let before = self.last.get(&now.node);
            if let Some(before) = before {
                went_forward(before, now)?;
            }
            // While it runs, a snapshot that is being installed replaces the log first.
            let has_restarted = before.is_none_or(|before| before.opened_as != now.opened_as);
            if has_restarted && now.purged.map(|at| at.index) > now.applied.map(|at| at.index) {
                return Err(format!(
                    "node {} has cut its log up to {:?}, and its state is of {:?}",
                    now.node, now.purged, now.applied
                ));
            }
            self.last.insert(now.node, now.clone());
        }
        Ok(())
    }
}

fn went_forward(before: &Observation, now: &Observation) -> Result<(), String> {
    let node = now.node;
    let back = |what: &str, before: String, now: String| {
        Err(format!("{what} of node {node} was {before} and is {now}"))
    };
    let is_same_run = now.opened_as == before.opened_as;
    let counted = if is_same_run {
        before.term
    } else {
        before.vote.map_or(0, |vote| vote.term)
    };
    if now.term < counted {
        return back("the term", before.term.to_string(), now.term.to_string());
    }
    if now.vote < before.vote {
        return back(
            "the vote",
            format!("{:?}", before.vote),
            format!("{:?}", now.vote),
        );
    }
    let office = now.vote.map(|vote| vote.office());
    let written_in = before.acknowledged.map(|at| at.office());
    if now.acknowledged < before.acknowledged && office == written_in {
        return back(
            "the durable log",
            format!("{:?}", before.acknowledged),
            format!("{:?}, without another leader", now.acknowledged),
        );
    }
    if is_same_run {
        if now.committed < before.committed {
            return back(
                "what is committed",
                format!("{:?}", before.committed),
                format!("{:?}", now.committed),
            );
        }
        if now.applied < before.applied {
            return back(
                "what is applied",
                format!("{:?}", before.applied),
                format!("{:?}", now.applied),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tetryx_raft::ObservedVote;

    use super::super::raft_fixture::{entry, following, node, run};
    use super::*;

    fn check(before: &Observation, now: &Observation) -> Result<(), String> {
        let mut backwards = Backwards::default();
        backwards
            .look(std::slice::from_ref(before))
            .expect("there was nothing before");
        backwards.look(std::slice::from_ref(now))
    }

    fn restarted(seen: &Observation) -> Observation {
        Observation {
            opened_as: run(9),
            ..seen.clone()
        }
    }

    #[test]
    fn a_restart_may_forget_what_was_committed_and_applied_but_nothing_durable() {
        let before = following(node(1), entry(3, 1, 7).at);
        let mut now = restarted(&before);
        (now.committed, now.applied) = (None, Some(entry(3, 1, 5).at));
        assert_eq!(check(&before, &now), Ok(()));

        now.acknowledged = Some(entry(3, 1, 6).at);
        check(&before, &now).expect_err("an acknowledged entry is lost");
    }

    #[test]
    fn another_leader_may_replace_entries() {
        let before = following(node(1), entry(3, 1, 7).at);
        let mut now = before.clone();
        (now.term, now.acknowledged) = (4, Some(entry(3, 1, 6).at));
        now.vote = Some(ObservedVote {
            term: 4,
            leader: node(2),
            is_granted: true,
        });
        (now.committed, now.applied) = (before.committed, before.applied);
        assert_eq!(check(&before, &now), Ok(()));
    }

    #[test]
    fn another_leader_may_replace_entries_some_time_after_the_vote() {
        let mut before = following(node(1), entry(3, 1, 7).at);
        before.term = 4;
        before.vote = Some(ObservedVote {
            term: 4,
            leader: node(2),
            is_granted: true,
        });
        let mut now = before.clone();
        now.acknowledged = Some(entry(3, 1, 6).at);
        assert_eq!(check(&before, &now), Ok(()));
    }

    #[test]
    fn a_term_a_vote_and_a_state_that_go_back_are_noticed() {
        let before = following(node(1), entry(3, 1, 7).at);
        let mut now = restarted(&before);
        now.term = 2;
        check(&before, &now).expect_err("the term went back behind the vote");

        let mut voting = before.clone();
        voting.vote = Some(ObservedVote {
            term: 4,
            leader: node(2),
            is_granted: false,
        });
        assert_eq!(
            check(&voting, &voting),
            Ok(()),
            "the vote is durable, and does not count yet"
        );
        check(&voting, &restarted(&voting)).expect_err("it counts after a restart");

        let mut campaigning = before.clone();
        campaigning.term = 4;
        check(&campaigning, &restarted(&before)).expect("nobody was told of the campaign");
        check(&campaigning, &before).expect_err("the term went back without a restart");

        let mut now = restarted(&before);
        now.vote = None;
        check(&before, &now).expect_err("the vote is forgotten");

        let mut now = before.clone();
        now.applied = Some(entry(3, 1, 6).at);
        check(&before, &now).expect_err("the state went back without a restart");

        let mut now = before.clone();
        now.committed = Some(entry(3, 1, 6).at);
        check(&before, &now).expect_err("what is committed went back without a restart");
    }

    #[test]
    fn a_log_that_was_cut_further_than_the_state_reaches_is_noticed() {
        let before = following(node(1), entry(3, 1, 7).at);
        let mut now = restarted(&before);
        (now.purged, now.applied) = (Some(entry(3, 1, 6).at), Some(entry(3, 1, 5).at));
        check(&before, &now).expect_err("entry 6 is lost");
    }
}
