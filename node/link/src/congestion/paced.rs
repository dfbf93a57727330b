//! A rate instead of a window: for long paths and for links whose rate is known.
//!
//! The window is what the rate needs for one round trip, so quinn's pacer, which spreads a window over a round trip,
//! sends at that rate. Once a round trip the rate is judged:
//!
//! | sign | answer |
//! |---|---|
//! | no queue, no more loss than the link has by itself | up: quickly to what was once delivered, then 1 % |
//! | a queue that stands ([`QUEUE_HIGH`] of the path, or [`QUEUE_HIGH_MIN`]) | down to what is delivered, less the queue |
//! | loss well above the link's own ([`LossBook`]) | down by up to 30 % |
//!
//! Beside a flow that fills every queue, as TCP does, whoever gives way to a queue ends with nothing. So the window
//! does not fall below that of a [`Rival`], which answers to such loss alone, as cubic does.
//!
//! # Invariants
//! - It sends no faster than the configured rate.
//! - The window is at least four packets.

use std::any::Any;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerMetrics};
use quinn_proto::RttEstimator;

use super::rival::{Contest, KEPT_AFTER_CONTEST, Rival};
use super::rounds::{LossBook, Round, RoundFigures};
use crate::LinkSettings;

/// Bytes of IP and UDP headers around a QUIC packet, which a configured rate has to carry, too.
const HEADERS: f64 = 28.0;

/// Packets sent before anything is known, unless rate and round trip are configured.
const INITIAL_PACKETS: u64 = 128;

/// A queue below this share of the path's round trip is none.
const QUEUE_LOW: f64 = 0.02;

/// A queue above this share of the path's round trip is too long.
const QUEUE_HIGH: f64 = 0.05;

/// Smaller queues than this, in seconds, are noise.
const QUEUE_HIGH_MIN: f64 = 0.005;

/// Time added to the round trip that the window has to span, in seconds: timers and acknowledgements come late.
const SLACK: f64 = 0.002;

/// What is added to the window for each byte that is acknowledged, while starting.
const STARTING_GROWTH: f64 = 1.8;

/// A step up beyond what was ever delivered.
const STEP: f64 = 0.01;

/// The longest step up to what was once delivered.
const STEP_MAX: f64 = 0.12;

/// The longest step up while far below what was once delivered.
const STEP_FAR_MAX: f64 = 0.5;

/// What a little loss takes away, and what much does.
const LOSS_STEP_MIN: f64 = 0.05;
const LOSS_STEP_MAX: f64 = 0.3;

/// Rounds that a step down takes to show: none is made before.
const HOLD_ROUNDS: u32 = 2;

/// Rounds until what was lost while starting is all known.
const START_HOLD_ROUNDS: u32 = 4;

/// Rounds without a sign of another flow after which the rate may rise quickly.
const ALONE_ROUNDS: u32 = 8;

/// Half the time for which the shortest round trip is believed: a path may change.
const BASE_HALF: Duration = Duration::from_secs(300);

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct Paced {
    mtu: u64,
    /// The configured rate of the link, in bits per second.
    limit: Option<u64>,
    /// Bytes per second. Meaningless until the first round trip is known.
    rate: f64,
    /// In bytes.
    window: f64,
    /// Where the window goes, with each byte that is acknowledged, and from where.
    target: (f64, f64),
    /// Growing fast until something gives way.
    starting: bool,
    /// The shortest round trip, in seconds: of the last one or two times [`BASE_HALF`].
    base: f64,
    /// The shortest since then.
    base_next: (f64, Instant),
    /// The fastest delivery seen, in bytes per second; fades slowly.
    best: f64,
    /// What another flow would have in flight.
    rival: Rival,
    /// Whether there is another flow.
    contest: Contest,
    /// The next step up, as a factor.
    step: f64,
    /// Rounds to wait before the next step down: the last one has not shown yet.
    hold: u32,
    /// Rounds since the last sign of another flow.
    alone: u32,
    round: Round,
    losses: LossBook,
    marked: bool,
}

