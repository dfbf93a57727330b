//! How far the log was when: what is acknowledged at one time is in every later answer that claims to be fresh.

use std::time::Duration;

/// The highest log index acknowledged so far, whenever it grew.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    grown: Vec<(Duration, u64)>,
}

impl Acknowledged {
    /// Something was acknowledged as of this log index.
    pub(crate) fn note(&mut self, now: Duration, index: u64) {
        if self.grown.last().is_none_or(|(_, highest)| *highest < index) {
            self.grown.push((now, index));
        }
    }

    /// The highest index that was acknowledged before that time.
    pub(crate) fn before(&self, time: Duration) -> u64 {
        let count = self.grown.partition_point(|(at, _)| *at < time);
        count.checked_sub(1).map_or(0, |last| self.grown[last].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_counts_from_then_on() {
        let mut acknowledged = Acknowledged::default();
        let seconds = Duration::from_secs;
        acknowledged.note(seconds(10), 5);
        acknowledged.note(seconds(20), 4);
        acknowledged.note(seconds(30), 9);
        for (at, index) in [(5, 0), (10, 0), (11, 5), (30, 5), (31, 9)] {
            assert_eq!(acknowledged.before(seconds(at)), index, "at {at} s");
        }
    }
}
