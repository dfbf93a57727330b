//! Recovery from a lost quorum: one replica goes on alone with what it has.
//!
//! When more than half of the voters are lost for good, nothing can be committed any more. Then an operator chooses
//! the survivor with the newest log ([`inspect`] shows it) and makes it the only voter of a cluster with a new epoch
//! ([`recover`]). Every entry of its log counts from then on, also those that no majority is known to have had: they
//! may have been acknowledged. The other members are removed; those that still exist join anew, with empty data.
//!
//! # Invariants
//! - Nothing is changed, or everything is: the new entries and the vote are one durable transaction.
//! - The epoch grows, so that a node which was not told is another cluster's, and is refused by everybody.
//! - A recovery can be repeated, and then gives a newer epoch still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use tetryx_protocol::id::{ClientId, ClusterId, NodeId, ProposalId};
use tetryx_protocol::member::MemberState;
use tetryx_state::command::{AdvanceEpoch, RemoveMember};
use tetryx_state::tables::ReadTables;
use tetryx_state::{Body, Command, query};

use crate::data::DataFiles;
use crate::error::ReplicaError;
use crate::log_store::OfflineLog;
use crate::state_store::OfflineState;
use crate::types::{Entry, LeaderId, LogId, Membership, Proposal, RaftId, Vote};
use tetryx_environment::{Clock, Entropy};

/// Who proposes what a recovery changes, in the audit trail of the state.
const BY: &str = "tetryx-node recover";

/// What the files of a stopped replica hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The cluster it belongs to; `None` if its log does not say.
    pub cluster: Option<ClusterId>,
    /// The epoch of that cluster.
    pub epoch: u64,
    /// The newest term it has heard of.
    pub term: u64,
    /// The term of its last entry. Of several survivors, the one with the highest has the newest log, and among those
    /// with the same the one with the highest `last_index`.
    pub last_term: u64,
    /// The index of its last entry.
    pub last_index: u64,
    /// Who votes, by its last entry.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// All members that were not removed, with their names.
    pub members: Vec<(NodeId, String)>,
}

/// What [`recover`] works on.
#[derive(Debug, Clone)]
pub struct RecoverConfig {
    /// The node that the files belong to.
    pub node_id: NodeId,
    /// The files of the replica, which must not run.
    pub files: Arc<dyn DataFiles>,
    /// The time to record.
    pub clock: Arc<dyn Clock>,
    /// For the id of what is proposed.
    pub entropy: Arc<dyn Entropy>,
}

/// What [`recover`] has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The new epoch, once the replica has started.
    pub epoch: u64,
    /// Index of the last entry that counts.
    pub kept: u64,
    /// The members that are removed.
    pub removed: Vec<NodeId>,
}

/// Reads the files of a replica that does not run. Changes nothing. Blocks.
///
/// # Errors
/// The files are in use, damaged, or from a newer version.
pub fn inspect(files: &dyn DataFiles) -> Result<Inspection, ReplicaError> {
    look(files).map(|(inspection, _)| inspection)
}

/// Makes this replica the only voter of its cluster, with a new epoch, from what is in its log. It takes effect when
/// the replica is opened. Blocks.
///
/// # Errors
/// The files are in use, damaged, or from a newer version, or they hold no cluster. Nothing has been changed then.
pub fn recover(config: &RecoverConfig) -> Result<Recovered, ReplicaError> {
    let (found, log) = look(config.files.as_ref())?;
    if found.cluster.is_none() {
        return Err(ReplicaError::Membership {
            reason: "there is no cluster in this data directory to be recovered".to_owned(),
        });
    }
    let term = found.term.max(found.last_term) + 1;
    let epoch = found.epoch + 1;
    let removed: Vec<NodeId> = found
        .members
        .iter()
        .map(|(node, _)| *node)
        .filter(|node| *node != config.node_id)
        .collect();
    let alone = RaftId(config.node_id);
    let members = BTreeMap::from([(alone, ())]);
    let membership =
        Membership::new(vec![[alone].into()], members).map_err(|error| ReplicaError::Membership {
            reason: error.to_string(),
        })?;
    let changes = std::iter::once(Body::AdvanceEpoch(AdvanceEpoch { epoch })).chain(
        removed
            .iter()
            .map(|node| Body::RemoveMember(RemoveMember { node: *node })),
    );
    let mut client = [0; 16];
    config.entropy.fill(&mut client);
    let commands = (1..).zip(changes).map(|(serial, body)| {
        let command = Command {
            proposal: ProposalId {
                client: ClientId::from_bytes(client),
                serial,
            },
            oldest_open: serial,
            proposed_at: config.clock.utc(),
            by: BY.to_owned(),
            body,
        };
        EntryPayload::Normal(Proposal(Bytes::from(command.encode())))
    });
    let payloads = std::iter::once(EntryPayload::Membership(membership)).chain(commands);
    let leader_id = LeaderId { term, node_id: alone };
    let entries = (found.last_index + 1..)
        .zip(payloads)
        .map(|(index, payload)| Entry {
            log_id: LogId { leader_id, index },
            payload,
        });
    log.append(Vote::new(term, alone), entries.collect())?;
    Ok(Recovered {
        epoch,
        kept: found.last_index,
        removed,
    })
}

fn look(files: &dyn DataFiles) -> Result<(Inspection, OfflineLog), ReplicaError> {
    let log = OfflineLog::open(files)?;
    let state = OfflineState::open(files)?;
    let applied = state.applied()?;
    if applied.index() < log.purged_index() {
        return Err(ReplicaError::damaged(
            "the replicated state",
            format!(
                "it lacks entries up to {}, which the log no longer has",
                log.purged_index()
            ),
        ));
    }
    let last = log.last().max(applied.log_id);
    // As if the whole log were committed, in a transaction that is dropped.
    let (membership, state) = state.as_if_applied(
        |apply| log.behind(applied.log_id, apply),
        |tables| read_members(tables),
    )?;
    let voters: BTreeSet<NodeId> = membership.voter_ids().map(|id| id.0).collect();
    let learners = membership.membership().learner_ids().map(|id| id.0).collect();
    let inspection = Inspection {
        cluster: state.cluster,
        epoch: state.epoch,
        term: log.vote().map_or(0, |vote| vote.leader_id.term),
        last_term: last.map_or(0, |last| last.leader_id.term),
        last_index: last.map_or(0, |last| last.index),
        voters,
        learners,
        members: state.members,
    };
    Ok((inspection, log))
}

struct Read {
    cluster: Option<ClusterId>,
    epoch: u64,
    members: Vec<(NodeId, String)>,
}

fn read_members(tables: &impl ReadTables<Error = ReplicaError>) -> Result<Read, ReplicaError> {
    let unreadable =
        |error: tetryx_state::StateError<ReplicaError>| ReplicaError::damaged("the replicated state", error);
    let cluster = query::cluster(tables).map_err(unreadable)?;
    let members = query::members(tables).map_err(unreadable)?;
    let remaining = members
        .into_iter()
        .filter(|(_, member)| !matches!(member.state, MemberState::Removed { .. }));
    Ok(Read {
        cluster: cluster.as_ref().map(|cluster| cluster.id),
        epoch: cluster.map_or(0, |cluster| cluster.epoch),
        members: remaining.map(|(node, member)| (node, member.name)).collect(),
    })
}
