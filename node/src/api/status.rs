//! `/health`, `/ready`, `/api/v1/status`: how the node is.

use axum::extract::State;
use tetryx_protocol::api::{ScrubStatus, StateHashInfo, StatusResponse, StoreStatus, UnderReplicated};
use tetryx_raft::StateView;
use tetryx_state::{Table, query};

use super::standing::Facts;
use crate::Node;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::ApiJson;

/// NARs read at once while counting.
const COUNT_PAGE: usize = 4096;

/// Answers as long as the process does.
pub(super) async fn health() -> ApiJson<serde_json::Value> {
    ApiJson(serde_json::json!({ "status": "ok" }))
}

/// Answers 200 when the node can serve and a leader is known, 503 otherwise.
pub(super) async fn ready(State(node): State<Node>) -> Result<ApiJson<serde_json::Value>, HttpError> {
    match node.unfit() {
        Some(why) => Err(why),
        None => Ok(ApiJson(serde_json::json!({ "status": "ready" }))),
    }
}

pub(super) async fn status(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<StatusResponse>, HttpError> {
    caller.token()?;
    let replica = node.replica().status();
    let counts = counts(&node).await?;
    let store = store_status(&node).await?;
    let facts = Facts::gather(&node, &replica, node.outbox().counts(), store.damaged);
    let quorum = match (replica.leader, replica.voters.len()) {
        (None, voters) => format!("no leader known among {voters} voters; changes must wait"),
        (Some(leader), 1) if leader == node.node_id() => "1 of 1 voters: this node decides alone".to_owned(),
        (Some(leader), voters) => format!("{voters} voters, led by node {}", leader.fmt_short()),
    };
    Ok(ApiJson(StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.node_id(),
        node_name: node.name().to_owned(),
        zone: node.zone(),
        cluster: node.cluster().id,
        leader: replica.leader,
        term: replica.term,
        applied_index: node.replica().applied_index(),
        voters: replica.voters.into_iter().collect(),
        uptime_seconds: node.uptime().as_secs(),
        quorum,
        caches: counts.caches,
        paths: counts.paths,
        nars: counts.nars,
        path_bytes: counts.path_bytes,
        nar_bytes: counts.nar_bytes,
        store,
        members: facts.members,
        state_hash: replica.audit.map(|audited| StateHashInfo {
            index: audited.index,
            hash: audited.hash.to_string(),
        }),
        state_age_seconds: facts.age.map(|age| age.as_secs()),
        read_level: facts.read_level(),
        under_replicated: UnderReplicated {
            nars: facts.copies.under_replicated.nars,
            bytes: facts.copies.under_replicated.bytes,
            as_of: facts.copies.as_of,
        },
        bytes_to_move: facts.copies.bytes_to_move,
        outbox: facts.outbox,
        safety: facts.sentences(),
    }))
}

/// How much the replicated state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(super) caches: u64,
    pub(super) paths: u64,
    pub(super) nars: u64,
    pub(super) tokens: u64,
    /// Uncompressed NAR bytes of all paths.
    pub(super) path_bytes: u64,
    /// Uncompressed bytes of the distinct NARs.
    pub(super) nar_bytes: u64,
}

/// The counts of the newest state. The sums take a walk over all NARs, so they are kept until the log moves.
pub(super) async fn counts(node: &Node) -> Result<Counts, HttpError> {
    let view = node.replica().view()?;
    let index = view.applied_index();
    if let Some(counts) = node.counts().lock().filter(|(at, _)| *at == index) {
        return Ok(counts.1);
    }
    let counts = node.io().run(move || count(&view)).await??;
    *node.counts().lock() = Some((index, counts));
    Ok(counts)
}

fn count(view: &StateView) -> Result<Counts, HttpError> {
    let mut counts = Counts {
        caches: view.len(Table::Caches)?,
        paths: view.len(Table::Paths)?,
        nars: view.len(Table::Nars)?,
        tokens: view.len(Table::Tokens)?,
        ..Counts::default()
    };
    let mut after = None;
    loop {
        let page = query::nars(view, after.as_ref(), COUNT_PAGE)?;
        for (_, nar) in &page {
            counts.nar_bytes = counts.nar_bytes.saturating_add(nar.nar_size);
            counts.path_bytes = counts
                .path_bytes
                .saturating_add(nar.nar_size.saturating_mul(nar.references));
        }
        match page.last() {
            Some((last, _)) => after = Some(*last),
            None => return Ok(counts),
        }
    }
}

pub(super) async fn store_status(node: &Node) -> Result<StoreStatus, HttpError> {
    let store = node.store().clone();
    let stats = node.io().run(move || store.stats()).await??;
    Ok(StoreStatus {
        chunks: stats.chunks,
        damaged: stats.damaged,
        segments: stats.segments,
        pack_bytes: stats.pack_bytes,
        disk_bytes: stats.pack_bytes.saturating_add(stats.index_bytes),
        quota_bytes: node.config().store.quota.map(|quota| quota.bytes()),
        free_bytes: stats.free_bytes,
        scrub: scrub_status(node),
    })
}

fn scrub_status(node: &Node) -> ScrubStatus {
    let standing = node.scrub_standing();
    let progress = standing.progress.unwrap_or_default();
    ScrubStatus {
        period_seconds: node.config().scrub.period.as_secs(),
        last_ended: standing.last.map(|last| last.ended),
        last_found: standing.last.map_or(0, |last| last.found),
        bytes: progress.bytes,
        bytes_total: progress.bytes_total,
        damaged_nars: standing.hurt.len() as u64,
    }
}
