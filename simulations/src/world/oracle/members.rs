//! Which stations take part, as far as operators were told.

use std::collections::{BTreeMap, BTreeSet};

/// How far a station is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It takes part.
    Member,
    /// Somebody asked it to hand over what it has.
    Leaving,
    /// Somebody asked for its removal; whether that was done nobody may know.
    Removed,
}

/// The stations whose standing was ever changed, by number; all others are members.
#[derive(Debug, Default)]
pub(crate) struct Members {
    changed: BTreeMap<usize, Standing>,
}

impl Members {
    /// How far this station is.
    pub(crate) fn standing(&self, station: usize) -> Standing {
        self.changed.get(&station).copied().unwrap_or(Standing::Member)
    }

    /// Somebody asks the station to hand over what it has.
    pub(crate) fn leaves(&mut self, station: usize) {
        self.changed.entry(station).or_insert(Standing::Leaving);
    }

    /// It has joined after all.
    pub(crate) fn stays(&mut self, station: usize) {
        self.changed.remove(&station);
    }

    /// Somebody asks for its removal.
    pub(crate) fn is_removed(&mut self, station: usize) {
        self.changed.insert(station, Standing::Removed);
    }

    /// Those that were removed, or may have been.
    pub(crate) fn removed(&self) -> BTreeSet<usize> {
        let removed = self
            .changed
            .iter()
            .filter(|(_, standing)| **standing == Standing::Removed);
        removed.map(|(station, _)| *station).collect()
    }
}
