//! What a flow that does as TCP does would have in flight.

use std::time::Instant;

/// Growth of cubic, in packets per cubic second (RFC 9438, section 4.1.2).
const GROWTH: f64 = 0.4;

/// What is left of the window after a loss (RFC 9438, section 4.6).
const KEPT: f64 = 0.7;

/// Rounds of a queue that stands although we gave way, after which it is somebody else's.
const QUEUED_ROUNDS: u32 = 3;

/// Rounds after which it is tried whether the other flow is still there, by giving way.
const CONTEST_ROUNDS: u32 = 32;

/// The part of the window that is kept when giving way to see whether anybody is there.
pub(super) const KEPT_AFTER_CONTEST: f64 = 0.7;

/// Whether another flow fills the queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Contest {
    queued: u32,
    left: u32,
}

impl Contest {
    /// Whether the window of the [`Rival`] counts.
    pub(super) fn is_on(&self) -> bool {
        self.left > 0
    }

    /// A round is over, in which a queue stood although we had given way (`queued`), or in which there was none.
    pub(super) fn round(&mut self, queued: bool, none: bool) {
        if self.left > 0 {
            self.left -= 1;
            // Found out again at once if nothing has changed.
            self.queued = 0;
        } else if queued {
            self.queued += 1;
            if self.queued >= QUEUED_ROUNDS {
                self.left = CONTEST_ROUNDS;
            }
        } else if none {
            self.queued = 0;
        }
    }
}

/// The window of cubic (RFC 9438), which answers to loss alone.
#[derive(Debug, Clone)]
pub(super) struct Rival {
    /// In bytes.
    window: f64,
    /// The window at the last loss, in bytes.
    window_max: f64,
    /// When it began to grow: from [`KEPT`] of `window_max` after a loss, else from all of it.
    since: Instant,
    lost: bool,
}

impl Rival {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: 0.0,
            window_max: 0.0,
            since: now,
            lost: false,
        }
    }

    /// In bytes.
    pub(super) fn window(&self) -> f64 {
        self.window
    }

    /// There is nothing to compete for: it will begin with this window.
    pub(super) fn follow(&mut self, now: Instant, window: f64) {
        self.window = window;
        self.window_max = window;
        self.since = now;
        self.lost = false;
    }

    /// Grows with the time since the last loss.
    pub(super) fn grow(&mut self, now: Instant, packet: f64) {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        let max = self.window_max / packet;
        let until_back = if self.lost {
            (max * (1.0 - KEPT) / GROWTH).cbrt()
        } else {
            0.0
        };
        let target = GROWTH * (elapsed - until_back).powi(3) + max;
        self.window = self.window.max(target * packet);
    }

    /// Loss well above the link's own.
    pub(super) fn lose(&mut self, now: Instant) {
        self.window_max = self.window;
        self.window *= KEPT;
        self.since = now;
        self.lost = true;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quinn::{Runtime, TokioRuntime};

    use super::*;

    #[test]
    fn after_a_loss_the_window_is_back_when_cubic_would_be() {
        let now = TokioRuntime.now();
        let mut rival = Rival::new(now);
        rival.follow(now, 1_200_000.0);

        rival.lose(now);
        let after_loss = rival.window();
        // K = cbrt(1000 * 0.3 / 0.4) = 9.09 s.
        rival.grow(now + Duration::from_millis(9_090), 1200.0);

        assert!((after_loss - 840_000.0).abs() < 1.0);
        assert!(
            (rival.window() - 1_200_000.0).abs() < 2_000.0,
            "{}",
            rival.window()
        );
    }

    #[test]
    fn a_queue_that_stays_although_we_gave_way_is_contested_and_then_tried_again() {
        let mut contest = Contest::default();

        let begun: Vec<bool> = (0..3)
            .map(|_| {
                contest.round(true, false);
                contest.is_on()
            })
            .collect();
        let rounds = (0..100).take_while(|_| {
            contest.round(false, true);
            contest.is_on()
        });

        assert_eq!(begun, [false, false, true]);
        assert_eq!(rounds.count() as u32, CONTEST_ROUNDS - 1);
    }
}