impl Paced {
    /// For a path of which the settings and perhaps a first round trip are known.
    pub(super) fn new(now: Instant, mtu: u16, settings: LinkSettings, rtt: Option<Duration>) -> Self {
        let mut paced = Self {
            mtu: mtu.into(),
            limit: settings.rate,
            rate: 0.0,
            window: (INITIAL_PACKETS * u64::from(mtu)) as f64,
            target: (0.0, 0.0),
            starting: true,
            base: f64::INFINITY,
            base_next: (f64::INFINITY, now),
            best: 0.0,
            rival: Rival::new(now),
            contest: Contest::default(),
            step: STEP,
            hold: 0,
            alone: ALONE_ROUNDS,
            round: Round::new(now),
            losses: LossBook::default(),
            marked: false,
        };
        if let (Some(limit), Some(rtt)) = (paced.limit_bytes(), rtt.or(settings.rtt)) {
            paced.rate = limit;
            paced.begin_at_limit(rtt.as_secs_f64());
        }
        paced
    }

    /// Another rate is configured.
    pub(super) fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
        let Some(limit) = self.limit_bytes() else {
            return;
        };
        if self.starting && self.base.is_finite() {
            self.rate = limit;
            self.begin_at_limit(self.base);
        }
        self.rate = self.rate.min(limit);
    }

    /// Starts with the configured rate: quinn's pacer sends a window in four fifths of a round trip.
    fn begin_at_limit(&mut self, rtt: f64) {
        self.starting = false;
        self.set_window(0.8 * self.needed(rtt));
    }

    /// The configured rate in bytes of QUIC packets per second.
    fn limit_bytes(&self) -> Option<f64> {
        let mtu = self.mtu as f64;
        self.limit.map(|bits| bits as f64 / 8.0 * mtu / (mtu + HEADERS))
    }

    /// Four packets each round trip, in bytes per second.
    fn slowest(&self) -> f64 {
        4.0 * self.mtu as f64 / (self.base + SLACK)
    }

    /// The window that the rate needs for a time in seconds.
    fn needed(&self, span: f64) -> f64 {
        (self.rate * (span + SLACK)).max(4.0 * self.mtu as f64)
    }

    fn set_window(&mut self, window: f64) {
        self.window = window;
        self.target = (window, window);
    }

    /// Moves the window in proportion to what is acknowledged: quinn's pacer would send a leap at once.
    fn move_window(&mut self, acked: u64) {
        let (from, to) = self.target;
        let moved = self.window + (to - from) * acked as f64 / from;
        self.window = if from < to { moved.min(to) } else { moved.max(to) };
    }

    fn judge(&mut self, now: Instant, figures: RoundFigures) {
        self.learn_base(now, figures.rtt_min);
        let queue = figures.rtt_min - self.base;
        let high = (QUEUE_HIGH * self.base).max(QUEUE_HIGH_MIN);
        let low = (QUEUE_LOW * self.base).max(QUEUE_HIGH_MIN / 2.0);
        let excess = self.losses.round(figures.packets, self.alone == 0);
        let congested = excess.is_some_and(|excess| excess > 0.0) || std::mem::take(&mut self.marked);
        if !figures.app_limited || figures.delivered > self.best {
            self.best = figures.delivered.max(self.best * 0.998);
        }
        tracing::trace!(
            starting = self.starting,
            rate = self.rate * 8e-6,
            best = self.best * 8e-6,
            delivered = figures.delivered * 8e-6,
            queue,
            rival = self.rival.window() / self.base * 8e-6,
            excess,
            own = self.losses.own(),
            limited = figures.app_limited,
            contest = self.contest.is_on(),
            "round"
        );
        if self.starting {
            self.start(figures, queue > high, congested);
            return;
        }
        self.hold = self.hold.saturating_sub(1);
        self.alone = self.alone.saturating_add(1);
        if congested && self.hold == 0 {
            self.alone = 0;
            self.rate *= 1.0 - LOSS_STEP_MIN - (LOSS_STEP_MAX - LOSS_STEP_MIN) * excess.unwrap_or(1.0);
            self.rival.lose(now);
            self.hold = HOLD_ROUNDS;
            self.step = STEP;
        }
        if self.contest.is_on() {
            self.alone = 0;
            if !congested {
                self.rival.grow(now, self.mtu as f64);
            }
            self.rate = KEPT_AFTER_CONTEST * self.rival.window() / self.base;
        } else if queue > high {
            // Of a sender that had nothing to send, what was delivered says nothing.
            if self.hold == 0 && !figures.app_limited {
                self.rate = self.rate.min(figures.delivered) * 0.98;
                self.hold = HOLD_ROUNDS;
                self.step = STEP;
            }
        } else if queue < low && !congested {
            if !figures.app_limited && self.hold == 0 {
                self.grow();
            }
            self.rival.follow(now, self.rate * self.base / 2.0);
        }
        self.rate = self.rate.max(self.slowest());
        let yielded = self.rate * self.base <= self.rival.window();
        self.contest.round(queue > high && yielded, queue < low);
        // Variation that is no queue, such as a jittery path, must not cost speed.
        let jitter = (figures.rtt_mean - figures.rtt_min).clamp(0.0, self.base / 4.0);
        let mut window = self.needed(self.base + jitter);
        if self.contest.is_on() {
            let limit = self.limit_bytes().unwrap_or(f64::INFINITY) * figures.rtt_mean;
            window = window.max(self.rival.window().min(limit));
        }
        self.target = (self.window, window);
    }

    fn learn_base(&mut self, now: Instant, rtt: f64) {
        self.base = self.base.min(rtt);
        let (next, since) = &mut self.base_next;
        *next = next.min(rtt);
        if now.saturating_duration_since(*since) > BASE_HALF {
            self.base = *next;
            self.base_next = (f64::INFINITY, now);
        }
    }

    /// More each round, until the path shows that it is full.
    fn start(&mut self, figures: RoundFigures, queued: bool, congested: bool) {
        let limit = self.limit_bytes().unwrap_or(f64::INFINITY);
        self.rate = self.window / self.base;
        if self.rate >= limit {
            self.rate = limit;
        } else if (queued && !figures.app_limited) || congested {
            self.rate = figures.delivered * 0.98;
            self.hold = START_HOLD_ROUNDS;
        } else {
            return;
        }
        self.starting = false;
        self.rate = self.rate.max(self.slowest());
        self.rival.follow(figures.ended, self.rate * self.base / 2.0);
        self.set_window(self.needed(self.base));
    }

    fn grow(&mut self) {
        let limit = self.limit_bytes().unwrap_or(f64::INFINITY);
        let longest = match self.rate / self.best {
            reached if reached >= 0.95 => STEP,
            reached if reached < 0.25 => STEP_FAR_MAX,
            _ if self.alone < ALONE_ROUNDS => 2.0 * STEP,
            _ => STEP_MAX,
        };
        self.step = (self.step * 2.0).min(longest);
        self.rate = (self.rate * (1.0 + self.step)).min(limit);
    }
}

impl Controller for Paced {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _rtt: &RttEstimator) {
        self.round.ack(now, sent, bytes, app_limited);
        if !self.starting {
            self.move_window(bytes);
        } else if !app_limited {
            self.window += STARTING_GROWTH * bytes as f64;
        }
    }

    fn on_end_acks(&mut self, now: Instant, _in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        if let Some(figures) = self.round.finish(now) {
            self.judge(now, figures);
        }
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, persistent: bool, lost_bytes: u64) {
        if lost_bytes == 0 {
            self.marked = true;
        }
        self.losses.lose(lost_bytes.div_ceil(self.mtu));
        if persistent {
            // The path was away: begin anew.
            self.starting = true;
            self.contest = Contest::default();
            self.losses.begin_round();
            self.set_window(self.initial_window() as f64);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.window = self.window.max(4.0 * self.mtu as f64);
    }

    fn window(&self) -> u64 {
        self.window as u64
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = Some((self.rate * 8.0) as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
