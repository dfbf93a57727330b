//! Garbage collection on this node: path → NAR → chunk.
//!
//! A path that is deleted takes its NAR record with it when it was the last to have that content; what no NAR record
//! names any more is removed from the store here. So are copies that this node owes to nobody, once every node that
//! should hold them has said that it does.
//!
//! # Invariants
//! - What is live is read from the state after the collection has begun, and everything a path of that state needs
//!   stays, unless it was proven surplus just before, and by that state still is ([`crate::replication`]). What is
//!   pinned by an upload or a hold stays as well; why that is enough is argued in `tetryx_store::collect`.
//! - The state it goes by is no older than what this node had shown before it was started: one that has not reached a
//!   leader with a majority since then collects nothing.
//! - The pin of an upload session outlives the process. It is released when its session ends, or, if the session is
//!   gone with an earlier process, when nobody has used it for `uploads.session_ttl`.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_state::query;
use tetryx_store::{CollectReport, Garbage, MarkError, StoreError};

use crate::replication::{self, Keep, Surplus};
#[cfg(feature = "mutants")]
use crate::retention;
use crate::retention::Forecast;
use crate::{Node, NodeError, uploads};

/// NAR records read from the state at once.
const PAGE: usize = 1024;

/// What one collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectSummary {
    /// Paths that left their caches because their time was over.
    #[serde(default)]
    pub paths_expired: u64,
    /// NARs that left with them.
    #[serde(default)]
    pub nars_expired: u64,
    /// Why the cluster did not decide which those are, if it did not.
    #[serde(default)]
    pub expiry_failed: Option<String>,
    /// Abandoned uploads whose chunks were given up.
    pub uploads_dropped: u64,
    /// Manifests removed, one for each NAR.
    pub manifests_removed: u64,
    /// Chunks removed.
    pub chunks_removed: u64,
    /// Bytes by which the disk use shrank.
    pub bytes_freed: u64,
    /// Pack segments removed, those included whose live chunks were moved.
    pub segments_removed: u64,
}

/// How fast live data is moved to free what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At `gc.rewrite_rate`.
    Polite,
    /// As fast as the disk can: somebody waits for the space.
    AtOnce,
}

/// Bytes moved at once by a polite collection.
const STRETCH: u64 = 4 << 20;

/// Runs one collection to its end. Surplus copies go when nobody has read them here for `keep_surplus`.
pub(crate) async fn collect_once(
    node: &Node,
    keep_surplus: Duration,
    pace: Pace,
) -> Result<CollectSummary, NodeError> {
    if !node.replica().is_caught_up() {
        // After a crash the state may be an earlier one, in which what was published since has no name yet.
        tracing::warn!("nothing is collected before this node has reached a leader with a majority");
        return Ok(CollectSummary::default());
    }
    let surplus = replication::find_surplus(node, keep_surplus).await?;
    collect_but(node, surplus, pace).await
}

/// Runs one collection to its end. These copies go, if they still may.
pub(crate) async fn collect_but(
    node: &Node,
    surplus: Surplus,
    pace: Pace,
) -> Result<CollectSummary, NodeError> {
    if !node.replica().is_caught_up() {
        return Ok(CollectSummary::default());
    }
    let mut uploads_dropped = uploads::release_ended(node).await?;
    replication::release_ended(node).await?;
    let in_background = node.clone();
    #[cfg(feature = "mutants")]
    let surplus = match mark_early(node, surplus).await? {
        Marks::Now(surplus) => surplus,
        Marks::Early(live) => {
            let store = Arc::clone(node.store());
            let swept = node
                .io()
                .run(move || store.collect(|| Ok(live.into_iter().map(Ok))));
            swept.await??;
            return Ok(CollectSummary::default());
        }
    };
    let (strays, report) = node.io().run(move || sweep(&in_background, surplus)).await?;
    let mut report = report?;
    uploads_dropped += strays;
    if report.manifests_removed + report.chunks_removed > 0 {
        node.replication().forget_local();
    }
    rewrite(node, pace, &mut report).await?;
    // Among several nodes it is only natural that this one does not hold everything.
    if report.manifests_absent > 0 && query::members(&node.replica().view()?)?.len() <= 1 {
        tracing::error!(
            manifests = report.manifests_absent,
            "manifests of published paths are not on this node; push those paths again"
        );
    }
    let metrics = node.metrics();
    metrics.collections.inc();
    metrics.collected_bytes.inc_by(report.bytes_freed);
    metrics
        .last_collection
        .set(u64::try_from(node.clock().utc().unix_seconds()).unwrap_or(0));
    let summary = CollectSummary {
        uploads_dropped,
        manifests_removed: report.manifests_removed,
        chunks_removed: report.chunks_removed,
        bytes_freed: report.bytes_freed,
        segments_removed: report.segments_removed + report.segments_rewritten,
        ..CollectSummary::default()
    };
    tracing::info!(
        uploads_dropped,
        manifests = summary.manifests_removed,
        chunks = summary.chunks_removed,
        bytes = summary.bytes_freed,
        "collected garbage"
    );
    Ok(summary)
}

