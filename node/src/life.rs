//! Whether a node may serve, and why a running one ends by itself.

use std::time::Duration;

use tetryx_protocol::api::ErrorName;
use tetryx_raft::{Profile, ReplicaError};

use crate::http::error::HttpError;
use crate::membership::DrainProgress;
use crate::peers::slower_profile;
use crate::{Node, NodeError};

/// A node that has heard of no majority for so long, or for several elections, is cut off.
const CUT_OFF_AFTER: Duration = Duration::from_secs(5);

/// Why a node that nobody stopped must end.
#[derive(Debug)]
pub enum Ending {
    /// The replica or the outbox has failed; the process should end, and be started again by whoever watches it.
    Failed(NodeError),
    /// The state is not what the other nodes have. Opened again, the node rebuilds it.
    Rebuild,
    /// The links have turned out slower than the timing is for. Opened again, the node takes the other one.
    Retime(Profile),
}

impl Node {
    /// Resolves when the node must end, and says why in the log. A node that needs an upgrade goes on: it serves what
    /// it has.
    pub async fn ending(&self) -> Ending {
        let failed = async {
            match self.replica().fatal().await {
                error @ ReplicaError::NeedsUpgrade { .. } => {
                    tracing::error!(
                        %error,
                        "this node takes no changes any more, and serves what it has until it is upgraded"
                    );
                    std::future::pending().await
                }
                error => error,
            }
        };
        tokio::select! {
            biased;
            found = self.replica().diverged() => {
                tracing::error!(
                    index = found.index, ours = %found.ours, majority = %found.majority,
                    "the state of this node is not what the other nodes have: it serves nothing until it is rebuilt"
                );
                Ending::Rebuild
            }
            error = failed => Ending::Failed(error.into()),
            error = self.outbox().broken() => Ending::Failed(error.into()),
            profile = slower_profile(self) => {
                tracing::warn!(
                    ?profile,
                    "the links to other nodes are slower than the timing of elections is for: changing it; \
                     set raft.profile on all nodes to have it right from the start"
                );
                Ending::Retime(profile)
            }
        }
    }

    /// Whether no leader with a majority has been heard for a while.
    pub(crate) fn is_cut_off(&self) -> bool {
        let status = self.replica().status();
        if status.leader == Some(self.node_id()) && status.voters.len() == 1 {
            return false;
        }
        let patience = CUT_OFF_AFTER.max(status.profile.election_max() * 4);
        // A node that only follows does not notice by itself that its leader is gone: the proof gets old. And one that
        // was started again remembers a leader.
        let age = self.replica().freshness().age;
        status.leader.is_none() || age.is_none_or(|age| age > patience)
    }

    /// Why the node should not be sent clients, if so.
    pub(crate) fn unfit(&self) -> Option<HttpError> {
        let not_ready = |reason: &str| Some(HttpError::new(ErrorName::NotReady, reason));
        if self.is_stopping() {
            return not_ready("the node is shutting down; ask another one");
        }
        if let Err(error) = self.replica().view() {
            return Some(error.into());
        }
        if DrainProgress::of(self) == DrainProgress::Removed {
            return not_ready(
                "this node was removed from the cluster; stop it, or have it join with an empty data directory",
            );
        }
        let status = self.replica().status();
        if let Some(failure) = status.failure {
            return Some(failure.into());
        }
        if self.is_cut_off() {
            return not_ready(
                "no leader is known: this node serves what it has, but takes no changes until a majority is reachable",
            );
        }
        None
    }
}
