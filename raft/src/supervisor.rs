//! Keeps the voters as [`plan`] wants them, from the node that leads.
//!
//! # Invariants
//! - One change at a time. A change that a lost leader has left half done is finished before the next one.
//! - Only the leader changes anything; every node runs this, so that whoever leads does it.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Instant as _};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::member::MemberState;
use tetryx_protocol::time::Elapsed;
use tetryx_state::command::Role;
use tetryx_state::query;
use tetryx_state::records::MemberRecord;

pub use self::plan::{Change, MemberHealth, Patience, Roll, Standing, plan};
use crate::error::ReplicaError;
use crate::patience::within;
use crate::replica::Replica;
use crate::types::{RaftId, StoredMembership};

/// A log that lacks no more entries than this is nearly as long as the leader's.
const CAUGHT_UP_ENTRIES: u64 = 1_000;
/// A node that has not answered for so many heartbeats is unreachable.
const SILENT_HEARTBEATS: u32 = 3;

/// What has been seen since this node leads.
#[derive(Debug, Default)]
struct Seen {
    term: u64,
    leading_since: Option<Elapsed>,
    reachable_since: BTreeMap<NodeId, Elapsed>,
    voters: BTreeSet<NodeId>,
    unchanged_since: Option<Elapsed>,
}

/// What the leader knows of the others at one moment.
#[derive(Debug)]
struct Sight {
    term: u64,
    last_log: u64,
    membership: Arc<StoredMembership>,
    /// How long ago each node answered last, and up to where its log matches.
    others: BTreeMap<NodeId, (Option<Duration>, u64)>,
}

impl Replica {
    /// Keeps the voters in order while this replica leads, and does nothing while it does not: every node of a cluster
    /// runs it. Members are read from the replicated state. Returns when the replica stops.
    ///
    /// It lets new members follow the log, gives votes by zone and health, hands the leadership over when the leader
    /// is to leave, and stops sending the log to those that were removed.
    pub async fn supervise(&self, patience: Patience) {
        let mut seen = Seen::default();
        let mut metrics = self.raft().metrics();
        loop {
            if let Some(sight) = self.sight() {
                if let Err(error) = self.supervise_once(&mut seen, &sight, &patience).await {
                    tracing::warn!(
                        error = error.chain(),
                        "the voters could not be changed; trying again"
                    );
                }
            } else {
                seen = Seen::default();
            }
            // Metrics change with every entry, so that a pause is what sets the pace.
            tokio::time::sleep(self.profile().heartbeat()).await;
            if metrics.borrow_and_update().running_state.is_err() || self.is_closing() {
                return;
            }
        }
    }

    /// What this node sees as the leader; `None` if it does not lead.
    fn sight(&self) -> Option<Sight> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader != Some(RaftId(self.id())) {
            return None;
        }
        let (heartbeat, replication) = (metrics.heartbeat.as_ref()?, metrics.replication.as_ref()?);
        let others = heartbeat.iter().map(|(node, acked)| {
            let matched = replication.get(node).copied().flatten();
            (
                node.0,
                (
                    acked.map(|acked| acked.elapsed()),
                    matched.map_or(0, |matched| matched.index),
                ),
            )
        });
        Some(Sight {
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            membership: Arc::clone(&metrics.membership_config),
            others: others.collect(),
        })
    }

    async fn supervise_once(
        &self,
        seen: &mut Seen,
        sight: &Sight,
        patience: &Patience,
    ) -> Result<(), ReplicaError> {
        let now = self.clock().elapsed();
        let membership = sight.membership.membership();
        if let [_, .., target] = membership.get_joint_config().as_slice() {
            // Somebody began this change. Until it is finished, both sets of voters must agree on everything.
            let target = target.iter().map(|id| id.0).collect();
            return self.carry_out(Change::Voters(target)).await;
        }
        let members =
            query::members(&self.view()?).map_err(|error| ReplicaError::damaged("the members", error))?;
        let voters: BTreeSet<NodeId> = membership.voter_ids().map(|id| id.0).collect();
        let learners = membership.learner_ids().map(|id| id.0).collect();
        seen.look(
            now,
            sight,
            &voters,
            self.profile().heartbeat() * SILENT_HEARTBEATS,
        );
        let health: Vec<_> = members
            .into_iter()
            .map(|(node, record)| self.health(node, record, now, seen, sight))
            .collect();
        let roll = Roll {
            leader: self.id(),
            voters,
            learners,
            unchanged_for: seen
                .unchanged_since
                .map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        };
        let Some(change) = plan(&health, &roll, patience) else {
            return Ok(());
        };
        tracing::info!(?change, "changing who takes part in consensus");
        self.carry_out(change).await
    }

    fn health(
        &self,
        node: NodeId,
        record: MemberRecord,
        now: Elapsed,
        seen: &Seen,
        sight: &Sight,
    ) -> MemberHealth {
        let standing = match (record.state, record.role) {
            (MemberState::Active, Role::Voter) => Standing::Preferred,
            (MemberState::Active, Role::Learner) => Standing::Allowed,
            (MemberState::Draining { .. }, _) => Standing::Leaving,
            (MemberState::Removed { .. }, _) => Standing::Gone,
        };
        let is_self = node == self.id();
        let reachable_for = seen
            .reachable_since
            .get(&node)
            .map(|since| now.saturating_sub(*since));
        let (acked, matched) = sight.others.get(&node).copied().unwrap_or_default();
        let leading_for = seen
            .leading_since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since));
        // A leader that is new has not had an answer from everybody yet.
        let silent_for = acked.map_or(leading_for, |acked| acked.min(leading_for));
        MemberHealth {
            node,
            zone: record.zone,
            standing,
            reachable_for: if is_self {
                Some(Duration::MAX)
            } else {
                reachable_for
            },
            unreachable_for: (!is_self && reachable_for.is_none()).then_some(silent_for),
            caught_up: is_self || matched + CAUGHT_UP_ENTRIES >= sight.last_log,
        }
    }

    async fn carry_out(&self, change: Change) -> Result<(), ReplicaError> {
        // A change that cannot be committed is looked at again, by whoever leads then.
        let patience = self.profile().propose();
        let carried_out = async {
            match change {
                Change::Admit(node) => self.add_learner(node).await,
                Change::Voters(voters) => self.change_voters(voters).await,
                Change::HandOver(heir) => self.transfer_leadership(heir).await,
                Change::Dismiss(node) => {
                    self.change_members(ChangeMembers::RemoveNodes([RaftId(node)].into()))
                        .await
                }
            }
        };
        within(patience, carried_out).await.unwrap_or_else(|| {
            Err(ReplicaError::Membership {
                reason: format!("no majority agreed to the change within {} s", patience.as_secs()),
            })
        })
    }
}

impl Seen {
    fn look(&mut self, now: Elapsed, sight: &Sight, voters: &BTreeSet<NodeId>, silent: Duration) {
        if self.term != sight.term {
            *self = Self {
                term: sight.term,
                leading_since: Some(now),
                ..Self::default()
            };
        }
        if self.voters != *voters {
            self.voters.clone_from(voters);
            self.unchanged_since = Some(now);
        }
        self.reachable_since
            .retain(|node, _| sight.others.contains_key(node));
        for (node, (acked, _)) in &sight.others {
            if acked.is_some_and(|acked| acked <= silent) {
                self.reachable_since.entry(*node).or_insert(now);
            } else {
                self.reachable_since.remove(node);
            }
        }
    }
}
