//! Commands about how long paths stay.

use serde::{Deserialize, Serialize};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;

/// Lets those of the named paths go that nothing keeps any more: their time is over by the log clock, no pin holds
/// them, and no path of the cache that stays refers to them. The others stay, without a refusal: whoever proposed it
/// may have looked at an older state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpirePaths {
    /// The cache.
    pub cache: CacheName,
    /// How long a cache without a period of its own keeps a path, in seconds; for ever if there is none. The proposer
    /// has it from its configuration.
    pub default_seconds: Option<u64>,
    /// The paths. A path that only leaves together with its referrers stands behind them, or in the same command.
    pub paths: Vec<StorePathHash>,
}

/// Notes that paths were pulled on a day. Days only grow, and none lies after the log clock's. What is not there is
/// left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteAccesses {
    /// The day, in days since the Unix epoch (UTC).
    pub day: u32,
    /// What was pulled, by cache.
    pub caches: Vec<CacheAccesses>,
}

/// Paths of one cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheAccesses {
    /// The cache.
    pub cache: CacheName,
    /// The paths.
    pub paths: Vec<StorePathHash>,
}

/// Keeps a path until a moment, by the log clock. A pin that reaches further stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinPathUntil {
    /// The cache.
    pub cache: CacheName,
    /// The path.
    pub path: StorePathHash,
    /// When the pin ends.
    pub until: UtcTime,
}
