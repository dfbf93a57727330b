//! Tells the cluster what this node says of itself: name, zone, addresses, weight, version.

use std::time::Duration;

use tetryx_raft::{ProposeError, ReplicaError};
use tetryx_state::command::{UpdateMember, UpsertMember};
use tetryx_state::query;
use tetryx_state::records::{MemberRecord, Role};

use crate::first_start::BY_NODE;
use crate::node::Node;
use crate::{NodeError, peers};

/// The pause before a cluster that could not be told is told again, at first and at the most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Tells the cluster what this node says of itself, unless it knows.
///
/// # Errors
/// When the name is taken by another member, the node was removed, or nobody can be asked.
pub async fn introduce(node: &Node) -> Result<(), NodeError> {
    let known = query::member(&node.replica().view()?, &node.node_id())?;
    let config = node.config();
    let told = node.advertised();
    let update = UpdateMember {
        node: node.node_id(),
        name: node.name().to_owned(),
        zone: node.zone(),
        addresses: told.addresses.clone(),
        gossip: told.gossip.clone(),
        http_url: told.http_url.clone(),
        role: None,
        weight: config.replication.weight,
        feature_level: node.feature_level(),
    };
    match known {
        Some(known) if says(&known, &update) => return Ok(()),
        // A removed node has nothing to say: see `watch_own_state`.
        Some(known) if known.state.is_removed() => return Ok(()),
        Some(_) => {}
        None => {
            let found = UpsertMember {
                node: node.node_id(),
                name: update.name.clone(),
                zone: update.zone.clone(),
                addresses: update.addresses.clone(),
                role: Role::Voter,
            };
            node.propose(BY_NODE, found).await?;
        }
    }
    node.propose(BY_NODE, update).await?;
    peers::take_over(node).map(drop)
}

fn says(known: &MemberRecord, update: &UpdateMember) -> bool {
    known.name == update.name
        && known.zone == update.zone
        && known.addresses == update.addresses
        && known.gossip == update.gossip
        && known.http_url == update.http_url
        && known.weight == update.weight
        && known.feature_level == update.feature_level
}

/// [`introduce`], again and again until it is done: the cluster may be out of reach at first.
pub(crate) async fn keep_introduced(node: Node) {
    let mut pause = RETRY;
    loop {
        match introduce(&node).await {
            Ok(()) => return,
            Err(NodeError::Refused(refusal)) => {
                tracing::error!(%refusal, "the cluster does not take what this node says of itself");
                return;
            }
            Err(NodeError::Propose(ProposeError::Replica(ReplicaError::Stopped))) => return,
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    retry_seconds = pause.as_secs(),
                    "cannot tell the cluster this node's name and addresses now"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}
