//! A station's clock: virtual time, seen through an offset and a drift.

use std::time::Duration;

use parking_lot::Mutex;
use tetryx_environment::Clock;
use tetryx_protocol::time::{Elapsed, UtcTime};
use tokio::time::Instant;

/// 2026-03-02T12:00:00Z: when every world begins.
const START_MS: i64 = 1_772_452_800_000;

/// The virtual time of a runtime whose clock is paused.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam: the runtime's time is the world's"
)]
pub(super) fn virtual_now() -> Instant {
    Instant::now()
}

/// A clock as a machine has it: set wrong at first, and running fast or slow.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
    hands: Mutex<Hands>,
}

#[derive(Clone, Copy, Debug)]
struct Hands {
    /// By how much the wall time is ahead.
    offset_ms: i64,
    /// Microseconds gained per second.
    drift_ppm: i64,
    /// True time since the world began, and the clock's own, when the drift last changed.
    since: (Duration, Duration),
    /// The clock's own time when the process started.
    process_began: Duration,
}

impl Hands {
    fn own(&self, real: Duration) -> Duration {
        let passed = real.saturating_sub(self.since.0);
        let gained =
            i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX) * i128::from(self.drift_ppm) / 1_000_000;
        let own = i128::try_from((self.since.1 + passed).as_nanos()).unwrap_or(i128::MAX) + gained;
        Duration::from_nanos(u64::try_from(own).unwrap_or(0))
    }
}

impl SimClock {
    /// A clock that is right, in a world that began then.
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            hands: Mutex::new(Hands {
                offset_ms: 0,
                drift_ppm: 0,
                since: (Duration::ZERO, Duration::ZERO),
                process_began: Duration::ZERO,
            }),
        }
    }

    fn real(&self) -> Duration {
        virtual_now().saturating_duration_since(self.began)
    }

    /// Sets the wall time ahead, or behind where that is negative.
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.hands.lock().offset_ms = offset_ms;
    }

    /// Has it gain so many microseconds in each second, or lose them. The elapsed time stays without a jump.
    pub fn set_drift_ppm(&self, drift_ppm: i64) {
        let real = self.real();
        let mut hands = self.hands.lock();
        hands.since = (real, hands.own(real));
        hands.drift_ppm = drift_ppm;
    }

    /// By how much the wall time is ahead of the true one.
    pub fn error_ms(&self) -> i64 {
        let real = self.real();
        let hands = self.hands.lock();
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        hands.offset_ms + ms(hands.own(real)) - ms(real)
    }

    /// Sets the wall time right, whatever it gained since; the elapsed time stays without a jump.
    pub fn set_right(&self) {
        let error_ms = self.error_ms();
        self.hands.lock().offset_ms -= error_ms;
    }

    /// The process starts anew: its elapsed time begins again.
    pub(super) fn begin_process(&self) {
        let real = self.real();
        let mut hands = self.hands.lock();
        hands.process_began = hands.own(real);
    }
}

impl Clock for SimClock {
    fn utc(&self) -> UtcTime {
        let hands = *self.hands.lock();
        let own = i64::try_from(hands.own(self.real()).as_millis()).unwrap_or(i64::MAX);
        UtcTime::from_unix_ms(START_MS + hands.offset_ms + own)
    }

    fn elapsed(&self) -> Elapsed {
        let hands = *self.hands.lock();
        let own = hands.own(self.real()).saturating_sub(hands.process_began);
        Elapsed::from_nanos(u64::try_from(own.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_drifts_stays_without_a_jump() {
        // Given a clock that gains a tenth
        let clock = SimClock::new(virtual_now());
        clock.set_drift_ppm(100_000);

        // When ten seconds pass, and it loses a tenth for ten more
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(clock.elapsed(), Elapsed::from_nanos(11_000_000_000));
        clock.set_drift_ppm(-100_000);
        tokio::time::sleep(Duration::from_secs(10)).await;

        // Then it is right again, and never went back
        assert_eq!(clock.elapsed(), Elapsed::from_nanos(20_000_000_000));
        assert_eq!(clock.error_ms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_right_is_right() {
        let clock = SimClock::new(virtual_now());
        clock.set_drift_ppm(20_000);
        clock.set_offset_ms(-7000);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(clock.error_ms(), -5000);
        clock.set_drift_ppm(0);
        clock.set_right();
        assert_eq!(clock.error_ms(), 0);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(clock.error_ms(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_process_counts_from_its_own_beginning() {
        let clock = SimClock::new(virtual_now());
        tokio::time::sleep(Duration::from_secs(10)).await;
        clock.begin_process();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(clock.elapsed(), Elapsed::from_nanos(3_000_000_000));
        clock.set_offset_ms(-5000);
        assert_eq!(clock.utc(), UtcTime::from_unix_ms(START_MS + 8000));
    }
}
