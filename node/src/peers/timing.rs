//! Which timing of elections suits the links, as far as they were measured.
//!
//! Both ends of a link measure the same, and a leader's timing must suit its slowest link. So nodes that choose by
//! themselves come to timings that go together, and a node with fast links only may keep a faster one.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_raft::Profile;

use crate::config::{Config, RaftProfile};
use crate::node::Node;
use crate::peers::NodeRoster;

/// Between two looks at the links.
const LOOK: Duration = Duration::from_secs(5);
/// A link counts by the fastest of so many looks: what only queues for a while is not slow.
const LOOKS: u32 = 6;

/// The timing to start with: what is configured, else what suits the slowest link that is known.
pub(crate) fn profile(config: &Config, roster: &NodeRoster) -> Profile {
    match config.raft.profile {
        RaftProfile::Lan => Profile::Lan,
        RaftProfile::Wan => Profile::Wan,
        RaftProfile::Geo => Profile::Geo,
        RaftProfile::Auto => {
            let configured = config.p2p.links.iter().filter_map(|link| link.rtt);
            let known = configured.chain(config.p2p.rtt).chain(roster.slowest_rtt()).max();
            known.map_or(Profile::Lan, Profile::for_rtt)
        }
    }
}

/// Resolves when the links have turned out slower than the timing is for; never where the timing is configured.
pub(crate) async fn slower_profile(node: &Node) -> Profile {
    if node.config().raft.profile != RaftProfile::Auto {
        return std::future::pending().await;
    }
    let mut window = Window::default();
    loop {
        tokio::time::sleep(LOOK).await;
        let others = node.roster().others();
        let seen = others
            .iter()
            .filter_map(|other| Some((*other, node.links().path(*other)?.rtt)))
            .collect();
        let Some(fastest) = window.look(seen) else {
            continue;
        };
        let slowest = fastest.values().copied().max().unwrap_or_default();
        let (suits, runs) = (Profile::for_rtt(slowest), node.replica().status().profile);
        if suits.heartbeat() > runs.heartbeat() {
            node.roster().note_rtt(slowest);
            return suits;
        }
        // A faster timing waits for the next start, and for a look at every link.
        if others.iter().all(|other| fastest.contains_key(other)) {
            node.roster().note_rtt(slowest);
        }
    }
}

/// The links over a few looks.
#[derive(Debug, Default)]
struct Window {
    looks: u32,
    fastest: BTreeMap<NodeId, Duration>,
}

impl Window {
    /// Adds a look. When the window is full, the fastest round trip of every link that was there all the time.
    fn look(&mut self, seen: BTreeMap<NodeId, Duration>) -> Option<BTreeMap<NodeId, Duration>> {
        if self.looks == 0 {
            self.fastest = seen;
        } else {
            self.fastest.retain(|node, _| seen.contains_key(node));
            for (node, rtt) in &mut self.fastest {
                *rtt = seen.get(node).map_or(*rtt, |seen| (*rtt).min(*seen));
            }
        }
        self.looks += 1;
        if self.looks < LOOKS {
            return None;
        }
        self.looks = 0;
        Some(std::mem::take(&mut self.fastest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::P2p;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn ms(rtt: u64) -> Duration {
        Duration::from_millis(rtt)
    }

    #[test]
    fn a_link_that_queues_for_a_while_is_not_slow_and_one_that_went_away_does_not_count() {
        let mut window = Window::default();
        for rtt in [700, 900, 12, 650, 800] {
            assert_eq!(window.look([(id(1), ms(rtt)), (id(2), ms(600))].into()), None);
        }
        let full = window.look([(id(1), ms(700))].into()).unwrap();
        assert_eq!(full, [(id(1), ms(12))].into());
    }

    #[test]
    fn the_timing_follows_the_slowest_link_that_is_known() {
        let mut config = Config::default();
        let roster = NodeRoster::in_memory(id(1), P2p::default());
        assert_eq!(profile(&config, &roster), Profile::Lan);
        roster.note_rtt(ms(120));
        assert_eq!(profile(&config, &roster), Profile::Wan);
        config.p2p.rtt = Some(ms(600));
        assert_eq!(profile(&config, &roster), Profile::Geo);
        config.raft.profile = RaftProfile::Lan;
        assert_eq!(profile(&config, &roster), Profile::Lan);
    }
}
