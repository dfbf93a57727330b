//! Room on this node's disk: copies are given up before uploads are refused, and refusals come early and say why.
//!
//! What may still be stored follows from `store.quota`, `store.reserve` and the disk. When little is left
//! ([`low_mark`]), garbage goes first, then copies that this node owes to nobody, then copies that it should hold and
//! enough others hold ([`crate::replication`] says which); within each, those unused for longest.
//!
//! # Invariants
//! - Nothing that an open upload, a hold or the outbox needs is given up: they are pinned, or live by themselves.
//! - A refusal comes before bytes are taken, as far as it is known how many will come.
//!
//! # Non-goals
//! - The last word: the store refuses what does not fit, whatever was hoped here.

use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::time::Elapsed;
use tetryx_store::StoreStats;

use crate::collect::{self, Pace};
use crate::replication::{self, Evict, Surplus};
use crate::{Node, NodeError};

/// How often the room is looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(30);
/// After an attempt to make room that has not helped, for the background and for somebody who waits.
const RETRY_PAUSE: Duration = Duration::from_secs(5 * 60);
const RETRY_PAUSE_ASKED: Duration = Duration::from_secs(30);
/// How long somebody who needs room waits for it to be made.
const PATIENCE: Duration = Duration::from_secs(20);
/// Collections in one attempt, each of which gives up more: what copies share is counted several times.
const ROUNDS_MAX: usize = 4;
/// Less than this is no room at all.
pub(crate) const LEAST: u64 = 64 << 10;

/// What a node remembers of making room; one per node.
#[derive(Debug, Default)]
pub(crate) struct Room {
    making: tokio::sync::Mutex<()>,
    /// When an attempt ended without enough room.
    failed: Mutex<Option<Elapsed>>,
}

/// Below this much free space, copies are given up until there is twice as much.
pub(crate) fn low_mark(segment_bytes: u64, used: u64, free: u64) -> u64 {
    (4 * segment_bytes).min(used.saturating_add(free) / 8)
}

fn mark(node: &Node, stats: &StoreStats) -> u64 {
    let used = stats.pack_bytes.saturating_add(stats.index_bytes);
    low_mark(node.config().store.segment_size.bytes(), used, stats.free_bytes)
}

/// What the disk has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) free: u64,
    pub(crate) low: u64,
}

impl Left {
    /// Whether a copy of so many bytes that others hold as well may be taken without making the next one go.
    pub(crate) const fn has_plenty_for(&self, bytes: u64) -> bool {
        self.free.saturating_sub(bytes) >= 2 * self.low
    }
}

/// How much room there is.
///
/// # Errors
/// When the store cannot be asked.
pub(crate) async fn left(node: &Node) -> Result<Left, NodeError> {
    let store = node.store().clone();
    let stats = node.io().run(move || store.stats()).await??;
    Ok(Left {
        free: stats.free_bytes,
        low: mark(node, &stats),
    })
}

/// Makes room when little is left, until the node stops.
pub(crate) async fn watch(node: Node) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let made = async {
            let left = left(&node).await?;
            if left.free >= left.low || has_failed_lately(&node, RETRY_PAUSE) {
                return Ok(());
            }
            make(&node, 2 * left.low).await
        };
        if let Err(error) = made.await {
            tracing::error!(error = error.chain(), "no room could be made");
        }
    }
}

/// Sees to it that so many bytes can be stored.
///
/// # Errors
/// [`NodeError::NoRoom`] when they cannot, whatever is given up; otherwise those of the store.
pub(crate) async fn ensure(node: &Node, needed: u64) -> Result<(), NodeError> {
    let before = left(node).await?;
    // Headers, and what the index takes for what is new.
    let besides = if needed > LEAST { before.low / 2 } else { 0 };
    ensure_free(node, before, needed.max(LEAST).saturating_add(besides)).await
}

/// Sees to it that so many bytes can be stored, and that little is not all that is left then.
///
/// # Errors
/// As [`ensure`].
pub(crate) async fn ensure_besides(node: &Node, needed: u64) -> Result<(), NodeError> {
    let before = left(node).await?;
    ensure_free(node, before, needed.max(LEAST).saturating_add(before.low)).await
}

async fn ensure_free(node: &Node, before: Left, needed: u64) -> Result<(), NodeError> {
    if before.free >= needed {
        return Ok(());
    }
    if !has_failed_lately(node, RETRY_PAUSE_ASKED) {
        let made = make(node, needed.saturating_add(before.low));
        match tokio::time::timeout(PATIENCE, made).await {
            Ok(made) => made?,
            Err(_) => tracing::info!("making room takes longer than anybody waits"),
        }
    }
    let free = left(node).await?.free;
    if free >= needed {
        return Ok(());
    }
    Err(NodeError::NoRoom {
        needed,
        free,
        limit: match node.config().store.quota {
            Some(quota) => format!("store.quota is {quota}"),
            None => "the disk is full".to_owned(),
        },
    })
}

fn has_failed_lately(node: &Node, pause: Duration) -> bool {
    let now = node.clock().elapsed();
    let failed = *node.room().failed.lock();
    failed.is_some_and(|at| now.saturating_sub(at) < pause)
}

/// Gives up what may go, the least needed first, until so many bytes are free or nothing may go.
async fn make(node: &Node, wanted: u64) -> Result<(), NodeError> {
    let _one_at_a_time = node.room().making.lock().await;
    let before = left(node).await?.free;
    if before >= wanted {
        return Ok(());
    }
    tracing::info!(
        free_bytes = before,
        "little room is left; giving up garbage, then copies that others hold"
    );
    collect::collect_but(node, Surplus::default(), Pace::AtOnce).await?;
    let mut free = left(node).await?.free;
    for what in [Evict::OnlyCached, Evict::Placed] {
        for _ in 0..ROUNDS_MAX {
            if free >= wanted {
                break;
            }
            let surplus = replication::find_evictable(node, what, wanted - free).await?;
            let copies = surplus.len();
            if copies == 0 {
                break;
            }
            collect::collect_but(node, surplus, Pace::AtOnce).await?;
            let now = left(node).await?.free;
            tracing::info!(
                copies,
                ?what,
                freed_bytes = now.saturating_sub(free),
                "copies were given up"
            );
            node.metrics().copies_evicted.inc_by(copies as u64);
            free = now;
        }
    }
    let failed = (free < wanted).then(|| node.clock().elapsed());
    *node.room().failed.lock() = failed;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_an_eighth_of_what_there_is_and_at_most_four_segments() {
        let gib = 1 << 30;
        assert_eq!(low_mark(64 << 20, gib, 0), 128 << 20);
        assert_eq!(low_mark(64 << 20, 10 * gib, 90 * gib), 256 << 20);
        assert_eq!(low_mark(64 << 20, 0, u64::MAX), 256 << 20);
    }

    #[test]
    fn a_copy_that_others_hold_is_taken_only_if_none_goes_for_it() {
        let left = Left { free: 100, low: 20 };
        assert!(left.has_plenty_for(60));
        assert!(!left.has_plenty_for(61));
        assert!(!left.has_plenty_for(1_000));
    }
}
