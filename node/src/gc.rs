//! Giving space back, at all three levels: paths whose time is over leave their caches, NARs that no path has leave with
//! them, and chunks that no NAR needs leave each node.
//!
//! # Invariants
//! - What leaves the replicated state is decided by the cluster ([`crate::retention`]), what leaves a node by that node,
//!   after it has applied that ([`crate::collect`]). One that lags collects later.
//! - Only the leader lets paths go by itself, so that nodes do not propose the same.

use futures::future::join_all;
use tetryx_protocol::api::{GcResponse, NodeGc};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::peer::{PeerRequest, PeerResponse};
use tetryx_state::query;
use tetryx_state::records::MemberRecord;

use crate::collect::{self, CollectSummary, Pace};
use crate::first_start::BY_NODE;
use crate::retention::{self, Expired, Forecast};
use crate::{Node, NodeError, peers};

/// How long another node may take to collect: less than clients wait for an answer.
const COLLECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(4 * 60);

/// Collects every `gc.interval`, until the node stops.
pub(crate) async fn run(node: Node) {
    let interval = node.config().gc.interval;
    if interval.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(interval).await;
        if node.replica().status().leader == Some(node.node_id())
            && let Err(error) = retention::expire(&node, BY_NODE).await
        {
            tracing::warn!(error = error.chain(), "paths whose time is over stay for now");
        }
        let keep_surplus = node.config().replication.keep_surplus;
        if let Err(error) = collect::collect_once(&node, keep_surplus, Pace::Polite).await {
            tracing::error!(error = error.chain(), "a garbage collection failed");
        }
    }
}

/// One collection of everything on this node. What cannot be decided with the cluster now stays.
pub(crate) async fn once(node: &Node) -> Result<CollectSummary, NodeError> {
    let mut expired = Expired::default();
    let mut expiry_failed = None;
    if node.replica().is_caught_up() {
        match retention::expire(node, BY_NODE).await {
            Ok(done) => expired = done,
            Err(error) => expiry_failed = Some(error.chain()),
        }
    }
    let keep_surplus = node.config().replication.keep_surplus;
    let summary = collect::collect_once(node, keep_surplus, Pace::AtOnce).await?;
    Ok(CollectSummary {
        paths_expired: expired.paths,
        nars_expired: expired.nars,
        expiry_failed,
        ..summary
    })
}

/// One collection of everything on every node, or a forecast of one.
///
/// # Errors
/// When nobody could be asked to let paths go, or this node's store fails. Other nodes that fail are named.
pub(crate) async fn everywhere(node: &Node, by: &str, dry_run: bool) -> Result<GcResponse, NodeError> {
    let (expired, own) = if dry_run {
        let forecast = retention::forecast(node).await?;
        let expired = Expired {
            paths: forecast.paths(),
            nars: forecast.nars(),
            nar_bytes: forecast.nar_bytes(),
            index: node.replica().applied_index(),
        };
        (expired, preview(node, forecast).await?)
    } else {
        let expired = retention::expire(node, by).await?;
        (expired, here(node).await?)
    };
    let index = expired.index;
    let others = query::active_members(&node.replica().view()?)?;
    let others = others.into_iter().filter(|(id, _)| *id != node.node_id());
    let mut nodes = vec![NodeGc {
        node: node.node_id(),
        name: node.name().to_owned(),
        chunks: own.chunks,
        bytes: own.bytes,
        error: None,
    }];
    nodes.extend(join_all(others.map(|(id, member)| at(node, id, member, index, dry_run))).await);
    Ok(GcResponse {
        dry_run,
        paths: expired.paths,
        nars: expired.nars,
        nar_bytes: expired.nar_bytes,
        nodes,
    })
}

/// Has another node collect.
async fn at(node: &Node, id: NodeId, member: MemberRecord, index: u64, dry_run: bool) -> NodeGc {
    let request = PeerRequest::Collect { index, dry_run };
    let mut done = NodeGc {
        node: id,
        name: member.name,
        chunks: 0,
        bytes: 0,
        error: None,
    };
    match peers::ask(node.links().as_ref(), id, &request, COLLECT_TIMEOUT).await {
        Ok(PeerResponse::Collected { chunks, bytes }) => (done.chunks, done.bytes) = (chunks, bytes),
        Ok(_) => done.error = Some("its answer makes no sense; it may run another version".to_owned()),
        Err(error) => done.error = Some(crate::error::chain(&error)),
    }
    done
}

/// What went on one node, or would.
#[derive(Clone, Copy, Debug, Default)]
struct Freed {
    chunks: u64,
    bytes: u64,
}

/// Answers a member that collects everywhere.
///
/// # Errors
/// In words, for that member.
pub(crate) async fn answer(node: &Node, index: u64, dry_run: bool) -> Result<PeerResponse, String> {
    let collect = async {
        node.replica().wait_applied(index).await?;
        match dry_run {
            true => preview(node, retention::forecast(node).await?).await,
            false => here(node).await,
        }
    };
    let Freed { chunks, bytes } = collect.await.map_err(|error: NodeError| error.chain())?;
    Ok(PeerResponse::Collected { chunks, bytes })
}

async fn here(node: &Node) -> Result<Freed, NodeError> {
    let keep_surplus = node.config().replication.keep_surplus;
    let summary = collect::collect_once(node, keep_surplus, Pace::AtOnce).await?;
    Ok(Freed {
        chunks: summary.chunks_removed,
        bytes: summary.bytes_freed,
    })
}

async fn preview(node: &Node, forecast: Forecast) -> Result<Freed, NodeError> {
    let keep_surplus = node.config().replication.keep_surplus;
    let garbage = collect::preview(node, keep_surplus, forecast).await?;
    Ok(Freed {
        chunks: garbage.chunks,
        bytes: garbage.bytes,
    })
}
