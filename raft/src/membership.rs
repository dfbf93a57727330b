//! Changing who takes part, as the leader is told to. Who should is [`supervisor`](crate::supervisor)'s business.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tetryx_protocol::id::NodeId;

use crate::error::ReplicaError;
use crate::patience::within;
use crate::replica::Replica;
use crate::types::{RaftId, TypeConfig};

impl Replica {
    /// Adds a replica that follows the log without a vote. Only the leader can. Returns when that is committed; the
    /// new replica catches up afterwards.
    ///
    /// # Errors
    /// [`ReplicaError::NotLeader`], [`ReplicaError::Membership`] if another change is under way.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ReplicaError> {
        let result = self.raft().add_learner(RaftId(node), (), false).await;
        result.map(drop).map_err(|error| self.membership_error(error))
    }

    /// Makes `voters` the voters. They must be members; voters that are left out become learners. Only the leader
    /// can. Returns when that is committed.
    ///
    /// # Errors
    /// [`ReplicaError::NotLeader`], [`ReplicaError::Membership`] if the change makes no sense or another one is
    /// under way.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ReplicaError> {
        let voters = voters.into_iter().map(RaftId).collect();
        self.change_members(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    pub(crate) async fn change_members(&self, change: ChangeMembers<RaftId, ()>) -> Result<(), ReplicaError> {
        let result = self.raft().change_membership(change, true).await;
        result.map(drop).map_err(|error| self.membership_error(error))
    }

    /// Makes another voter lead, and returns when this node knows that it does. Only the leader can. Proposals go on
    /// meanwhile: they are forwarded as soon as the other one leads.
    ///
    /// # Errors
    /// [`ReplicaError::NotLeader`], [`ReplicaError::Membership`] if `to` does not vote or did not take over.
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), ReplicaError> {
        let mut metrics = self.raft().metrics();
        {
            let metrics = metrics.borrow_and_update();
            let leader = metrics.current_leader.map(|id| id.0);
            if leader == Some(to) {
                return Ok(());
            }
            if leader != Some(self.id()) {
                return Err(ReplicaError::NotLeader { leader });
            }
            let mut voters = metrics.membership_config.membership().voter_ids();
            if !voters.any(|voter| voter.0 == to) {
                return Err(ReplicaError::Membership {
                    reason: format!("node {to} has no vote, so it cannot lead"),
                });
            }
        }
        let started = self.raft().trigger().transfer_leader(RaftId(to)).await;
        started.map_err(|fatal| self.stopped(&fatal))?;
        let taken_over = async {
            while metrics.borrow_and_update().current_leader != Some(RaftId(to)) {
                self.changed(&mut metrics).await?;
            }
            Ok(())
        };
        within(self.profile().election_max() * 2, taken_over)
            .await
            .unwrap_or_else(|| {
                Err(ReplicaError::Membership {
                    reason: format!("node {to} did not take over the leadership"),
                })
            })
    }

    fn membership_error(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ReplicaError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => ReplicaError::NotLeader {
                leader: forward.leader_id.map(|id| id.0),
            },
            RaftError::APIError(error) => ReplicaError::Membership {
                reason: error.to_string(),
            },
            RaftError::Fatal(fatal) => self.stopped(&fatal),
        }
    }
}
