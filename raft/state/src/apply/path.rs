//! Single paths: deleting, pinning, unpinning them.

use super::{Context, Step, cache, nar};
use crate::access::{Access, delete as delete_row, get, put};
use crate::command::{DeletePath, PinPath, PinPathUntil, UnpinPath};
use crate::error::{CorruptRecord, StateError};
use crate::key;
use crate::query;
use crate::records::{PathPin, PathRecord};
use crate::reply::{Outcome, Refusal, first_few};
use crate::tables::{ReadTables, Table, Tables};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;

/// The record of a path, or the refusal that there is no such cache or path.
fn require<T: ReadTables>(tables: &T, cache: &CacheName, path: &StorePathHash) -> Step<T, PathRecord> {
    cache::require(tables, cache)?;
    let record = get(tables, &key::path(cache, path))?;
    record.ok_or_else(|| {
        Refusal::NoSuchPath {
            cache: cache.clone(),
            path: *path,
        }
        .into()
    })
}

/// A path that the referrers table says exists.
fn referrer<T: ReadTables>(tables: &T, cache: &CacheName, hash: &StorePathHash) -> Access<T, PathRecord> {
    let key = key::path(cache, hash);
    get(tables, &key)?.ok_or_else(|| {
        let reason = "a path is listed as a referrer, but has no row".to_owned();
        StateError::Corrupt(CorruptRecord {
            table: Table::Paths,
            key,
            reason,
        })
    })
}

pub(super) fn delete<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &DeletePath,
) -> Step<T, Outcome> {
    let record = require(tables, &body.cache, &body.path)?;
    if let Some(PathPin { by, at, .. }) = record.pinned.clone().filter(|pin| pin.holds(context.now)) {
        return Err(Refusal::PathPinned {
            path: record.store_path,
            by,
            at,
        }
        .into());
    }
    let referrers = query::referrers(tables, &body.cache, &body.path, usize::MAX)?;
    if !body.force && !referrers.is_empty() {
        let mut by = Vec::with_capacity(referrers.len());
        for hash in &referrers {
            by.push(referrer(tables, &body.cache, hash)?.store_path);
        }
        let (by, more) = first_few(by);
        return Err(Refusal::PathReferenced {
            path: record.store_path,
            by,
            more,
        }
        .into());
    }
    for hash in &referrers {
        let mut referrer = referrer(tables, &body.cache, hash)?;
        if let Err(position) = referrer.absent_references.binary_search(&record.store_path) {
            referrer
                .absent_references
                .insert(position, record.store_path.clone());
            put(tables, &key::path(&body.cache, hash), &referrer)?;
        }
    }
    let nar_removed = remove(tables, &body.cache, &record)?;
    Ok(Outcome::PathDeleted { nar_removed })
}

/// Takes a path out of its cache, whoever refers to it. True when no other path had its NAR.
pub(super) fn remove<T: Tables>(tables: &mut T, cache: &CacheName, record: &PathRecord) -> Access<T, bool> {
    let hash = record.hash();
    for reference in record
        .references
        .iter()
        .filter(|reference| **reference != record.store_path)
    {
        let key = key::referrer(cache, &reference.hash, &hash);
        delete_row(tables, Table::Referrers, &key)?;
    }
    delete_row(
        tables,
        Table::Holders,
        &key::holder(cache, &record.nar_hash, &hash),
    )?;
    delete_row(tables, Table::Paths, &key::path(cache, &hash))?;
    nar::release(tables, &record.nar_hash)
}

pub(super) fn pin<T: Tables>(tables: &mut T, context: &Context<'_>, body: &PinPath) -> Step<T, Outcome> {
    keep(tables, context, &body.cache, &body.path, None)
}

pub(super) fn pin_until<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &PinPathUntil,
) -> Step<T, Outcome> {
    keep(tables, context, &body.cache, &body.path, Some(body.until))
}

/// Pins a path, unless it is pinned for as long already: nobody shortens what somebody else was promised.
fn keep<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    cache: &CacheName,
    path: &StorePathHash,
    until: Option<UtcTime>,
) -> Step<T, Outcome> {
    let mut record = require(tables, cache, path)?;
    if let Some(until) = until
        && until <= context.now
    {
        return Err(Refusal::PinNeverValid { until }.into());
    }
    let pin = PathPin {
        by: context.by.to_owned(),
        at: context.now,
        until,
    };
    let existing = record.pinned.as_ref().filter(|pin| pin.holds(context.now));
    if existing.is_some_and(|existing| existing.reaches(&pin)) {
        return Ok(Outcome::Unchanged);
    }
    record.pinned = Some(pin);
    put(tables, &key::path(cache, path), &record)?;
    Ok(Outcome::PathPinned)
}

pub(super) fn unpin<T: Tables>(tables: &mut T, context: &Context<'_>, body: &UnpinPath) -> Step<T, Outcome> {
    let mut record = require(tables, &body.cache, &body.path)?;
    if record.pinned.take().is_none_or(|pin| !pin.holds(context.now)) {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key::path(&body.cache, &body.path), &record)?;
    Ok(Outcome::PathUnpinned)
}
