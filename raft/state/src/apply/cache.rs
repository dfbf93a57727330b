//! Caches: creating, configuring, destroying them.

use tetryx_protocol::cache::CacheName;

use super::{Context, Step, nar};
use crate::access::{contains, delete, delete_prefix, first_of_prefix, get, put};
use crate::command::{ConfigureCache, CreateCache, DestroyCache};
use crate::error::StateError;
use crate::key;
use crate::records::{CacheRecord, PathRecord, Record};
use crate::reply::{Outcome, Refusal};
use crate::tables::{ReadTables, Table, Tables};

/// The record of a cache, or the refusal that there is none.
pub(super) fn require<T: ReadTables>(tables: &T, cache: &CacheName) -> Step<T, CacheRecord> {
    let record = get(tables, &key::cache(cache))?;
    record.ok_or_else(|| Refusal::NoSuchCache { cache: cache.clone() }.into())
}

pub(super) fn create<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    create: &CreateCache,
) -> Step<T, Outcome> {
    let key = key::cache(&create.cache);
    if contains(tables, Table::Caches, &key)? {
        return Err(Refusal::CacheExists {
            cache: create.cache.clone(),
        }
        .into());
    }
    let record = CacheRecord {
        public: create.public,
        priority: create.priority,
        store_dir: create.store_dir.clone(),
        upstream_key_names: create.upstream_key_names.clone(),
        retention: create.retention,
        replication: create.replication,
        public_key: create.key_pair.public_key.clone(),
        sealed_secret_key: create.key_pair.sealed_secret_key.clone(),
        mission: create.mission.clone(),
        created: context.now,
    };
    put(tables, &key, &record)?;
    Ok(Outcome::CacheCreated)
}

pub(super) fn configure<T: Tables>(tables: &mut T, configure: &ConfigureCache) -> Step<T, Outcome> {
    let before = require(tables, &configure.cache)?;
    let mut after = before.clone();
    set(&mut after.public, configure.public.as_ref());
    set(&mut after.priority, configure.priority.as_ref());
    set(&mut after.store_dir, configure.store_dir.as_ref());
    set(
        &mut after.upstream_key_names,
        configure.upstream_key_names.as_ref(),
    );
    set(&mut after.retention, configure.retention.as_ref());
    set(&mut after.replication, configure.replication.as_ref());
    set(&mut after.mission, configure.mission.as_ref());
    if let Some(pair) = &configure.key_pair {
        after.public_key = pair.public_key.clone();
        after.sealed_secret_key = pair.sealed_secret_key.clone();
    }
    if after == before {
        return Ok(Outcome::Unchanged);
    }
    if after.store_dir != before.store_dir && !is_empty(tables, &configure.cache)? {
        return Err(Refusal::CacheNotEmpty {
            cache: configure.cache.clone(),
        }
        .into());
    }
    put(tables, &key::cache(&configure.cache), &after)?;
    Ok(Outcome::CacheConfigured)
}

fn set<V: Clone>(field: &mut V, value: Option<&V>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn is_empty<T: ReadTables>(tables: &T, cache: &CacheName) -> Step<T, bool> {
    Ok(first_of_prefix(tables, Table::Paths, &key::paths(cache))?.is_empty())
}

pub(super) fn destroy<T: Tables>(tables: &mut T, destroy: &DestroyCache) -> Step<T, Outcome> {
    require(tables, &destroy.cache)?;
    let prefix = key::paths(&destroy.cache);
    let (mut paths, mut nars) = (0, 0);
    loop {
        let rows = first_of_prefix(tables, Table::Paths, &prefix)?;
        if rows.is_empty() {
            break;
        }
        for (key, value) in rows {
            let path = PathRecord::decode(&key, &value).map_err(StateError::Corrupt)?;
            nars += u64::from(nar::release(tables, &path.nar_hash)?);
            delete(tables, Table::Paths, &key)?;
            paths += 1;
        }
    }
    delete_prefix(tables, Table::Referrers, &prefix)?;
    delete_prefix(tables, Table::Holders, &prefix)?;
    delete(tables, Table::Caches, &key::cache(&destroy.cache))?;
    Ok(Outcome::CacheDestroyed { paths, nars })
}
