//! What a replica shows of itself to whoever checks the promises of consensus: an operator's audit, a simulation.
//!
//! # Invariants
//! - Looking changes nothing, flushes nothing and starts nothing. What [`Replica::observe`] tells is in memory.
//!
//! # Non-goals
//! - One moment for everything: the log, consensus and the state are looked at one after the other, and what openraft
//!   reports may be a step behind the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use openraft::EntryPayload;
use openraft::async_runtime::WatchReceiver;
use tetryx_protocol::id::{ClientId, NodeId, ProposalId};
use tetryx_state::Command;

use crate::error::ReplicaError;
use crate::records::encode_entry;
use crate::replica::Replica;
use crate::status::ReplicaRole;
use crate::types::{Entry, LogId, Membership, RaftId, Vote};

/// The place of an entry in the log. Ordered as elections order logs: by term, leader and index.
///
/// openraft lets several nodes lead in one term, one after the other in the order of their ids: what other
/// descriptions of Raft call a term is the pair of term and leader here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The term it was written in.
    pub term: u64,
    /// Who led then.
    pub leader: NodeId,
    /// The number of the entry.
    pub index: u64,
}

impl LogPosition {
    /// The term and its leader.
    pub fn office(&self) -> (u64, NodeId) {
        (self.term, self.leader)
    }

    fn of(id: &LogId) -> Self {
        Self {
            term: id.leader_id.term,
            leader: id.leader_id.node_id.0,
            index: id.index,
        }
    }
}

/// Whom a replica has promised to follow. A later promise is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObservedVote {
    /// The term.
    pub term: u64,
    /// Who leads in it, or wants to.
    pub leader: NodeId,
    /// Whether it is known that a quorum has promised the same.
    pub is_granted: bool,
}

impl ObservedVote {
    /// The term and its leader.
    pub fn office(&self) -> (u64, NodeId) {
        (self.term, self.leader)
    }

    fn of(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            leader: vote.leader_id.node_id.0,
            is_granted: vote.committed,
        }
    }
}

/// A replica as consensus sees it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The replica.
    pub node: NodeId,
    /// As whom it proposes: another client after each start.
    pub opened_as: ClientId,
    /// The term it is in.
    pub term: u64,
    /// Its last promise that is durable.
    pub vote: Option<ObservedVote>,
    /// Its part.
    pub role: ReplicaRole,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The end of its log, durable or not; `None` as well for a replica that is closed.
    pub last_log: Option<LogPosition>,
    /// The end of its log when it last acknowledged a change as durable.
    pub acknowledged: Option<LogPosition>,
    /// Up to where it knows its log to be committed.
    pub committed: Option<LogPosition>,
    /// The last entry that its state includes.
    pub applied: Option<LogPosition>,
    /// The last entry that its newest snapshot includes.
    pub snapshot: Option<LogPosition>,
    /// The last entry that was cut off its log.
    pub purged: Option<LogPosition>,
    /// On a leader: up to where it knows the logs of the others to be the same as its own, and durable.
    pub matched: BTreeMap<NodeId, LogPosition>,
    /// Where the newest membership in its log stands, committed or not.
    pub membership_at: Option<LogPosition>,
    /// The sets of voters of that membership: a majority of each must agree. More than one while they change.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// What waits in it.
    pub queues: Queues,
}

/// How much waits in a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queues {
    /// Changes of the log that are not durable yet.
    pub log_writes: u64,
    /// What the newest entries of the log take in memory, in bytes.
    pub log_cached_bytes: usize,
    /// Proposals of this node that have no answer yet.
    pub proposals: usize,
    /// Reads that wait for this node, as the leader, to prove that it leads.
    pub reads: usize,
    /// Append streams of leaders that are open here.
    pub append_streams: usize,
    /// States that wait to be hashed.
    pub audits: usize,
}

/// An entry of the log without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMark {
    /// Its place.
    pub at: LogPosition,
    /// BLAKE3 of its bytes as they are stored.
    pub hash: [u8; 32],
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry of the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing but the beginning of a term.
    Blank,
    /// A command, and the proposal it carries out; `None` if its bytes do not say.
    Command(Option<ProposalId>),
    /// Who takes part from here on.
    Membership {
        /// The sets of voters; more than one while they change.
        voters: Vec<BTreeSet<NodeId>>,
    },
}

impl Replica {
    /// What consensus sees of this replica now.
    pub fn observe(&self) -> Observation {
        let log = self.log().end();
        let position = |id: Option<LogId>| id.as_ref().map(LogPosition::of);
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        let matched = metrics.replication.iter().flatten();
        Observation {
            node: self.id(),
            opened_as: self.proposals().client(),
            term: metrics.current_term,
            vote: log.acknowledged_vote.as_ref().map(ObservedVote::of),
            role: ReplicaRole::from(metrics.state),
            leader: metrics.current_leader.map(|id| id.0),
            last_log: position(log.last),
            acknowledged: position(log.acknowledged),
            committed: position(metrics.local_committed),
            applied: position(metrics.last_applied),
            snapshot: position(metrics.snapshot),
            purged: position(metrics.purged),
            matched: matched
                .filter_map(|(node, matched)| Some((node.0, LogPosition::of(matched.as_ref()?))))
                .collect(),
            membership_at: position(*stored.log_id()),
            voters: voters(stored.membership()),
            learners: stored.membership().learner_ids().map(|RaftId(id)| id).collect(),
            queues: Queues {
                log_writes: log.unflushed,
                log_cached_bytes: log.cached_bytes,
                proposals: self.proposals().open_count(),
                reads: self.read_rounds().waiting(),
                append_streams: self.appends().open_count(),
                audits: self.audit().waiting(),
            },
        }
    }

    /// The entries of `range` that the log has: not those that were cut off, and none beyond its end.
    ///
    /// # Errors
    /// The log cannot be read, or is closed.
    pub async fn entries(&self, range: Range<u64>) -> Result<Vec<EntryMark>, ReplicaError> {
        let mut marks = Vec::new();
        self.log().read(range, |entry| marks.push(mark(entry))).await?;
        Ok(marks)
    }
}

fn voters(membership: &Membership) -> Vec<BTreeSet<NodeId>> {
    let sets = membership.get_joint_config().iter();
    sets.map(|set| set.iter().map(|id| id.0).collect()).collect()
}

fn mark(entry: &Entry) -> EntryMark {
    EntryMark {
        at: LogPosition::of(&entry.log_id),
        hash: *blake3::hash(&encode_entry(entry)).as_bytes(),
        kind: match &entry.payload {
            EntryPayload::Blank => EntryKind::Blank,
            EntryPayload::Normal(proposal) => EntryKind::Command(Command::proposal_of(&proposal.0).ok()),
            EntryPayload::Membership(membership) => EntryKind::Membership {
                voters: voters(membership),
            },
        },
    }
}
