//! How long a path stays in its cache.
//!
//! A path is *over* when its period has run out and no pin holds it. It leaves when it is over and no path of the same
//! cache that stays refers to it: what is needed stays, however old.
//!
//! The period runs from when the path was last pulled or, if that is later, published. Pulls are known by the day, and
//! count to the end of their day (UTC), as publication does. A period of less than [`DAY`] cannot be measured so: it
//! runs from publication alone, to the moment.
//!
//! # Invariants
//! - Time is the log clock: [`ExpirePaths`](crate::command::ExpirePaths) carries no time and is judged where it is
//!   applied. A [`plan()`] is a guess about that, whatever clock it was made by.
//!
//! # Non-goals
//! - What becomes of the chunks: each node collects them by the state it has applied.

mod plan;

use std::time::Duration;

use tetryx_protocol::cache::{CacheName, Retention};
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;

use crate::access::{Access, Walk};
use crate::error::StateError;
use crate::key;
use crate::records::PathRecord;
use crate::tables::{ReadTables, Table};

pub use self::plan::{Leaving, plan};

/// What a cluster must have before the commands about this are proposed in it.
pub const FEATURE_LEVEL: u32 = 3;
/// Pulls are known by the day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a cache keeps a path; `None` is for ever. `default` is what counts where the cache says nothing.
pub fn period(retention: Retention, default: Option<Duration>) -> Option<Duration> {
    match retention {
        Retention::Default => default,
        Retention::Period { seconds } => Some(Duration::from_secs(seconds)),
        Retention::Forever => None,
    }
}

/// Whether a path's period has run out at `now`, and no pin holds it.
pub fn is_over(record: &PathRecord, period: Duration, now: UtcTime) -> bool {
    let is_pinned = record.pinned.as_ref().is_some_and(|pin| pin.holds(now));
    !is_pinned && now >= end(record, period)
}

/// When a path's period runs out, if it is not pulled before.
pub fn end(record: &PathRecord, period: Duration) -> UtcTime {
    let from = if period < DAY {
        record.created
    } else {
        let next_day = DAY.saturating_mul(record.last_access_day.saturating_add(1));
        record.created.max(UtcTime::UNIX_EPOCH.plus(next_day))
    };
    from.plus(period)
}

/// Whether a path of the cache refers to this one that is not among those that leave with it.
pub(crate) fn is_needed_by_others<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    hash: &StorePathHash,
    leaves: impl Fn(&StorePathHash) -> bool,
) -> Access<T, bool> {
    for row in Walk::prefix(tables, Table::Referrers, key::referrers(cache, hash)) {
        let (row, _) = row.map_err(StateError::Tables)?;
        let (_, _, by) = key::parse_referrer(&row).map_err(StateError::Corrupt)?;
        if !leaves(&by) {
            return Ok(true);
        }
    }
    Ok(false)
}
