//! The JSON about pushes taken while the cluster could not be asked.

use serde::{Deserialize, Serialize};

use crate::cache::CacheName;
use crate::store_path::StorePath;
use crate::time::UtcTime;

/// How many paths stand where. All but `waiting` count what is still remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxCounts {
    /// Taken here, served here as provisional, not yet in the cluster.
    pub waiting: u64,
    /// In the cluster since.
    pub applied: u64,
    /// The cluster had them already, the same.
    pub duplicate: u64,
    /// The cluster refused them.
    pub refused: u64,
}

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutboxState {
    /// Nothing yet: it waits for the cluster.
    Waiting,
    /// It was published.
    Applied {
        /// At this log index.
        index: u64,
    },
    /// The cluster had it already, the same.
    Duplicate {
        /// As of this log index.
        index: u64,
    },
    /// The cluster refused it.
    Refused {
        /// Why, and what to do next.
        reason: String,
    },
}

/// A path in the outbox, or one that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// The cache it was pushed to.
    pub cache: CacheName,
    /// The path.
    pub store_path: StorePath,
    /// Whose token pushed it.
    pub by: String,
    /// When this node took it.
    pub accepted: UtcTime,
    /// What became of it.
    pub state: OutboxState,
}

/// Answer of `GET /api/v1/outbox`: what waits, oldest first, then what was decided, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxReport {
    /// How many paths stand where.
    pub counts: OutboxCounts,
    /// The paths.
    pub entries: Vec<OutboxEntry>,
}
