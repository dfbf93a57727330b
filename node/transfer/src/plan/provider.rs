//! What the planner knows of one provider: how fast it is, what it lacks, what it owes.

use std::collections::BTreeSet;
use std::time::Duration;

use tetryx_protocol::time::Elapsed;

/// Round trip assumed until one is measured.
const RTT_UNKNOWN: Duration = Duration::from_millis(50);
/// Rate assumed, in bytes per second, until one is measured.
const RATE_UNKNOWN: u64 = 4 << 20;
/// Rates are measured over at least this long.
const SAMPLE_MIN: Duration = Duration::from_millis(50);
/// Work kept with a provider beyond what two round trips carry.
const SLACK: Duration = Duration::from_millis(100);
/// About the size of a large item.
const ITEM_BYTES: u64 = 128 << 10;
/// Kept with a provider whose rate is not known.
const WINDOW_FIRST: u64 = 1 << 20;
/// The least and the most bytes kept with one provider.
const WINDOW_MIN: u64 = 128 << 10;
const WINDOW_MAX: u64 = 32 << 20;
/// Rest after the first failure; doubles with every further one.
const REST_FIRST: Duration = Duration::from_millis(250);
const REST_MAX: Duration = Duration::from_secs(4);
/// A provider with work that delivers nothing for this long, or six round trips, has stalled.
const STALL_MIN: Duration = Duration::from_secs(3);

/// One provider, as the planner sees it.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    /// Listed by the caller at present; one that is not gets no new orders.
    pub(super) listed: bool,
    /// Place in the caller's list: decides between equals.
    pub(super) preference: usize,
    /// Lied once.
    pub(super) banned: bool,
    /// Items it has said not to have.
    pub(super) lacks: BTreeSet<u32>,
    /// Whether it has ever delivered an item.
    pub(super) proven: bool,
    /// Estimated bytes it was asked for and has not delivered.
    pub(super) outstanding: u64,
    /// No new orders before this moment: it failed, or its budget is used up.
    pub(super) rests_until: Elapsed,
    failures: u32,
    rtt: Option<Duration>,
    rate: Option<u64>,
    /// Beginning of the running sample; `None` until something arrives.
    sample_start: Option<Elapsed>,
    sample_bytes: u64,
    /// When it last delivered something, or began to owe something.
    pub(super) heard: Elapsed,
}

impl Provider {
    pub(super) const fn new(now: Elapsed, preference: usize) -> Self {
        Self {
            listed: true,
            preference,
            banned: false,
            lacks: BTreeSet::new(),
            proven: false,
            outstanding: 0,
            rests_until: Elapsed::ZERO,
            failures: 0,
            rtt: None,
            rate: None,
            sample_start: None,
            sample_bytes: 0,
            heard: now,
        }
    }

    pub(super) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(RTT_UNKNOWN)
    }

    pub(super) const fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(rtt);
    }

    /// A rate known from elsewhere; counts until one is measured here.
    pub(super) fn set_rate_hint(&mut self, rate: u64) {
        self.rate.get_or_insert(rate.max(1));
    }

    /// The rate as last measured, in bytes per second.
    pub(super) const fn measured_rate(&self) -> Option<u64> {
        self.rate
    }

    /// The rate to reckon with now, in bytes per second: lower than measured while it owes and is silent.
    pub(super) fn rate(&self, now: Elapsed) -> u64 {
        let rate = self.rate.unwrap_or(RATE_UNKNOWN);
        let silent = now.saturating_sub(self.heard);
        let patience = self.rtt() * 2 + SLACK * 2;
        if self.outstanding == 0 || silent <= patience {
            return rate;
        }
        // At most what would look the same from here: that an item has been on its way ever since.
        let rate_max = scale(ITEM_BYTES, Duration::from_secs(1), silent);
        rate.min(rate_max).max(1)
    }

    /// How many bytes may be asked of it at once: enough that it is never idle between two orders.
    pub(super) fn window(&self) -> u64 {
        let Some(rate) = self.rate else {
            return WINDOW_FIRST;
        };
        let reach = self.rtt() * 2 + SLACK;
        scale(rate, reach, Duration::from_secs(1)).clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// When `bytes` more would be here, reckoned from now.
    pub(super) fn eta(&self, now: Elapsed, bytes: u64) -> Duration {
        self.rtt() + time_for(self.outstanding + bytes, self.rate(now))
    }

    /// How often it has failed since it last delivered something.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it may get an order now.
    pub(super) fn is_ready(&self, now: Elapsed) -> bool {
        self.listed && !self.banned && self.rests_until <= now
    }

    pub(super) fn stall_after(&self) -> Duration {
        STALL_MIN.max(self.rtt() * 6)
    }

    pub(super) fn begin(&mut self, now: Elapsed, bytes: u64) {
        if self.outstanding == 0 {
            self.heard = now;
            self.sample_start = None;
        }
        self.outstanding += bytes;
    }

    /// Notes that an item came in: `bytes` on the wire, `estimate` as it was reckoned in `outstanding`.
    pub(super) fn deliver(&mut self, now: Elapsed, bytes: u64, estimate: u64) {
        self.settle(estimate);
        self.proven = true;
        self.failures = 0;
        self.heard = now;
        let Some(start) = self.sample_start else {
            // What arrives first says when delivery began, not how fast it is.
            self.sample_start = Some(now);
            self.sample_bytes = 0;
            return;
        };
        self.sample_bytes += bytes;
        let taken = now.saturating_sub(start);
        if taken < SAMPLE_MIN.max(self.rtt() / 2) {
            return;
        }
        let sample = scale(self.sample_bytes, Duration::from_secs(1), taken).max(1);
        self.rate = Some(
            self.rate
                .map_or(sample, |rate| (rate / 2).saturating_add(sample.div_ceil(2))),
        );
        self.sample_start = Some(now);
        self.sample_bytes = 0;
    }

    /// Takes an item off what it owes.
    pub(super) const fn settle(&mut self, estimate: u64) {
        self.outstanding = self.outstanding.saturating_sub(estimate);
    }

    /// Takes its silence for its rate, before it owes nothing any more and the silence means nothing.
    pub(super) fn slow_down(&mut self, now: Elapsed) {
        self.rate = Some(self.rate(now));
    }

    /// It failed as a whole: it rests, longer each time.
    pub(super) fn fail(&mut self, now: Elapsed) {
        let rest = REST_FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(REST_MAX);
        self.failures += 1;
        self.slow_down(now);
        self.rests_until = self.rests_until.max(now.plus(rest));
        self.sample_start = None;
    }
}

/// `value · numerator / denominator`.
pub(super) fn scale(value: u64, numerator: Duration, denominator: Duration) -> u64 {
    let scaled = u128::from(value) * numerator.as_nanos() / denominator.as_nanos().max(1);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// How long `bytes` take at `rate` bytes per second.
pub(super) fn time_for(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
