//! What became of what was taken, as far back as is remembered.

use std::collections::VecDeque;

use tetryx_protocol::api::{OutboxCounts, OutboxEntry, OutboxReport, OutboxState};

use super::Outbox;
use super::entry::Entry;

/// How many decided paths are remembered.
const REMEMBERED_MAX: usize = 2_000;

#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Newest last.
    entries: VecDeque<OutboxEntry>,
}

impl Decided {
    pub(super) fn add(&mut self, entry: &Entry, outcomes: Vec<OutboxState>) {
        for (path, state) in entry.paths.iter().zip(outcomes) {
            self.restore(OutboxEntry {
                cache: entry.cache.clone(),
                store_path: path.store_path.clone(),
                by: entry.by.clone(),
                accepted: entry.accepted,
                state,
            });
        }
    }

    pub(super) fn restore(&mut self, entry: OutboxEntry) {
        self.entries.push_back(entry);
        if self.entries.len() > REMEMBERED_MAX {
            self.entries.pop_front();
        }
    }

    pub(super) fn oldest_first(&self) -> impl Iterator<Item = &OutboxEntry> {
        self.entries.iter()
    }
}

impl Outbox {
    /// How many paths stand where.
    pub fn counts(&self) -> OutboxCounts {
        let state = self.inner.state.lock();
        let mut counts = OutboxCounts {
            waiting: state.waiting.paths() as u64,
            ..OutboxCounts::default()
        };
        for entry in &state.decided.entries {
            match entry.state {
                OutboxState::Waiting => {}
                OutboxState::Applied { .. } => counts.applied += 1,
                OutboxState::Duplicate { .. } => counts.duplicate += 1,
                OutboxState::Refused { .. } => counts.refused += 1,
            }
        }
        counts
    }

    /// What waits, oldest first, then what was decided, newest first; of those entries that `may_see` lets through.
    pub fn report(&self, may_see: impl Fn(&OutboxEntry) -> bool) -> OutboxReport {
        let counts = self.counts();
        let state = self.inner.state.lock();
        let waiting = state.waiting.all().flat_map(|(_, entry)| {
            entry.paths.iter().map(|path| OutboxEntry {
                cache: entry.cache.clone(),
                store_path: path.store_path.clone(),
                by: entry.by.clone(),
                accepted: entry.accepted,
                state: OutboxState::Waiting,
            })
        });
        let decided = state.decided.entries.iter().rev().cloned();
        let entries = waiting.chain(decided).filter(may_see).collect();
        OutboxReport { counts, entries }
    }
}
