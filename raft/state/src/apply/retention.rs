//! What leaves a cache by itself, and what is known of its use.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::store_path::StorePathHash;

use super::{Context, Step, cache, path};
use crate::access::{get, put};
use crate::command::{ExpirePaths, NoteAccesses};
use crate::key;
use crate::limits::Limit;
use crate::records::PathRecord;
use crate::reply::Outcome;
use crate::retention;
use crate::tables::Tables;

/// Each path is judged here, by the log clock, whatever the proposer thought of it.
pub(super) fn expire<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &ExpirePaths,
) -> Step<T, Outcome> {
    let cache = cache::require(tables, &body.cache)?;
    let default = body.default_seconds.map(Duration::from_secs);
    let Some(period) = retention::period(cache.retention, default) else {
        return Ok(Outcome::Unchanged);
    };
    let mut leaving: BTreeMap<StorePathHash, PathRecord> = BTreeMap::new();
    // What is not looked at stays: the rest of a command that would write more rows than one that publishes.
    let mut rows_left = Limit::ReferencesPerCommand.bound();
    for hash in &body.paths {
        let record: Option<PathRecord> = get(tables, &key::path(&body.cache, hash))?;
        let Some(record) = record.filter(|record| retention::is_over(record, period, context.now)) else {
            continue;
        };
        let rows = u64::try_from(record.references.len()).unwrap_or(u64::MAX);
        let Some(left) = rows_left.checked_sub(rows) else {
            break;
        };
        rows_left = left;
        leaving.insert(*hash, record);
    }
    let mut staying = Vec::new();
    for hash in leaving.keys() {
        if retention::is_needed_by_others(tables, &body.cache, hash, |by| leaving.contains_key(by))? {
            staying.push(*hash);
        }
    }
    while let Some(hash) = staying.pop() {
        if let Some(record) = leaving.remove(&hash) {
            staying.extend(record.references.iter().map(|reference| reference.hash));
        }
    }
    let (mut paths, mut nars) = (0, 0);
    for record in leaving.values() {
        nars += u64::from(path::remove(tables, &body.cache, record)?);
        paths += 1;
    }
    if paths == 0 {
        return Ok(Outcome::Unchanged);
    }
    Ok(Outcome::PathsExpired { paths, nars })
}

pub(super) fn note_accesses<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &NoteAccesses,
) -> Step<T, Outcome> {
    // A node whose clock is ahead cannot keep a path for longer than one whose clock is right.
    let day = body.day.min(context.now.unix_day());
    let mut noted = 0;
    for accesses in &body.caches {
        for hash in &accesses.paths {
            let key = key::path(&accesses.cache, hash);
            let record: Option<PathRecord> = get(tables, &key)?;
            let Some(mut record) = record.filter(|record| record.last_access_day < day) else {
                continue;
            };
            record.last_access_day = day;
            put(tables, &key, &record)?;
            noted += 1;
        }
    }
    if noted == 0 {
        return Ok(Outcome::Unchanged);
    }
    Ok(Outcome::AccessesNoted { paths: noted })
}
