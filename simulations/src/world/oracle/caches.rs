//! The caches that are created, changed and destroyed all the time: by name, from a small set.
//!
//! # Invariants
//! - A name with much in doubt, or a long history, is given up for a fresh one, so that judging stays cheap.

use std::collections::BTreeMap;

use tetryx_protocol::cache::CacheName;

use super::linear::{History, OpId};
use super::registry::{Cache, CacheInput, CacheOutput};

/// Names in use at a time.
pub(crate) const NAMES: u64 = 4;
/// Operations in doubt, and operations at all, before a name is given up.
const DOUBTS_MAX: usize = 4;
const OPERATIONS_MAX: u64 = 200;

/// Something that goes on with a cache name.
#[derive(Debug)]
#[must_use]
pub(crate) struct CacheCall {
    name: CacheName,
    op: OpId,
}

/// The histories of those names.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    histories: BTreeMap<CacheName, History<Cache>>,
    generations: BTreeMap<u64, u64>,
    undecided: usize,
}

impl Caches {
    /// The name in this place, from 0 to [`NAMES`].
    pub(crate) fn name(&mut self, place: u64) -> CacheName {
        let generation = self.generations.entry(place).or_default();
        let named = |generation: u64| -> CacheName {
            let name = format!("short-{place}-{generation}");
            name.parse().expect("letters, digits and dashes")
        };
        let name = named(*generation);
        let is_spent = |history: &History<Cache>| {
            history.is_undecided() || history.doubts() > DOUBTS_MAX || history.operations() > OPERATIONS_MAX
        };
        let Some(history) = self.histories.get(&name).filter(|history| is_spent(history)) else {
            return name;
        };
        self.undecided += usize::from(history.is_undecided());
        if !history.is_busy() {
            self.histories.remove(&name);
        }
        *generation += 1;
        named(*generation)
    }

    /// A request about the cache is sent.
    pub(crate) fn begin(&mut self, name: &CacheName, input: CacheInput) -> CacheCall {
        let op = self.histories.entry(name.clone()).or_default().begin(input);
        CacheCall {
            name: name.clone(),
            op,
        }
    }

    /// It was answered.
    ///
    /// # Errors
    /// In words, when one copy of the cache could not have answered that.
    pub(crate) fn answered(&mut self, call: CacheCall, said: CacheOutput) -> Result<(), String> {
        let Some(history) = self.histories.get_mut(&call.name) else {
            return Ok(());
        };
        let answered = history.answered(call.op, &said);
        answered.map_err(|error| format!("cache {}: {error}", call.name))
    }

    /// It had no effect, and nothing follows from the answer.
    pub(crate) fn without_effect(&mut self, call: CacheCall) {
        if let Some(history) = self.histories.get_mut(&call.name) {
            history.without_effect(call.op);
        }
    }

    /// It is over, perhaps without effect.
    pub(crate) fn perhaps(&mut self, call: CacheCall) {
        if let Some(history) = self.histories.get_mut(&call.name) {
            history.perhaps(call.op);
        }
    }

    /// Nobody knows.
    pub(crate) fn in_doubt(&mut self, call: CacheCall) {
        if let Some(history) = self.histories.get_mut(&call.name) {
            history.in_doubt(call.op);
        }
    }

    /// How many names were given up because there was too much to judge.
    pub(crate) fn undecided(&self) -> usize {
        self.undecided
            + self
                .histories
                .values()
                .filter(|history| history.is_undecided())
                .count()
    }
}
