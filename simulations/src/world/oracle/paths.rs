//! What clients were promised about paths.
//!
//! A publication and a deletion are acknowledged with the log index at which they were applied, so of two that are
//! both decided the later index counts. What was begun and not decided makes everything possible.
//!
//! # Invariants
//! - A push whose answer was lost stays open: it may be applied at any time later. So does one that a station took into
//!   its outbox, until that station says what became of it.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tetryx_protocol::api::OutboxState;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;

pub(crate) use self::kept::BRIEF;
use super::linear::{History, OpId};
use super::recipe::Recipe;
use super::registry::{Path, PathInput, PathOutput};

/// A path in a cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathKey {
    pub(crate) cache: CacheName,
    /// The serial of its recipe.
    pub(crate) serial: u64,
}

impl std::fmt::Display for PathKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "path {} of cache {}", self.serial, self.cache)
    }
}

impl std::fmt::Display for AcknowledgedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, acknowledged first by station-{} at {:.3} s, last published at log index {}",
            self.key,
            self.by,
            self.at.as_secs_f64(),
            self.index
        )
    }
}

/// What must be answered about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It is there, for whoever has applied the log up to this index.
    Present { from: u64 },
    /// It is not there, for whoever has applied the log up to this index.
    Gone { from: u64 },
    /// Something about it is not decided.
    Either,
}

/// What was promised about a path when a request began.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    key: PathKey,
    pub(crate) expected: Expected,
    /// The path waits in the outbox of that station, so that one serves it.
    pub(crate) provisional: bool,
    version: u64,
}

/// A path that is promised to be there.
#[derive(Clone, Debug)]
pub(crate) struct AcknowledgedPath {
    pub(crate) key: PathKey,
    /// The log index at which it was published.
    pub(crate) index: u64,
    /// Which station acknowledged it.
    pub(crate) by: usize,
    /// When, in virtual time.
    pub(crate) at: Duration,
}

/// A push under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct Push(Vec<(PathKey, OpId)>);

/// A deletion under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct Deletion(PathKey, OpId);

/// A read of the registry of paths under way.
#[derive(Debug)]
#[must_use]
pub(crate) struct PathRead(PathKey, OpId);

#[derive(Clone, Debug)]
struct Waiting {
    station: usize,
    op: OpId,
    /// Pushed alone, so that its outcome is its own.
    alone: bool,
    /// The token it was pushed with, unless that was the root token.
    token: Option<u64>,
}

#[derive(Debug)]
struct Promised {
    recipe: Recipe,
    nar_hash: NarHash,
    pushes_open: u32,
    deletes_open: u32,
    /// A deletion may have been applied.
    was_deleted: bool,
    published: Option<u64>,
    deleted: Option<u64>,
    acknowledged: Option<(usize, Duration)>,
    /// Counts what was begun and what became decided.
    version: u64,
    history: History<Path>,
    waiting: Vec<Waiting>,
    /// What stations have said became of what they took: by station and the time they took it.
    told: BTreeSet<(usize, i64)>,
    pins: kept::Pins,
}

impl Promised {
    fn expected(&self) -> Expected {
        if let Some(from) = self.pins.kept_from() {
            return Expected::Present { from };
        }
        match (self.published, self.deleted) {
            (Some(published), deleted) if self.deletes_open == 0 && deleted < Some(published) => {
                Expected::Present { from: published }
            }
            (published, Some(deleted)) if self.pushes_open == 0 && published < Some(deleted) => {
                Expected::Gone { from: deleted }
            }
            _ => Expected::Either,
        }
    }

    fn push_decided(&mut self, op: OpId, index: u64, said: PathOutput) -> Result<(), String> {
        self.pushes_open = self.pushes_open.saturating_sub(1);
        self.published = self.published.max(Some(index));
        self.version += 1;
        self.history.answered(op, &said)
    }
}

/// All paths of a world.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    paths: BTreeMap<PathKey, Promised>,
    by_hash: BTreeMap<(CacheName, String), PathKey>,
    next: u64,
    /// Stations that left the cluster, with what waited there.
    gone_stations: BTreeSet<usize>,
}

impl Paths {
    /// The serial of a path that nobody has made yet.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Makes a path known before it is pushed for the first time.
    pub(crate) fn introduce(&mut self, cache: &CacheName, recipe: Recipe, nar_hash: NarHash) -> PathKey {
        let key = PathKey {
            cache: cache.clone(),
            serial: recipe.serial,
        };
        let hash = recipe.store_path().hash.to_string();
        self.by_hash.insert((cache.clone(), hash), key.clone());
        let promised = Promised {
            recipe,
            nar_hash,
            pushes_open: 0,
            deletes_open: 0,
            was_deleted: false,
            published: None,
            deleted: None,
            acknowledged: None,
            version: 0,
            history: History::default(),
            waiting: Vec::new(),
            told: BTreeSet::new(),
            pins: kept::Pins::default(),
        };
        self.paths.insert(key.clone(), promised);
        key
    }

