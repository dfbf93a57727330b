//! One direction of a link: what becomes of a packet, as arithmetic over the time that the caller says it is.

use std::time::Duration;

use super::calendar::Calendar;

/// What one direction of a link is like.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSettings {
    /// From the end of sending to arrival.
    pub delay: Duration,
    /// Up to so much more delay, evenly distributed; packets stay in order.
    pub jitter: Duration,
    /// The share of packets lost on the way, 0 to 1.
    pub loss: f64,
    /// Bits in a second; nothing: no limit.
    pub rate: Option<u64>,
    /// Bytes that may leave at once after a pause, for a link with a rate.
    pub burst: u64,
    /// Bytes that may wait to be sent, for a link with a rate; more are dropped.
    pub queue: u64,
    /// Nothing passes until this is taken back.
    pub cut: bool,
    /// When nothing passes by plan.
    pub blackouts: Calendar,
}

impl Default for LinkSettings {
    /// A wire: no delay, no loss, no limit.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            rate: None,
            burst: 16 << 10,
            queue: 256 << 10,
            cut: false,
            blackouts: Calendar::default(),
        }
    }
}

/// Why a packet does not arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// The link is cut.
    Cut,
    /// The calendar says so.
    Blackout,
    /// Too many were waiting.
    QueueFull,
    /// Bad luck.
    Noise,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It arrives at this time.
    Arrives(Duration),
    /// It does not.
    Lost(Loss),
}

/// What became of the packets so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Packets that arrive.
    pub passed: u64,
    /// Bytes of these.
    pub passed_bytes: u64,
    /// Packets lost to a cut or a blackout.
    pub dark: u64,
    /// Packets lost to a full queue.
    pub overflown: u64,
    /// Packets lost to bad luck.
    pub noise: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    random: fastrand::Rng,
    /// When all that was accepted has been sent. May lie in the past by up to the time that a burst takes.
    sent_by: Duration,
    last_arrival: Duration,
    counts: Counts,
}

