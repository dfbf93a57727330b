//! Single paths: deleting, pinning, unpinning them.

use super::{Context, Step, cache, nar};
use crate::access::{Access, delete as delete_row, get, put};
use crate::command::{DeletePath, PinPath, UnpinPath};
use crate::error::{CorruptRecord, StateError};
use crate::key;
use crate::query;
use crate::records::{PathPin, PathRecord};
use crate::reply::{Outcome, Refusal, first_few};
use crate::tables::{ReadTables, Table, Tables};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::StorePathHash;

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

pub(super) fn delete<T: Tables>(tables: &mut T, body: &DeletePath) -> Step<T, Outcome> {
    let record = require(tables, &body.cache, &body.path)?;
    if let Some(PathPin { by, at }) = record.pinned {
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
    for reference in record
        .references
        .iter()
        .filter(|reference| **reference != record.store_path)
    {
        delete_row(
            tables,
            Table::Referrers,
            &key::referrer(&body.cache, &reference.hash, &body.path),
        )?;
    }
    delete_row(
        tables,
        Table::Holders,
        &key::holder(&body.cache, &record.nar_hash, &body.path),
    )?;
    delete_row(tables, Table::Paths, &key::path(&body.cache, &body.path))?;
    let nar_removed = nar::release(tables, &record.nar_hash)?;
    Ok(Outcome::PathDeleted { nar_removed })
}

pub(super) fn pin<T: Tables>(tables: &mut T, context: &Context<'_>, body: &PinPath) -> Step<T, Outcome> {
    let mut record = require(tables, &body.cache, &body.path)?;
    if record.pinned.is_some() {
        return Ok(Outcome::Unchanged);
    }
    record.pinned = Some(PathPin {
        by: context.by.to_owned(),
        at: context.now,
    });
    put(tables, &key::path(&body.cache, &body.path), &record)?;
    Ok(Outcome::PathPinned)
}

pub(super) fn unpin<T: Tables>(tables: &mut T, body: &UnpinPath) -> Step<T, Outcome> {
    let mut record = require(tables, &body.cache, &body.path)?;
    if record.pinned.take().is_none() {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key::path(&body.cache, &body.path), &record)?;
    Ok(Outcome::PathUnpinned)
}
