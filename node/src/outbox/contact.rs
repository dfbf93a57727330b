//! Whether this node can ask the cluster.

use std::time::Duration;

use tetryx_raft::{ReadError, ReadLevel, StateView};

use crate::{Node, NodeError};

/// How long since this node last knew that it hears a leader with a majority; since it started, if it never did.
pub(crate) fn age(node: &Node) -> Duration {
    node.replica().freshness().age.unwrap_or_else(|| node.uptime())
}

/// A node that has not heard of a majority for longer than this is cut off: an election would have ended by then.
pub(crate) fn patience(node: &Node) -> Duration {
    node.replica().status().profile.election_max() * 3
}

/// Whether the cluster can be asked, by what is known already if that is recent.
pub(super) async fn is_there(node: &Node) -> Result<bool, NodeError> {
    proven(node, ReadLevel::Bounded(patience(node))).await
}

/// Whether the cluster can be asked at this moment.
pub(super) async fn is_there_now(node: &Node) -> Result<bool, NodeError> {
    proven(node, ReadLevel::Strong).await
}

/// The state as of now; `None` when the cluster cannot be asked.
pub(super) async fn read_now(node: &Node) -> Result<Option<StateView>, NodeError> {
    read(node, ReadLevel::Strong).await
}

async fn proven(node: &Node, level: ReadLevel) -> Result<bool, NodeError> {
    Ok(read(node, level).await?.is_some())
}

async fn read(node: &Node, level: ReadLevel) -> Result<Option<StateView>, NodeError> {
    match node.replica().read(level).await {
        Ok((view, _)) => Ok(Some(view)),
        Err(ReadError::Replica(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Resolves when this node has been cut off for [`patience`].
pub(super) async fn lost(node: &Node) {
    let patience = patience(node);
    while age(node) <= patience {
        tokio::time::sleep(patience / 12).await;
    }
}