impl Link {
    /// A link with its own luck.
    pub fn new(settings: LinkSettings, seed: u64) -> Self {
        Self {
            settings,
            random: fastrand::Rng::with_seed(seed),
            sent_by: Duration::ZERO,
            last_arrival: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    /// What it is like now.
    pub fn settings(&self) -> &LinkSettings {
        &self.settings
    }

    /// Makes it another link. What is under way arrives as it would have.
    pub fn set(&mut self, settings: LinkSettings) {
        self.settings = settings;
    }

    /// Changes some of what it is like.
    pub fn change(&mut self, change: impl FnOnce(&mut LinkSettings)) {
        change(&mut self.settings);
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Decides over a packet that is sent now. Times are counted from the start of the emulator and never go back.
    pub fn offer(&mut self, now: Duration, bytes: usize) -> Fate {
        let fate = self.decide(now, bytes);
        match fate {
            Fate::Arrives(_) => {
                self.counts.passed += 1;
                self.counts.passed_bytes += bytes as u64;
            }
            Fate::Lost(Loss::Cut | Loss::Blackout) => self.counts.dark += 1,
            Fate::Lost(Loss::QueueFull) => self.counts.overflown += 1,
            Fate::Lost(Loss::Noise) => self.counts.noise += 1,
        }
        fate
    }

    fn decide(&mut self, now: Duration, bytes: usize) -> Fate {
        if self.settings.cut {
            return Fate::Lost(Loss::Cut);
        }
        if self.settings.blackouts.is_dark(now) {
            return Fate::Lost(Loss::Blackout);
        }
        let Some(sent) = self.send(now, bytes as u64) else {
            return Fate::Lost(Loss::QueueFull);
        };
        // Both are drawn for every packet, so that a change of one setting leaves the luck of the other alone.
        let (luck, lateness) = (self.random.f64(), self.random.f64());
        if luck < self.settings.loss {
            return Fate::Lost(Loss::Noise);
        }
        let arrival = sent + self.settings.delay + self.settings.jitter.mul_f64(lateness);
        self.last_arrival = self.last_arrival.max(arrival);
        Fate::Arrives(self.last_arrival)
    }

    /// When the packet has been sent: a token bucket of `burst` bytes with a queue before it.
    fn send(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        let Some(rate) = self.settings.rate else {
            return Some(now);
        };
        let takes = |bytes: u64| Duration::from_nanos(bytes.saturating_mul(8_000_000_000) / rate.max(1));
        let from = self.sent_by.max(now.saturating_sub(takes(self.settings.burst)));
        if from.saturating_sub(now) + takes(bytes) > takes(self.settings.queue) + takes(self.settings.burst) {
            return None;
        }
        self.sent_by = from + takes(bytes);
        Some(self.sent_by.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1_250;

    fn arrivals(link: &mut Link, packets: u64, apart: Duration) -> Vec<Option<Duration>> {
        let offer = |n: u64| match link.offer(apart * u32::try_from(n).unwrap(), PACKET) {
            Fate::Arrives(at) => Some(at),
            Fate::Lost(_) => None,
        };
        (0..packets).map(offer).collect()
    }

    #[test]
    fn a_packet_arrives_after_the_delay_and_in_order_whatever_the_jitter() {
        let (delay, jitter, apart) = (
            Duration::from_millis(300),
            Duration::from_millis(40),
            Duration::from_millis(1),
        );
        let settings = LinkSettings {
            delay,
            jitter,
            ..LinkSettings::default()
        };
        let at = arrivals(&mut Link::new(settings, 7), 1_000, apart);
        let at: Vec<_> = at.into_iter().flatten().collect();
        assert_eq!(at.len(), 1_000);
        assert!(at.is_sorted());
        for (n, at) in (0_u32..).zip(&at) {
            let late = *at - apart * n;
            assert!(late >= delay && late <= delay + jitter, "{n}: {late:?}");
        }
        assert!(
            at.iter()
                .zip(0_u32..)
                .any(|(at, n)| *at - apart * n > delay + jitter / 2)
        );
    }

    #[test]
    fn as_many_packets_are_lost_as_asked() {
        let settings = LinkSettings {
            loss: 0.01,
            ..LinkSettings::default()
        };
        let at = arrivals(&mut Link::new(settings, 1), 100_000, Duration::from_micros(10));
        let lost = at.iter().filter(|at| at.is_none()).count();
        assert!((900..1_100).contains(&lost), "{lost}");
    }

    #[test]
    fn the_same_seed_means_the_same_luck() {
        let settings = LinkSettings {
            loss: 0.3,
            jitter: Duration::from_millis(9),
            ..LinkSettings::default()
        };
        let run = |seed| {
            arrivals(
                &mut Link::new(settings.clone(), seed),
                500,
                Duration::from_micros(70),
            )
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn a_rate_is_kept_and_a_pause_allows_one_burst() {
        // Given 10 Mbit/s, so 1 ms a packet, and a bucket of four packets that has been filled
        let settings = LinkSettings {
            rate: Some(10_000_000),
            burst: 4 * PACKET as u64,
            queue: 1 << 20,
            ..LinkSettings::default()
        };
        let mut link = Link::new(settings, 0);
        let start = Duration::from_secs(1);
        // When ten packets come at once
        let at: Vec<_> = (0..10).map(|_| link.offer(start, PACKET)).collect();
        // Then four pass at once and the others a millisecond apart
        let expected: Vec<_> = (1_u32..=10)
            .map(|n| Fate::Arrives(start + Duration::from_millis(1) * n.saturating_sub(4)))
            .collect();
        assert_eq!(at, expected);
    }

    #[test]
    fn what_does_not_fit_the_queue_is_dropped_and_fits_later() {
        let settings = LinkSettings {
            rate: Some(10_000_000),
            burst: 0,
            queue: 5 * PACKET as u64,
            ..LinkSettings::default()
        };
        let mut link = Link::new(settings, 0);
        let lost = (0..8).filter(|_| link.offer(Duration::ZERO, PACKET) == Fate::Lost(Loss::QueueFull));
        assert_eq!(lost.count(), 3);
        let later = Duration::from_millis(1);
        assert_eq!(link.offer(later, PACKET), Fate::Arrives(Duration::from_millis(6)));
        assert_eq!(link.counts().overflown, 3);
    }

    #[test]
    fn nothing_passes_a_cut_or_a_blackout_and_what_is_under_way_arrives() {
        let settings = LinkSettings {
            delay: Duration::from_secs(1),
            blackouts: Calendar::new([(Duration::from_secs(5), Duration::from_secs(6))]),
            ..LinkSettings::default()
        };
        let mut link = Link::new(settings, 0);
        assert_eq!(
            link.offer(Duration::ZERO, 1),
            Fate::Arrives(Duration::from_secs(1))
        );
        link.change(|settings| settings.cut = true);
        assert_eq!(link.offer(Duration::ZERO, 1), Fate::Lost(Loss::Cut));
        link.change(|settings| settings.cut = false);
        assert_eq!(link.offer(Duration::from_secs(5), 1), Fate::Lost(Loss::Blackout));
        assert_eq!(
            link.offer(Duration::from_secs(6), 1),
            Fate::Arrives(Duration::from_secs(7))
        );
        let counts = link.counts();
        assert_eq!((counts.passed, counts.dark), (2, 2));
    }
}
