//! Time and chance as a simulation has them: time moves when it is turned, chance repeats.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tetryx_environment::{Clock, Entropy};
use tetryx_protocol::time::{Elapsed, UtcTime};

use crate::nar::noise;

/// 2026-03-02T12:00:00Z.
const START_MS: i64 = 1_772_452_800_000;

/// A clock that stands still unless turned.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(START_MS))
    }
}

impl TestClock {
    /// Moves time forward.
    pub fn turn(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn utc(&self) -> UtcTime {
        UtcTime::from_unix_ms(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed::from_nanos(u64::try_from(self.0.load(Ordering::SeqCst) - START_MS).unwrap() * 1_000_000)
    }
}

/// Randomness that is the same in every run and never repeats within one, restarts of the node included.
#[derive(Debug, Default)]
pub struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&noise(1 + self.0.fetch_add(1, Ordering::SeqCst), bytes.len()));
    }
}
