//! How far a node that drains is with handing over, for whoever asks, at any node.

use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::peer::{PeerRequest, PeerResponse};

use super::Totals;
use crate::{Node, peers};

/// How long an asked node waits for a look at a state that is new enough.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions whether there was one.
const POLL: Duration = Duration::from_millis(100);

/// What the member still has to hand over, as of this log index or later; `None` when it does not say.
pub(crate) async fn left_at(node: &Node, member: NodeId, index: u64) -> Option<Totals> {
    if member == node.node_id() {
        return left_here(node, index).await;
    }
    let request = PeerRequest::HandOver { index };
    match peers::ask(node.links().as_ref(), member, &request, peers::ASK_TIMEOUT).await {
        Ok(PeerResponse::HandOver { nars, bytes }) => Some(Totals { nars, bytes }),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "a member does not say what it has to hand over");
            None
        }
    }
}

/// Answers [`PeerRequest::HandOver`].
pub(super) async fn answer(node: &Node, index: u64) -> Result<PeerResponse, String> {
    let left = left_here(node, index).await;
    let Totals { nars, bytes } =
        left.ok_or_else(|| format!("this node has not looked at the state of index {index} yet"))?;
    Ok(PeerResponse::HandOver { nars, bytes })
}

async fn left_here(node: &Node, index: u64) -> Option<Totals> {
    let replication = node.replication();
    let looked = async {
        loop {
            let figures = replication.figures();
            if figures.as_of >= index {
                return figures.to_hand_over;
            }
            replication.wake();
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.ok()
}