/// Rewrites what the sweep left sparse.
async fn rewrite(node: &Node, pace: Pace, report: &mut CollectReport) -> Result<(), NodeError> {
    loop {
        let store = Arc::clone(node.store());
        let bytes_max = match pace {
            Pace::Polite => STRETCH,
            Pace::AtOnce => u64::MAX,
        };
        let stretch = node.io().run(move || store.rewrite(bytes_max)).await??;
        report.add(&stretch);
        if stretch.is_done {
            return Ok(());
        }
        if pace == Pace::Polite {
            let rate = node.config().gc.rewrite_rate.bytes().max(1);
            tokio::time::sleep(Duration::from_millis(stretch.bytes_copied * 1000 / rate)).await;
        }
    }
}

/// Gives up the pins that earlier processes left, and sweeps. Blocks.
fn sweep(node: &Node, surplus: Surplus) -> (u64, Result<CollectReport, StoreError>) {
    let store = node.store();
    let now = node.clock().utc();
    let ttl = node.config().uploads.session_ttl;
    let strays: Vec<_> = store
        .pins()
        .into_iter()
        .filter(|pin| !uploads::owns_pin(node, &pin.id) && !replication::owns_pin(node, &pin.id))
        .filter(|pin| pin.touched.is_none_or(|touched| now.since(touched) >= ttl))
        .collect();
    for pin in &strays {
        store.unpin(&pin.id);
    }
    (
        strays.len() as u64,
        store.sweep(move || live_manifests(node, surplus)),
    )
}

/// What a collection would take if those paths had left that a forecast names.
pub(crate) async fn preview(
    node: &Node,
    keep_surplus: Duration,
    forecast: Forecast,
) -> Result<Garbage, NodeError> {
    // What has ended protects nothing: a collection would begin with that, too.
    uploads::release_ended(node).await?;
    replication::release_ended(node).await?;
    let surplus = replication::find_surplus(node, keep_surplus).await?;
    let in_background = node.clone();
    let look = move || {
        let node = in_background;
        let live = live_nars(&node, surplus).map_err(|source| StoreError::Mark { source })?;
        node.store().preview(live.filter_map(|nar| match nar {
            Ok((Some(nar), _)) if forecast.takes(&nar) => None,
            Ok((_, manifest)) => Some(Ok(manifest)),
            Err(error) => Some(Err(error)),
        }))
    };
    Ok(node.io().run(look).await??)
}

/// The manifests of what waits in the outbox, and of all NARs that some path has and this node keeps, read page by page
/// from one view of the state.
fn live_manifests(
    node: &Node,
    surplus: Surplus,
) -> Result<impl Iterator<Item = Result<ManifestHash, MarkError>> + use<>, MarkError> {
    let live = live_nars(node, surplus)?;
    Ok(live.map(|nar| nar.map(|(_, manifest)| manifest)))
}

/// A NAR of the state, or none for what waits in the outbox, and its manifest.
type Live = (Option<NarHash>, ManifestHash);

/// [`live_manifests`] with the NARs they are of.
fn live_nars(
    node: &Node,
    surplus: Surplus,
) -> Result<impl Iterator<Item = Result<Live, MarkError>> + use<>, MarkError> {
    // First the outbox: what leaves it from now on is in the state read below.
    let waiting = node.outbox().manifests().into_iter();
    let provisional = waiting.map(|manifest| Ok((None, manifest)));
    let view = node.replica().view()?;
    let keep = Keep::new(node, &view, surplus)?;
    #[cfg(feature = "mutants")]
    let over_here = over_by_own_clock(node, &view)?;
    let mut after: Option<NarHash> = None;
    let mut ended = false;
    let mut page = Vec::new().into_iter();
    let next = move || {
        if page.len() == 0 && !ended {
            match query::live_manifests(&view, after.as_ref(), PAGE) {
                Ok(rows) => {
                    ended = rows.len() < PAGE;
                    after = rows.last().map(|(nar, _)| *nar);
                    page = rows.into_iter();
                }
                Err(error) => {
                    ended = true;
                    return Some(Err(error.into()));
                }
            }
        }
        let (nar, manifest) = page.next()?;
        #[cfg(feature = "mutants")]
        if over_here.takes(&nar) {
            return Some(Ok(None));
        }
        match keep.keeps(&view, &nar) {
            Ok(true) => Some(Ok(Some((Some(nar), manifest)))),
            Ok(false) => Some(Ok(None)),
            Err(error) => Some(Err(error.into())),
        }
    };
    Ok(provisional.chain(iter::from_fn(next).filter_map(Result::transpose)))
}

/// What a node would sweep that did not wait for the cluster to say whose time is over.
#[cfg(feature = "mutants")]
fn over_by_own_clock(node: &Node, view: &tetryx_raft::StateView) -> Result<Forecast, NodeError> {
    if !tetryx_environment::mutant::Mutant::SweepByWallClock.is_active() {
        return Ok(Forecast::default());
    }
    retention::look(view, node.config().gc.default_retention, node.clock().utc())
}

/// When a collection reads what is live.
#[cfg(feature = "mutants")]
enum Marks {
    /// After it has begun.
    Now(Surplus),
    /// A while before.
    Early(Vec<ManifestHash>),
}

/// What a collection would do that read the state before it minds the pins.
#[cfg(feature = "mutants")]
async fn mark_early(node: &Node, surplus: Surplus) -> Result<Marks, NodeError> {
    if !tetryx_environment::mutant::Mutant::MarkBeforePins.is_active() {
        return Ok(Marks::Now(surplus));
    }
    let live = live_manifests(node, surplus).and_then(Iterator::collect);
    let live = live.map_err(|source| StoreError::Mark { source })?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    uploads::release_ended(node).await?;
    Ok(Marks::Early(live))
}
