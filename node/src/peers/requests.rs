//! Questions between members, asked and answered: `tetryx_protocol::peer` over the links.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tetryx_link::{LinkError, Links, Service};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::peer::{PeerRequest, PeerResponse};
use tetryx_state::query;

use super::transport::{RPC_PEER, tagged};
use crate::node::Node;
use crate::{NodeError, gc, membership, replication};

/// How long an answer that needs no work may take: several round trips of the slowest link.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks another member, and waits for its answer at most so long.
///
/// # Errors
/// As [`Links::call`]; an answer that is none counts as no answer.
pub async fn ask(
    links: &dyn Links,
    to: NodeId,
    request: &PeerRequest,
    timeout: Duration,
) -> Result<PeerResponse, LinkError> {
    let no_answer = |reason: String| LinkError::NoAnswer { node: to, reason };
    let call = links.call(to, Service::Rpc, tagged(RPC_PEER, &request.encode()));
    let answer = tokio::time::timeout(timeout, call)
        .await
        .map_err(|_| no_answer(format!("nothing within {} s", timeout.as_secs())))??;
    PeerResponse::decode(&answer).map_err(|error| no_answer(error.to_string()))
}

/// Makes a connection for consensus and one for chunks with every other member. Calls go over a connection whoever
/// has made it: a node that others cannot dial, behind a router or at a new address, is reached all the same.
pub(crate) async fn greet(links: &dyn Links, others: Vec<NodeId>) {
    let calls: FuturesUnordered<_> = others
        .into_iter()
        .flat_map(|other| GREETED.map(|service| links.call(other, service, Bytes::new())))
        .collect();
    // What they say does not matter; who cannot be reached is tried again the next time.
    let _ = tokio::time::timeout(ASK_TIMEOUT, calls.for_each(|_| std::future::ready(()))).await;
}

/// One service for each connection that others would have to make.
const GREETED: [Service; 2] = [Service::Raft, Service::Chunks];

/// Answers a member's question. What fails here is told as a refusal: questions change nothing, or may be repeated.
pub(super) async fn answer(node: &Node, from: NodeId, body: &[u8]) -> Result<Bytes, String> {
    let request = PeerRequest::decode(body).map_err(|error| error.to_string())?;
    let response = match request {
        PeerRequest::Roster => roster(node).map_err(|error| error.chain())?,
        PeerRequest::Collect { index, dry_run } => gc::answer(node, index, dry_run).await?,
        other => replication::answer(node, from, other).await?,
    };
    Ok(response.encode().into())
}

/// The members as this node's state has them.
fn roster(node: &Node) -> Result<PeerResponse, NodeError> {
    let view = node.replica().view()?;
    let cluster = query::cluster(&view)?.ok_or(NodeError::NoCluster)?;
    Ok(PeerResponse::Roster {
        cluster: cluster.id,
        epoch: cluster.epoch,
        index: view.applied_index(),
        members: membership::entries(&view)?,
    })
}
