//! What is learnt from one round trip, and from the losses of many.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A round is at least so long, so that its figures mean something on a short path.
const ROUND_MIN: Duration = Duration::from_millis(10);

/// Packets from which a loss rate is taken.
const LOSS_SAMPLE_PACKETS: u64 = 200;

/// Loss rates remembered: half of them is how long a link's own loss must have been there to count as its own.
const LOSS_SAMPLES: usize = 16;

/// So many packets lost in a round, of a link that loses none by itself, are many.
const LOST_FAR: f64 = 10.0;

/// Own loss past this is not believed: it would hide congestion.
const OWN_LOSS_MAX: f64 = 0.04;

/// What was acknowledged and lost since about one round trip.
#[derive(Debug, Clone)]
pub(super) struct Round {
    started: Instant,
    acked: u64,
    packets: u64,
    limited: u64,
    rtt_min: f64,
    rtt_sum: f64,
    sent_first: Option<Instant>,
    sent_last: Option<Instant>,
}

/// The figures of a finished round. Times in seconds, rates in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RoundFigures {
    pub(super) rtt_min: f64,
    pub(super) rtt_mean: f64,
    /// What arrived, per second.
    pub(super) delivered: f64,
    /// Whether the sender had less to send than it could have.
    pub(super) app_limited: bool,
    pub(super) packets: u64,
    pub(super) ended: Instant,
}

impl Round {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            acked: 0,
            packets: 0,
            limited: 0,
            rtt_min: f64::INFINITY,
            rtt_sum: 0.0,
            sent_first: None,
            sent_last: None,
        }
    }

    /// A packet was acknowledged.
    pub(super) fn ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool) {
        let rtt = now.saturating_duration_since(sent).as_secs_f64();
        self.acked += bytes;
        self.packets += 1;
        self.limited += u64::from(app_limited);
        self.rtt_min = self.rtt_min.min(rtt);
        self.rtt_sum += rtt;
        self.sent_first = Some(self.sent_first.map_or(sent, |first| first.min(sent)));
        self.sent_last = Some(self.sent_last.map_or(sent, |last| last.max(sent)));
    }

    /// The figures, if a packet that was sent since the round began is acknowledged.
    pub(super) fn finish(&mut self, now: Instant) -> Option<RoundFigures> {
        let (first, last) = (self.sent_first?, self.sent_last?);
        let elapsed = now.saturating_duration_since(self.started);
        if last < self.started || elapsed < ROUND_MIN {
            return None;
        }
        // Acknowledgements may come bunched: nothing arrives faster than it was sent.
        let sending = last.saturating_duration_since(first);
        let span = elapsed.max(sending).as_secs_f64();
        let packets = self.packets as f64;
        let figures = RoundFigures {
            rtt_min: self.rtt_min,
            rtt_mean: self.rtt_sum / packets,
            delivered: self.acked as f64 / span,
            app_limited: self.limited * 2 > self.packets,
            packets: self.packets,
            ended: now,
        };
        *self = Self::new(now);
        Some(figures)
    }
}

/// Tells a link's own loss, which comes all the time, from that of congestion, which comes in bursts.
#[derive(Debug, Clone, Default)]
pub(super) struct LossBook {
    acked: u64,
    lost: u64,
    rates: VecDeque<f64>,
}

impl LossBook {
    pub(super) fn lose(&mut self, packets: u64) {
        self.lost += packets;
    }

    /// Adds the acknowledged packets of a round. Returns how far the loss is past what the link loses by itself: 0
    /// for not at all, 1 for far; `None` while there are too few packets to tell.
    ///
    /// `contested`: other flows are there, so little is enough.
    pub(super) fn round(&mut self, packets: u64, contested: bool) -> Option<f64> {
        self.acked += packets;
        let all = self.acked + self.lost;
        if all < LOSS_SAMPLE_PACKETS {
            return None;
        }
        let lost = self.lost as f64;
        let expected = self.own() * all as f64;
        let deviations = if contested { 2.0 } else { 4.0 };
        let limit = 2.0 * expected + deviations * expected.sqrt();
        let far = limit.max(LOST_FAR);
        self.rates.push_back(lost / all as f64);
        if self.rates.len() > LOSS_SAMPLES {
            self.rates.pop_front();
        }
        (self.acked, self.lost) = (0, 0);
        Some(((lost - limit) / far).clamp(0.0, 1.0))
    }

    /// What was lost so far says nothing: the path was away.
    pub(super) fn begin_round(&mut self) {
        (self.acked, self.lost) = (0, 0);
    }

    /// The loss that the link has by itself.
    pub(super) fn own(&self) -> f64 {
        let mut sorted: Vec<f64> = self.rates.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.01);
        median.min(OWN_LOSS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of 2,500 packets with these many lost; returns the last judgement.
    fn judge(book: &mut LossBook, lost: impl IntoIterator<Item = u64>) -> f64 {
        let mut last = 0.0;
        for lost in lost {
            book.lose(lost);
            last = book.round(2500 - lost, false).expect("enough packets to tell");
        }
        last
    }

    #[test]
    fn loss_that_is_always_there_is_the_links_own() {
        let mut book = LossBook::default();

        let judged = judge(&mut book, [25, 31, 19, 22, 28, 25, 24, 30, 27, 21, 35, 40]);

        assert!(judged.abs() < f64::EPSILON);
        assert!((0.008..0.013).contains(&book.own()), "{}", book.own());
    }

    #[test]
    fn a_burst_on_a_clean_link_is_congestion() {
        let mut book = LossBook::default();
        judge(&mut book, [0; 8]);

        assert!(judge(&mut book, [40]) > 0.9);
        assert!((0.0..0.3).contains(&judge(&mut book, [2])));
        assert!(judge(&mut book, [0]).abs() < f64::EPSILON);
    }

    #[test]
    fn three_times_the_own_loss_is_congestion() {
        let mut book = LossBook::default();
        judge(&mut book, [25; 16]);

        assert!(judge(&mut book, [100]) > 0.0);
    }

    #[test]
    fn heavy_loss_is_never_all_taken_for_the_links_own() {
        let mut book = LossBook::default();

        assert!(judge(&mut book, [500; 32]) > 0.0);
    }

    #[test]
    fn a_few_packets_are_not_judged() {
        let mut book = LossBook::default();
        book.lose(3);

        assert_eq!(book.round(50, false), None);
    }
}