    /// All paths that were ever pushed, in order.
    pub(crate) fn keys(&self) -> Vec<PathKey> {
        self.paths.keys().cloned().collect()
    }

    /// How a path is made, and the hash of its NAR.
    pub(crate) fn recipe(&self, key: &PathKey) -> Option<(Recipe, NarHash)> {
        let promised = self.paths.get(key)?;
        Some((promised.recipe.clone(), promised.nar_hash))
    }

    /// What must be answered about a path by a station.
    pub(crate) fn expectation(&self, key: &PathKey, station: usize) -> Option<Expectation> {
        let promised = self.paths.get(key)?;
        let waits_there = promised.waiting.iter().any(|waiting| waiting.station == station);
        Some(Expectation {
            key: key.clone(),
            expected: promised.expected(),
            provisional: waits_there && !promised.was_deleted,
            version: promised.version,
        })
    }

    /// Whether nothing was begun or decided about the path since.
    pub(crate) fn still_holds(&self, expectation: &Expectation) -> bool {
        let now = self.paths.get(&expectation.key);
        now.is_some_and(|promised| promised.version == expectation.version)
    }

    /// The paths that are promised to be there.
    pub(crate) fn acknowledged(&self) -> Vec<AcknowledgedPath> {
        let present = self.paths.iter().filter_map(|(key, promised)| {
            let Expected::Present { from } = promised.expected() else {
                return None;
            };
            let (by, at) = promised.acknowledged?;
            Some(AcknowledgedPath {
                key: key.clone(),
                index: from,
                by,
                at,
            })
        });
        present.collect()
    }

    /// A commit of these paths is sent.
    pub(crate) fn push_begins(&mut self, keys: &[PathKey]) -> Push {
        let begin = |key: &PathKey| {
            let promised = self.paths.get_mut(key)?;
            promised.pushes_open += 1;
            promised.version += 1;
            if kept::may_leave(key) {
                promised.leaves_some_day();
            }
            Some((key.clone(), promised.history.begin(PathInput::Publish)))
        };
        Push(keys.iter().filter_map(begin).collect())
    }

