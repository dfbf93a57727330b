//! How often each thing happened: a run that claims a fault must have exercised it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Counters by name.
#[derive(Debug, Default)]
pub(super) struct Coverage(Mutex<BTreeMap<&'static str, u64>>);

impl Coverage {
    pub(super) fn add(&self, what: &'static str, count: u64) {
        *self.0.lock().entry(what).or_default() += count;
    }

    /// How often that happened.
    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.lock().get(what).copied().unwrap_or(0)
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }

    /// The names that never happened.
    pub(super) fn missing(&self, claimed: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
        let counts = self.0.lock();
        claimed
            .filter(|what| counts.get(what).copied().unwrap_or(0) == 0)
            .collect()
    }
}
