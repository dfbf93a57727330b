//! Which paths of a cache would leave.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;

use super::is_over;
use crate::access::{Access, Walk, get};
use crate::error::StateError;
use crate::key;
use crate::query;
use crate::records::{PathRecord, Record};
use crate::tables::{ReadTables, Table};

/// A path that would leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The path.
    pub path: StorePathHash,
    /// Its content, which goes when no other path has it.
    pub nar: NarHash,
}

/// The paths of a cache that would leave at `now`, each behind all that refer to it, so that they can be let go in
/// pieces. Paths that refer to one another in a circle come last; they leave in one piece or not at all.
pub fn plan<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    period: Duration,
    now: UtcTime,
) -> Access<T, Vec<Leaving>> {
    let mut leaving = over(tables, cache, period, now)?;
    let mut staying = Vec::new();
    for hash in leaving.keys().copied().collect::<Vec<_>>() {
        let referrers = query::referrers(tables, cache, &hash, leaving.len() + 1)?;
        if referrers.iter().all(|by| leaving.contains_key(by)) {
            leaving.insert(hash, referrers.len());
        } else {
            staying.push(hash);
        }
    }
    while let Some(hash) = staying.pop() {
        if leaving.remove(&hash).is_some() {
            let record = existing(tables, cache, &hash)?;
            let references = record.iter().flat_map(|record| &record.references);
            staying.extend(references.map(|reference| reference.hash));
        }
    }
    in_order(tables, cache, leaving)
}

/// The paths that are over. The number is filled in later.
fn over<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    period: Duration,
    now: UtcTime,
) -> Access<T, BTreeMap<StorePathHash, usize>> {
    let mut over = BTreeMap::new();
    for row in Walk::prefix(tables, Table::Paths, key::paths(cache)) {
        let (key, value) = row.map_err(StateError::Tables)?;
        let record = PathRecord::decode(&key, &value).map_err(StateError::Corrupt)?;
        if is_over(&record, period, now) {
            over.insert(record.hash(), 0);
        }
    }
    Ok(over)
}

/// Puts the paths behind those that refer to them. `waits` says how many those are.
fn in_order<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    mut waits: BTreeMap<StorePathHash, usize>,
) -> Access<T, Vec<Leaving>> {
    let mut plan = Vec::with_capacity(waits.len());
    let free = waits.iter().filter(|(_, waits)| **waits == 0);
    let mut ready: Vec<StorePathHash> = free.map(|(hash, _)| *hash).collect();
    loop {
        let Some(hash) = ready
            .pop()
            .or_else(|| waits.first_key_value().map(|(hash, _)| *hash))
        else {
            return Ok(plan);
        };
        waits.remove(&hash);
        let Some(record) = existing(tables, cache, &hash)? else {
            continue;
        };
        plan.push(Leaving {
            path: hash,
            nar: record.nar_hash,
        });
        for reference in &record.references {
            if let Some(waiting) = waits.get_mut(&reference.hash) {
                *waiting = waiting.saturating_sub(1);
                if *waiting == 0 {
                    ready.push(reference.hash);
                }
            }
        }
    }
}

fn existing<T: ReadTables>(
    tables: &T,
    cache: &CacheName,
    hash: &StorePathHash,
) -> Access<T, Option<PathRecord>> {
    get(tables, &key::path(cache, hash))
}
