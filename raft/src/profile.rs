//! Timing for the links between the voters.

use std::time::Duration;

/// How patient a replica is. Every voter of a cluster must run the same profile.
///
/// Rule of thumb: the slowest round trip between two voters fits into the heartbeat with room to spare, and an
/// election takes several heartbeats. Deadlines of calls follow from these figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Voters on one site: round trips up to about 50 ms. A lost leader is replaced within 2.4 s.
    #[default]
    Lan,
    /// Voters on fibre: round trips up to about 300 ms. A lost leader is replaced within 9 s.
    Wan,
    /// A voter behind a geostationary link: round trips up to about 700 ms. A lost leader is replaced within 18 s.
    Geo,
}

/// The slowest round trip that [`Profile::Lan`] is for.
const LAN_RTT_MAX: Duration = Duration::from_millis(50);
/// The slowest round trip that [`Profile::Wan`] is for.
const WAN_RTT_MAX: Duration = Duration::from_millis(300);

impl Profile {
    /// The profile for a cluster whose slowest round trip between two voters is `rtt_max`.
    ///
    /// It changes deadlines and elections, so every voter must be given the same one: whoever measures must also
    /// tell the others.
    pub fn for_rtt(rtt_max: Duration) -> Self {
        if rtt_max <= LAN_RTT_MAX {
            Self::Lan
        } else if rtt_max <= WAN_RTT_MAX {
            Self::Wan
        } else {
            Self::Geo
        }
    }

    /// How long passes between two questions to the leader of how fresh this node is.
    pub(crate) fn freshness_pause(self) -> Duration {
        self.heartbeat() * 2
    }

    /// How often a leader shows that it is alive.
    pub fn heartbeat(self) -> Duration {
        Duration::from_millis(match self {
            Self::Lan => 150,
            Self::Wan => 1_000,
            Self::Geo => 1_500,
        })
    }

    /// The shortest time a follower waits beyond the leader's lease before it campaigns.
    pub fn election_min(self) -> Duration {
        Duration::from_millis(match self {
            Self::Lan => 600,
            Self::Wan => 3_000,
            Self::Geo => 6_000,
        })
    }

    /// The longest such time, which is also the length of the leader's lease.
    pub fn election_max(self) -> Duration {
        Duration::from_millis(match self {
            Self::Lan => 1_200,
            Self::Wan => 4_500,
            Self::Geo => 9_000,
        })
    }

    /// How long one piece of a snapshot may be on its way. On the slowest link we plan for, 1 Mbit/s, a piece alone
    /// takes 2 s.
    pub(crate) fn snapshot_piece(self) -> Duration {
        Duration::from_secs(match self {
            Self::Lan => 10,
            Self::Wan => 20,
            Self::Geo => 40,
        })
    }

    /// How long a replica may take to make a received snapshot its state.
    pub(crate) fn snapshot_install(self) -> Duration {
        Duration::from_secs(600)
    }

    /// How long a node waits for the leader's answer to a forwarded proposal before it asks again.
    pub(crate) fn forward(self) -> Duration {
        self.election_max()
    }

    /// How long a proposal is retried before the proposer is told: long enough for two elections.
    pub(crate) fn propose(self) -> Duration {
        self.election_max() * 6
    }
}
