//! How patient gossip is, derived from the longest round trip between members.
//!
//! The constants of gossipsub and of libp2p's QUIC assume round trips of tens of milliseconds. At 600 ms a handshake
//! with one lost packet, or the answer to "I want that message", takes seconds: what waits for a peer is therefore a
//! multiple of the round trip, with the usual constant as the least.

use std::time::Duration;

/// Timeouts and intervals of the overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The round trip these are made for.
    pub rtt: Duration,
    /// Between gossipsub's heartbeats: mesh upkeep, and lists of recent messages to a few peers.
    pub heartbeat: Duration,
    /// How long a peer may take to send a message it has offered, before that counts against it.
    pub answer: Duration,
    /// How long a message may wait in the queue to a peer before it is dropped: a newer one will follow.
    pub queue: Duration,
    /// How long dialling one address may take.
    pub handshake: Duration,
    /// Silence after which a connection is given up.
    pub idle: Duration,
    /// Silence after which a connection is probed.
    pub keep_alive: Duration,
    /// Between the first attempts to reach a member.
    pub redial_min: Duration,
    /// Between attempts to reach a member that has been away for long. A healed split re-merges within this time.
    pub redial_max: Duration,
    /// For how long a member that misbehaved stays dropped.
    pub penalty: Duration,
}

impl Timing {
    /// The timing for members whose longest round trip is `rtt`; above 5 s as for 5 s.
    pub fn for_rtt(rtt: Duration) -> Self {
        let rtt = rtt.min(Duration::from_secs(5));
        let at_least = |ms: u64, round_trips: u32| Duration::from_millis(ms).max(rtt * round_trips);
        let idle = at_least(10_000, 24);
        Self {
            rtt,
            heartbeat: at_least(1_000, 2),
            answer: at_least(3_000, 6),
            queue: at_least(2_000, 6),
            handshake: at_least(5_000, 12),
            idle,
            keep_alive: idle / 3,
            redial_min: at_least(1_000, 2),
            redial_max: at_least(15_000, 30),
            penalty: Duration::from_secs(600),
        }
    }

    /// Whether a measured longest round trip is so far from what this was made for that it should be made anew.
    /// There is room between the two bounds, so that a round trip that wavers changes nothing.
    pub fn misfits(&self, rtt: Duration) -> bool {
        let anew = Self::for_rtt(rtt);
        anew.idle > self.idle * 3 / 2 || anew.idle * 3 < self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_lan_the_usual_constants_hold() {
        let timing = Timing::for_rtt(Duration::from_millis(1));
        assert_eq!(timing.heartbeat, Duration::from_secs(1));
        assert_eq!(timing.handshake, Duration::from_secs(5));
        assert_eq!(timing.idle, Duration::from_secs(10));
    }

    #[test]
    fn over_a_geostationary_link_a_handshake_may_lose_packets() {
        let timing = Timing::for_rtt(Duration::from_millis(600));
        assert!(timing.handshake >= Duration::from_secs(7));
        assert!(timing.answer >= Duration::from_millis(3_600));
        assert!(timing.keep_alive * 2 < timing.idle);
    }

    #[test]
    fn a_wavering_round_trip_does_not_change_the_timing_back_and_forth() {
        for ms in [1, 100, 400, 600, 1_000, 3_000] {
            let timing = Timing::for_rtt(Duration::from_millis(ms));
            for wavering in [ms * 8 / 10, ms, ms * 12 / 10] {
                assert!(
                    !timing.misfits(Duration::from_millis(wavering)),
                    "{ms} ms, then {wavering} ms"
                );
            }
        }
        assert!(Timing::for_rtt(Duration::from_millis(20)).misfits(Duration::from_millis(700)));
        assert!(Timing::for_rtt(Duration::from_millis(3_000)).misfits(Duration::from_millis(100)));
    }
}
