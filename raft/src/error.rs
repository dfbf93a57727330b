//! What can go wrong in a replica.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tetryx_protocol::id::{NodeId, ProposalId};

/// Why a replica could not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A file of the replica could not be opened.
    #[error(
        "could not open {file} of the replicated state; check that the data directory is writable and that no other process uses it"
    )]
    Open {
        /// Name of the file within the data directory.
        file: String,
        /// The cause.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Reading or writing failed after the replica was opened.
    #[error(
        "{operation} failed; the disk or the file is damaged or full: free space or replace the disk, then restart"
    )]
    Storage {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Bytes that this version cannot read.
    #[error("{what} was written by a newer version; upgrade this node, it keeps serving what it has")]
    NeedsUpgrade {
        /// What could not be read.
        what: String,
    },
    /// Bytes that no version wrote.
    #[error("{what} is damaged: {reason}; rebuild this replica from a snapshot of another one")]
    Damaged {
        /// What could not be read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The replica has stopped because something failed that it cannot go on after.
    #[error("the replica has stopped: {reason}; restart the node")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The replica was shut down.
    #[error("the replica is shut down")]
    Stopped,
    /// The cluster exists already, so that it cannot be founded again.
    #[error("this node already belongs to a cluster; a node with an empty data directory can found another")]
    AlreadyInitialised,
    /// Only the leader can do this.
    #[error("this node does not lead; ask {}", leader.map_or_else(|| "again when a leader is known".to_owned(), |leader| format!("node {leader}")))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// A change of members that cannot be made.
    #[error("the members cannot be changed: {reason}")]
    Membership {
        /// Why.
        reason: String,
    },
    /// The state of this replica differs from what the others have.
    #[error(
        "the state of this node differs from the majority's since entry {index} or before; nothing is served from it until the replica is opened again, which rebuilds it from another node"
    )]
    Diverged {
        /// The index that was compared.
        index: u64,
    },
    /// A request from another node that makes no sense here.
    #[error("request refused: {reason}")]
    BadRequest {
        /// Why.
        reason: String,
    },
}

impl ReplicaError {
    pub(crate) fn storage<E>(operation: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| Self::Storage {
            operation,
            source: Arc::from(source.into()),
        }
    }

    pub(crate) fn open<E>(file: &str) -> impl FnOnce(E) -> Self + '_
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| Self::Open {
            file: file.to_owned(),
            source: Arc::from(source.into()),
        }
    }

    pub(crate) fn damaged(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// The error with its causes on one line, for logs and for openraft, which keeps only text.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    pub(crate) fn to_io(&self) -> std::io::Error {
        std::io::Error::other(self.chain())
    }
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The proposal was not applied and will not be.
    #[error("no leader accepted the proposal within {}; a majority of the voters must be reachable", humane(*waited))]
    NoLeader {
        /// How long it was tried.
        waited: Duration,
    },
    /// The proposal may have been applied, or may yet be.
    #[error("proposal {} of this node has no answer after {}; whether it was applied is unknown: read the state before asking again", proposal.serial, humane(*waited))]
    Unknown {
        /// The proposal.
        proposal: ProposalId,
        /// How long it was tried.
        waited: Duration,
    },
    /// The replica has stopped or could not serve. The proposal may have been applied if the node had passed it on.
    #[error("the replica cannot propose")]
    Replica(#[source] ReplicaError),
}

/// Why a read could not promise what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader with a majority could be reached.
    #[error("no leader with a majority was found within {}; read what this node has with level 'any'", humane(*waited))]
    NoLeader {
        /// How long it was tried.
        waited: Duration,
    },
    /// What this node has may miss more than was allowed.
    #[error("the state here {}, and at most {} were asked for; read what there is with level 'any'", age.map_or_else(|| "was never compared with a leader's since this node started".to_owned(), |age| format!("is {} old", humane(age))), humane(*bound))]
    TooOld {
        /// How old the state may be, if that is known.
        age: Option<Duration>,
        /// How old it was allowed to be.
        bound: Duration,
    },
    /// The replica cannot serve.
    #[error("the replica cannot be read")]
    Replica(#[source] ReplicaError),
}

fn humane(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
