//! What a replica says about itself.

use std::collections::BTreeSet;

use openraft::ServerState;
use tetryx_protocol::id::NodeId;

use crate::audit::Audited;
use crate::error::ReplicaError;
use crate::profile::Profile;

/// A replica at one moment.
#[derive(Debug, Clone)]
pub struct ReplicaStatus {
    /// The replica.
    pub node_id: NodeId,
    /// Its part at the moment.
    pub role: ReplicaRole,
    /// Who leads, as far as this replica knows.
    pub leader: Option<NodeId>,
    /// The current term: grows with every election.
    pub term: u64,
    /// Index of the last entry in its log.
    pub last_log: Option<u64>,
    /// Index of the last entry applied to its state; 0 if there is none.
    pub last_applied: u64,
    /// Index of the last entry that its newest snapshot includes.
    pub snapshot: Option<u64>,
    /// Index of the last entry that was cut off its log.
    pub purged: Option<u64>,
    /// The timing it runs with, which must be the same on every voter.
    pub profile: Profile,
    /// The newest comparison of its state with the others'.
    pub audit: Option<Audited>,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Why it has stopped, if it has.
    pub failure: Option<ReplicaError>,
}

/// The part that a replica plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ReplicaRole {
    /// Follows without a vote, or belongs to no cluster yet.
    Learner,
    /// Follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Is being shut down.
    Stopped,
}

impl From<ServerState> for ReplicaRole {
    fn from(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}
