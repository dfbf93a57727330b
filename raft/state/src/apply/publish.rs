//! Publishing a batch of paths: all of them become visible, or none.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::{StorePath, StorePathHash};

use super::{Context, Step, cache, nar};
use crate::access::{Access, get, put, put_empty};
use crate::command::{NewPath, PublishPaths};
use crate::key;
use crate::limits::check_signatures;
use crate::records::PathRecord;
use crate::reply::{Difference, Outcome, Refusal, first_few};
use crate::tables::{ReadTables, Table, Tables};

/// A batch without duplicates, in the order of the hashes.
type Batch = BTreeMap<StorePathHash, NewPath>;

pub(super) fn publish<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    publish: &PublishPaths,
) -> Step<T, Outcome> {
    let cache = cache::require(tables, &publish.cache)?;
    let batch = merge(&publish.paths)?;
    let mut references = References {
        tables: &*tables,
        cache: &publish.cache,
        batch: &batch,
        upstream: if cache.upstream_key_names.is_empty() {
            BTreeSet::new()
        } else {
            publish.upstream.iter().collect()
        },
        known: BTreeMap::new(),
    };
    let mut new = Vec::new();
    let mut updated = Vec::new();
    for path in batch.values() {
        let existing: Option<PathRecord> = get(
            references.tables,
            &key::path(&publish.cache, &path.store_path.hash),
        )?;
        match existing {
            Some(existing) => updated.extend(add_signatures(&publish.cache, existing, path)?),
            None => new.push((path, references.absent(path)?)),
        }
    }
    let published = count(new.len());
    let unchanged = count(batch.len()) - published - count(updated.len());
    let outcome = Outcome::Published {
        published,
        updated: count(updated.len()),
        unchanged,
    };
    for (path, absent) in new {
        insert(tables, context, &publish.cache, path, absent)?;
    }
    for record in updated {
        put(tables, &key::path(&publish.cache, &record.hash()), &record)?;
    }
    Ok(outcome)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits 64 bits")
}

/// Brings references and signatures into order, and says each path once.
fn merge(paths: &[NewPath]) -> Result<Batch, Refusal> {
    let mut batch = Batch::new();
    for path in paths {
        let mut path = path.clone();
        path.references.sort_unstable();
        path.references.dedup();
        path.signatures.sort_unstable();
        path.signatures.dedup();
        match batch.get(&path.store_path.hash) {
            None => {
                batch.insert(path.store_path.hash, path);
            }
            Some(same) if *same == path => {}
            Some(_) => {
                return Err(Refusal::DuplicatePath {
                    path: path.store_path,
                });
            }
        }
    }
    Ok(batch)
}

/// What becomes of a path that is there already: a conflict, a record with more signatures, or nothing.
fn add_signatures(
    cache: &CacheName,
    mut existing: PathRecord,
    path: &NewPath,
) -> Result<Option<PathRecord>, Refusal> {
    let what = if existing.store_path != path.store_path {
        Some(Difference::Name)
    } else if existing.nar_hash != path.nar_hash {
        Some(Difference::Content)
    } else if existing.references != path.references {
        Some(Difference::References)
    } else {
        None
    };
    if let Some(what) = what {
        return Err(Refusal::PathConflict {
            cache: cache.clone(),
            path: existing.store_path,
            what,
            nar_hash: existing.nar_hash,
        });
    }
    let before = existing.signatures.len();
    existing.signatures.extend(path.signatures.iter().cloned());
    existing.signatures.sort_unstable();
    existing.signatures.dedup();
    check_signatures(existing.signatures.len())?;
    Ok((existing.signatures.len() > before).then_some(existing))
}

/// Finds out where references are.
struct References<'a, T> {
    tables: &'a T,
    cache: &'a CacheName,
    batch: &'a Batch,
    upstream: BTreeSet<&'a StorePath>,
    /// What the cache has under a hash that was looked up: the paths of a batch share most of their references.
    known: BTreeMap<StorePathHash, Option<StorePath>>,
}

impl<T: ReadTables> References<'_, T> {
    /// Those references of `path` that an upstream cache has instead of this one.
    fn absent(&mut self, path: &NewPath) -> Step<T, Vec<StorePath>> {
        let (mut absent, mut missing) = (Vec::new(), Vec::new());
        for reference in &path.references {
            if *reference == path.store_path || self.is_in_batch(reference) || self.is_in_cache(reference)? {
                continue;
            }
            if self.upstream.contains(reference) {
                absent.push(reference.clone());
            } else {
                missing.push(reference.clone());
            }
        }
        if missing.is_empty() {
            return Ok(absent);
        }
        let (missing, more) = first_few(missing);
        Err(Refusal::MissingReferences {
            path: path.store_path.clone(),
            missing,
            more,
        }
        .into())
    }

    fn is_in_batch(&self, reference: &StorePath) -> bool {
        self.batch
            .get(&reference.hash)
            .is_some_and(|path| path.store_path == *reference)
    }

    fn is_in_cache(&mut self, reference: &StorePath) -> Access<T, bool> {
        if let Some(known) = self.known.get(&reference.hash) {
            return Ok(known.as_ref() == Some(reference));
        }
        let record: Option<PathRecord> = get(self.tables, &key::path(self.cache, &reference.hash))?;
        let path = record.map(|record| record.store_path);
        let found = path.as_ref() == Some(reference);
        self.known.insert(reference.hash, path);
        Ok(found)
    }
}

fn insert<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    cache: &CacheName,
    path: &NewPath,
    absent_references: Vec<StorePath>,
) -> Access<T, ()> {
    nar::acquire(tables, &path.nar_hash, &path.nar)?;
    put_empty(
        tables,
        Table::Holders,
        &key::holder(cache, &path.nar_hash, &path.store_path.hash),
    )?;
    for reference in path
        .references
        .iter()
        .filter(|reference| **reference != path.store_path)
    {
        let key = key::referrer(cache, &reference.hash, &path.store_path.hash);
        put_empty(tables, Table::Referrers, &key)?;
    }
    let record = PathRecord {
        store_path: path.store_path.clone(),
        nar_hash: path.nar_hash,
        references: path.references.clone(),
        absent_references,
        deriver: path.deriver.clone(),
        system: path.system.clone(),
        ca: path.ca.clone(),
        signatures: path.signatures.clone(),
        created: context.now,
        created_by: context.by.to_owned(),
        last_access_day: context.now.unix_day(),
        pinned: None,
    };
    put(tables, &key::path(cache, &path.store_path.hash), &record)
}