    /// The cluster has them. `new` counts those that were not there before.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn pushed(
        &mut self,
        push: Push,
        station: usize,
        now: Duration,
        index: u64,
        new: u64,
    ) -> Result<(), String> {
        let said = match new {
            0 => PathOutput::Same,
            new if new == push.0.len() as u64 => PathOutput::New,
            _ => PathOutput::Published,
        };
        for (key, op) in push.0 {
            let promised = self.paths.get_mut(&key).expect("a push is of known paths");
            promised.acknowledged.get_or_insert((station, now));
            promised
                .push_decided(op, index, said)
                .map_err(|error| format!("{key}: {error}"))?;
        }
        Ok(())
    }

    /// They wait in the outbox of that station.
    pub(crate) fn taken(&mut self, push: Push, station: usize, token: Option<u64>) {
        let alone = push.0.len() == 1;
        for (key, op) in push.0 {
            let promised = self.paths.get_mut(&key).expect("a push is of known paths");
            promised.history.in_doubt(op);
            promised.version += 1;
            if !self.gone_stations.contains(&station) {
                promised.waiting.push(Waiting {
                    station,
                    op,
                    alone,
                    token,
                });
            }
        }
    }

    /// The commit was refused.
    pub(crate) fn not_pushed(&mut self, push: Push) {
        for (key, op) in push.0 {
            let promised = self.paths.get_mut(&key).expect("a push is of known paths");
            promised.pushes_open = promised.pushes_open.saturating_sub(1);
            promised.history.without_effect(op);
            promised.version += 1;
        }
    }

    /// Nobody knows.
    pub(crate) fn push_in_doubt(&mut self, push: Push) {
        for (key, op) in push.0 {
            let promised = self.paths.get_mut(&key).expect("a push is of known paths");
            promised.history.in_doubt(op);
        }
    }

    /// A station said what became of what it took. `is_live` tells of a token whether nobody ever tried to revoke it.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn outbox_says(
        &mut self,
        station: usize,
        cache: &CacheName,
        hash: &StorePathHash,
        accepted: UtcTime,
        state: &OutboxState,
        is_live: impl Fn(u64) -> bool,
    ) -> Result<(), String> {
        let Some(key) = self.by_hash.get(&(cache.clone(), hash.to_string())) else {
            return Ok(());
        };
        let stands_alone = {
            let promised = &self.paths[key];
            promised.recipe.references.is_empty()
        };
        let promised = self.paths.get_mut(key).expect("the index follows the paths");
        if matches!(state, OutboxState::Waiting) || !promised.told.insert((station, accepted.unix_ms())) {
            return Ok(());
        }
        let Some(at) = promised
            .waiting
            .iter()
            .position(|waiting| waiting.station == station)
        else {
            // It was taken, and the client never heard so.
            return Ok(());
        };
        let waiting = promised.waiting.remove(at);
        let decided = match state {
            OutboxState::Waiting => Ok(()),
            OutboxState::Applied { index } => {
                let said = if waiting.alone {
                    PathOutput::New
                } else {
                    PathOutput::Published
                };
                promised.push_decided(waiting.op, *index, said)
            }
            OutboxState::Duplicate { index } => {
                promised.push_decided(waiting.op, *index, PathOutput::Published)
            }
            OutboxState::Refused { reason } => {
                promised.pushes_open = promised.pushes_open.saturating_sub(1);
                promised.history.without_effect(waiting.op);
                promised.version += 1;
                match stands_alone && waiting.token.is_none_or(is_live) {
                    true => Err(format!(
                        "station {station} took it, and later it was refused though nothing stood in its way: {reason}"
                    )),
                    false => Ok(()),
                }
            }
        };
        decided.map_err(|error| format!("{key}: {error}"))
    }

    /// What waited at a station that left the cluster may be lost.
    pub(crate) fn station_left(&mut self, station: usize) {
        self.gone_stations.insert(station);
        for promised in self.paths.values_mut() {
            promised.waiting.retain(|waiting| waiting.station != station);
        }
    }

    /// The paths that wait somewhere, and where.
    pub(crate) fn waiting(&self) -> Vec<(PathKey, usize)> {
        let waiting = self.paths.iter().flat_map(|(key, promised)| {
            let at = promised.waiting.iter().map(|waiting| waiting.station);
            at.map(|station| (key.clone(), station))
        });
        waiting.collect()
    }

    /// A deletion is sent.
    pub(crate) fn deletion_begins(&mut self, key: &PathKey) -> Option<Deletion> {
        let promised = self.paths.get_mut(key)?;
        promised.deletes_open += 1;
        promised.was_deleted = true;
        promised.version += 1;
        Some(Deletion(key.clone(), promised.history.begin(PathInput::Delete)))
    }

    /// The path is deleted.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn deleted(&mut self, deletion: Deletion, index: u64) -> Result<(), String> {
        let Deletion(key, op) = deletion;
        let promised = self.paths.get_mut(&key).expect("a deletion is of a known path");
        promised.deletes_open = promised.deletes_open.saturating_sub(1);
        promised.deleted = promised.deleted.max(Some(index));
        promised.version += 1;
        let answered = promised.history.answered(op, &PathOutput::Deleted);
        answered.map_err(|error| format!("{key}: {error}"))
    }

    /// There was no such path.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn nothing_to_delete(&mut self, deletion: Deletion) -> Result<(), String> {
        let Deletion(key, op) = deletion;
        let promised = self.paths.get_mut(&key).expect("a deletion is of a known path");
        promised.deletes_open = promised.deletes_open.saturating_sub(1);
        promised.version += 1;
        let answered = promised.history.answered(op, &PathOutput::Missing);
        answered.map_err(|error| format!("{key}: {error}"))
    }

    /// The deletion was refused.
    pub(crate) fn not_deleted(&mut self, deletion: Deletion) {
        let Deletion(key, op) = deletion;
        let promised = self.paths.get_mut(&key).expect("a deletion is of a known path");
        promised.deletes_open = promised.deletes_open.saturating_sub(1);
        promised.history.without_effect(op);
        promised.version += 1;
    }

    /// Nobody knows.
    pub(crate) fn deletion_in_doubt(&mut self, deletion: Deletion) {
        let Deletion(key, op) = deletion;
        let promised = self.paths.get_mut(&key).expect("a deletion is of a known path");
        promised.history.in_doubt(op);
    }

    /// Somebody asks whether the path is there, and wants the newest answer.
    pub(crate) fn read_begins(&mut self, key: &PathKey) -> Option<PathRead> {
        let promised = self.paths.get_mut(key)?;
        Some(PathRead(key.clone(), promised.history.begin(PathInput::Read)))
    }

    /// It was answered.
    ///
    /// # Errors
    /// In words, when that cannot be.
    pub(crate) fn read(&mut self, read: PathRead, is_there: bool) -> Result<(), String> {
        let PathRead(key, op) = read;
        let promised = self.paths.get_mut(&key).expect("a read is of a known path");
        let answered = promised.history.answered(op, &PathOutput::Seen(is_there));
        answered.map_err(|error| format!("{key}: {error}"))
    }

    /// It was not.
    pub(crate) fn not_read(&mut self, read: PathRead) {
        let PathRead(key, op) = read;
        let promised = self.paths.get_mut(&key).expect("a read is of a known path");
        promised.history.without_effect(op);
    }

    /// How many paths were too much to judge the order of.
    pub(crate) fn undecided(&self) -> usize {
        let histories = self.paths.values().map(|promised| &promised.history);
        histories.filter(|history| history.is_undecided()).count()
    }
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
