//! A proposal is applied once, however often it is repeated.
//!
//! A command that was repeated while its outcome was unknown may stand in the log twice. The state remembers the reply
//! of the first time, and must go on giving it: a second time would have had another one, such as that the cache exists
//! already.

use std::collections::BTreeMap;

use tetryx_protocol::id::ProposalId;
use tetryx_raft::{EntryKind, StateView};
use tetryx_state::{Reply, query};

use super::raft::Sight;

/// What is known of a proposal.
#[derive(Default)]
struct Known {
    /// Where it stands in the log.
    at: Vec<u64>,
    /// The reply after its first place and before the next.
    reply: Option<Reply>,
}

#[derive(Default)]
pub(super) struct Once {
    known: BTreeMap<ProposalId, Known>,
    /// Entries up to this one were seen.
    seen: u64,
    /// Which proposals stand in entries that were not applied yet.
    due: BTreeMap<u64, ProposalId>,
    repeated: usize,
}

/// What a state says of proposals.
pub(super) trait Replies {
    /// The last entry that is in it.
    fn applied(&self) -> u64;
    /// What it remembers to have replied.
    fn reply(&self, proposal: &ProposalId) -> Option<Reply>;
}

impl Replies for StateView {
    fn applied(&self) -> u64 {
        self.applied_index()
    }

    fn reply(&self, proposal: &ProposalId) -> Option<Reply> {
        query::reply(self, proposal).ok().flatten()
    }
}

impl Once {
    /// How many entries repeat a proposal, since this was asked last.
    pub(super) fn take_repeated(&mut self) -> usize {
        std::mem::take(&mut self.repeated)
    }

    /// Takes note of newly committed entries, and compares the replies of those that `newest` has applied.
    pub(super) fn look(&mut self, sights: &[Sight], newest: Option<&impl Replies>) -> Result<(), String> {
        for Sight { seen, entries } in sights {
            let committed = seen.committed.map_or(0, |at| at.index);
            for mark in entries {
                let index = mark.at.index;
                if let EntryKind::Command(Some(proposal)) = mark.kind
                    && index > self.seen
                    && index <= committed
                {
                    let known = self.known.entry(proposal).or_default();
                    self.repeated += usize::from(!known.at.is_empty());
                    known.at.push(index);
                    self.due.insert(index, proposal);
                }
            }
            self.seen = self.seen.max(committed);
        }
        newest.map_or(Ok(()), |newest| self.compare(newest))
    }

    fn compare(&mut self, newest: &impl Replies) -> Result<(), String> {
        let later = self.due.split_off(&(newest.applied() + 1));
        for (index, proposal) in std::mem::replace(&mut self.due, later) {
            let Some(known) = self.known.get_mut(&proposal) else {
                continue;
            };
            // None is remembered of a proposal that its client will not repeat.
            let Some(reply) = newest.reply(&proposal) else {
                continue;
            };
            let applied = known.at.iter().filter(|at| **at <= newest.applied()).count();
            match &known.reply {
                None if applied == 1 => known.reply = Some(reply),
                Some(first) if *first != reply => {
                    return Err(format!(
                        "proposal {} of client {} stands in entries {:?}: the reply was {first:?}, and after entry {index} it is {reply:?}",
                        proposal.serial, proposal.client, known.at
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tetryx_state::{Outcome, Refusal};

    use super::super::raft_fixture::{entry, node, run, sight};
    use super::*;

    const PROPOSAL: ProposalId = ProposalId {
        client: tetryx_protocol::id::ClientId::from_bytes([1; 16]),
        serial: 7,
    };

    struct State(u64, Option<Reply>);

    impl Replies for State {
        fn applied(&self) -> u64 {
            self.0
        }

        fn reply(&self, proposal: &ProposalId) -> Option<Reply> {
            assert_eq!(proposal.client, run(1));
            self.1.clone()
        }
    }

    /// The proposal, committed at this index.
    fn committed(index: u64) -> Sight {
        let mut mark = entry(1, 1, index);
        mark.kind = EntryKind::Command(Some(PROPOSAL));
        let mut sight = sight(node(1), vec![mark]);
        sight.seen.committed = Some(sight.entries[0].at);
        sight
    }

    fn created() -> Option<Reply> {
        Some(Reply::Done(Outcome::CacheCreated))
    }

    #[test]
    fn a_repeated_proposal_with_the_same_reply_is_fine() {
        let mut once = Once::default();
        assert_eq!(once.look(&[committed(1)], Some(&State(1, created()))), Ok(()));
        assert_eq!(once.look(&[committed(5)], Some(&State(5, created()))), Ok(()));
        assert_eq!(once.take_repeated(), 1);
        assert_eq!(
            once.look(&[committed(9)], Some(&State(9, None))),
            Ok(()),
            "it was forgotten"
        );
    }

    #[test]
    fn another_reply_to_a_repeated_proposal_is_noticed() {
        let mut once = Once::default();
        once.look(&[committed(1)], Some(&State(1, created())))
            .expect("it is the first");
        once.look(&[committed(5)], Some(&State(4, created())))
            .expect("it is not applied yet");
        let refused = Some(Reply::Refused(Refusal::NotInitialised));
        let judged = once.look(&[], Some(&State(5, refused)));
        judged.expect_err("it was applied again");
    }
}
