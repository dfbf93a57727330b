//! When a snapshot is taken and the log is cut.
//!
//! openraft's own policies are off: in 0.10.0-alpha.37 a purge that follows a snapshot can overtake an apply that is
//! still queued, and the consensus task panics (openraft issue 2116).
//!
//! # Invariants
//! - Nothing is purged that this replica has not applied, as openraft itself reports: a queued apply begins after it.
//! - Nothing is purged that is not durable in the state: after a crash the log brings the state forward.
//! - At least `keep` entries stay, so that a replica that was away for a while catches up from the log.

use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;

use crate::state_store::StateStore;
use crate::types::{LogId, Metrics, Raft};
use tetryx_environment::Io;

/// How long the log may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Applied entries that stay in the log. Replicas that lack older ones are sent a snapshot.
    pub keep: u64,
    /// Entries beyond those after which a snapshot is taken and the log is cut.
    pub every: u64,
}

impl Default for Compaction {
    /// A replica that was away during 100,000 commands needs no snapshot; at about 1 KB each, the log takes 100 MB.
    fn default() -> Self {
        Self {
            keep: 100_000,
            every: 25_000,
        }
    }
}

/// How long what is applied may be durable in the log only while nothing else makes the state durable.
const SETTLE: Duration = Duration::from_secs(1);

/// Makes the state durable when it has changed, once a while. Ends with the replica.
pub(crate) async fn settle(store: Weak<StateStore>, mut applied: watch::Receiver<u64>, io: Io) {
    while applied.changed().await.is_ok() {
        tokio::time::sleep(SETTLE).await;
        let Some(store) = store.upgrade() else { return };
        if let Err(error) = io.run_unwinding(move || store.make_durable()).await {
            // The next entry will meet the same error, and stop the replica.
            tracing::error!(error = error.chain(), "the state cannot be made durable");
            return;
        }
    }
}

/// Watches what is applied, and compacts when the log is long enough. Ends when openraft does.
pub(crate) async fn run(raft: Raft, store: Weak<StateStore>, io: Io, compaction: Compaction) {
    let mut metrics = raft.metrics();
    while metrics.changed().await.is_ok() {
        let (kept, since_snapshot) = {
            let metrics = metrics.borrow_watched();
            let applied = next_index(metrics.last_applied);
            (
                applied.saturating_sub(next_index(metrics.purged)),
                applied.saturating_sub(next_index(metrics.snapshot)),
            )
        };
        // A purge may take its time, while an entry is being sent; that is no reason for another snapshot.
        let is_due = since_snapshot >= compaction.every.max(1);
        let is_long = kept >= compaction.keep.saturating_add(compaction.every);
        if is_due && is_long {
            let Some(store) = store.upgrade() else { return };
            if compact(&raft, &mut metrics, store, &io, compaction.keep)
                .await
                .is_none()
            {
                return;
            }
        }
    }
}

fn next_index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

/// Takes a snapshot and cuts the log behind it; `None` when openraft has stopped.
async fn compact(
    raft: &Raft,
    metrics: &mut Metrics,
    store: Arc<StateStore>,
    io: &Io,
    keep: u64,
) -> Option<()> {
    let wanted = metrics.borrow_watched().last_applied.map_or(0, |id| id.index);
    raft.trigger().snapshot().await.ok()?;
    let applied = loop {
        {
            let metrics = metrics.borrow_watched();
            let snapshot = metrics.snapshot.map_or(0, |id| id.index);
            let applied = metrics.last_applied.map_or(0, |id| id.index);
            if snapshot >= wanted {
                break snapshot.min(applied);
            }
        }
        metrics.changed().await.ok()?;
    };
    let durable = match io.run_unwinding(move || store.make_durable()).await {
        Ok(durable) => durable,
        Err(error) => {
            tracing::error!(
                error = error.chain(),
                "the log is not cut: the state cannot be made durable"
            );
            return Some(());
        }
    };
    let upto = applied.min(durable).saturating_sub(keep);
    tracing::info!(snapshot = wanted, upto, "cutting the log");
    raft.trigger().purge_log(upto).await.ok()
}
