//! How fast a round of scrubbing goes, and when the next one begins: pure.
//!
//! A round begins half a period after the last one began, and is paced to take two fifths of a period at most. So
//! however the store grows between two rounds, no byte waits longer than a period to be read back.

use std::time::Duration;

use tetryx_protocol::time::UtcTime;

/// A round goes at least so fast, in bytes per second: a small store is done within hours.
const PACE_MIN: u64 = 256 << 10;

/// The wait until the next round, when the last one began at `begun`.
pub(super) fn next_round(begun: UtcTime, now: UtcTime, period: Duration) -> Duration {
    let interval = period / 2;
    // A clock that was set back does not put it off.
    interval.saturating_sub(now.since(begun)).min(interval)
}

/// What a round reads in a second, and whether that is enough to end it in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) bytes_per_second: u64,
    pub(super) is_enough: bool,
}

/// The pace of a round that began at `begun` and has `left` bytes to go.
pub(super) fn pace(left: u64, begun: UtcTime, now: UtcTime, period: Duration, rate: u64) -> Pace {
    let time_left = (period * 2 / 5).saturating_sub(now.since(begun));
    let millis = u64::try_from(time_left.as_millis()).unwrap_or(u64::MAX);
    let needed = left.saturating_mul(1000).checked_div(millis).unwrap_or(u64::MAX);
    Pace {
        bytes_per_second: needed.max(PACE_MIN).min(rate),
        is_enough: needed <= rate || left == 0,
    }
}

/// How long reading so many bytes lasts at a pace.
pub(super) fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);
    const RATE: u64 = 16 << 20;
    const BEGUN: UtcTime = UtcTime::from_unix_ms(1_000_000_000_000);

    #[test]
    fn a_round_begins_half_a_period_after_the_last_began() {
        assert_eq!(next_round(BEGUN, BEGUN.plus(DAY), PERIOD), DAY * 14);
        assert_eq!(next_round(BEGUN, BEGUN.plus(DAY * 40), PERIOD), Duration::ZERO);
        let set_back = UtcTime::from_unix_ms(0);
        assert_eq!(next_round(BEGUN, set_back, PERIOD), DAY * 15);
    }

    #[test]
    fn a_round_is_paced_to_end_within_two_fifths_of_a_period() {
        let terabyte = 1_000_000_000_000;
        let begun = pace(terabyte, BEGUN, BEGUN, PERIOD, RATE);
        assert_eq!(begun.bytes_per_second, terabyte / (12 * 24 * 3600));
        assert!(begun.is_enough);
        // Behind its time it goes faster, and never faster than it may.
        let behind = pace(terabyte / 2, BEGUN, BEGUN.plus(DAY * 11), PERIOD, RATE);
        assert_eq!(behind.bytes_per_second, terabyte / 2 / (24 * 3600));
        let late = pace(terabyte, BEGUN, BEGUN.plus(DAY * 13), PERIOD, RATE);
        assert_eq!((late.bytes_per_second, late.is_enough), (RATE, false));
    }

    #[test]
    fn a_small_store_is_not_stretched_over_weeks() {
        let pace = pace(1 << 30, BEGUN, BEGUN, PERIOD, RATE);
        assert_eq!(pace.bytes_per_second, PACE_MIN);
        assert_eq!(time_for(1 << 20, PACE_MIN), Duration::from_secs(4));
    }
}
