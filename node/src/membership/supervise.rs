//! On the leader: makes consensus follow the members of the state.
//!
//! Who votes is decided by [`Replica::supervise`](tetryx_raft::Replica::supervise). What remains is the feature level:
//! newer commands are allowed when every member understands them.

use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_raft::Patience;
use tetryx_state::command::SetFeatureLevel;
use tetryx_state::query;

use crate::NodeError;
use crate::first_start::BY_NODE;
use crate::node::Node;

/// How often the leader looks whether every member was upgraded.
const LEVEL_PAUSE: Duration = Duration::from_secs(30);

/// Runs on every node; acts while this one leads.
pub(crate) async fn supervise(node: Node) {
    let replica = node.replica().clone();
    let voters = replica.supervise(Patience::for_profile(replica.status().profile));
    let levels = async {
        loop {
            if node.replica().status().leader == Some(node.node_id())
                && let Err(error) = raise_level(&node).await
            {
                tracing::warn!(error = error.chain(), "the feature level could not be raised");
            }
            tokio::time::sleep(LEVEL_PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        () = voters => {}
        () = levels => {}
    }
}

/// Allows the commands of this build once all members understand them.
async fn raise_level(node: &Node) -> Result<(), NodeError> {
    let view = node.replica().view()?;
    let Some(cluster) = query::cluster(&view)? else {
        return Ok(());
    };
    let members = query::active_members(&view)?;
    let understood = members.iter().map(|(_, member)| member.feature_level).min();
    let level = understood.unwrap_or(0).min(node.feature_level());
    if level <= cluster.feature_level {
        return Ok(());
    }
    node.propose(BY_NODE, SetFeatureLevel { level }).await?;
    tracing::info!(
        level,
        "all members understand newer commands: they are allowed now"
    );
    Ok(())
}

/// How long one other voter may take to take over from a leader that stops.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(2);
/// How many are asked before the leader stops all the same.
const HEIRS_MAX: usize = 2;

/// Lets another voter lead before this node stops, if this one leads: so nobody has to notice that it is gone.
pub(crate) async fn hand_over_leadership(node: &Node) {
    let status = node.replica().status();
    if status.leader != Some(node.node_id()) {
        return;
    }
    let reachable = |heir: &NodeId| *heir != node.node_id() && node.links().path(*heir).is_some();
    for heir in status.voters.into_iter().filter(reachable).take(HEIRS_MAX) {
        let handed_over = node.replica().transfer_leadership(heir);
        match tokio::time::timeout(HAND_OVER_PATIENCE, handed_over).await {
            Ok(Ok(())) => {
                tracing::info!(heir = node.roster().name(heir), "another node leads now");
                return;
            }
            Ok(Err(error)) => tracing::debug!(error = error.chain(), "the leadership was not taken over"),
            Err(_) => tracing::debug!(
                heir = heir.fmt_short(),
                "the leadership was not taken over in time"
            ),
        }
    }
}
