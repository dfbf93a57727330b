//! Presence: what this node says of itself by gossip, and what it heard of the others.
//!
//! # Invariants
//! - Nothing that must be right depends on it. Without gossip, or without an answer, the roster and the links remain.
//! - The number of this node's presences grows over restarts, as long as its clock is not set back: it begins with the
//!   time in milliseconds.
//!
//! # Non-goals
//! - Carrying presences: `tetryx-gossip`.

mod announce;
mod claims;

use std::collections::BTreeSet;
use std::time::Duration;

use tetryx_gossip::{Gossip, Presences, Seen, Timing};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;

pub(crate) use self::announce::announce;
pub(crate) use self::claims::Claims;
use crate::Node;
use crate::config::{Config, RaftProfile};

/// A member that was not heard for this long does not count as heard now. Several announcements may be lost.
pub(crate) const FRESH: Duration = Duration::from_secs(20);

/// Gossip's timers at the start. They follow what the links measure.
pub fn timing(config: &Config) -> Timing {
    Timing::for_rtt(expected_rtt(config))
}

/// The longest round trip to reckon with before the links have measured one.
fn expected_rtt(config: &Config) -> Duration {
    let by_profile = Duration::from_millis(match config.raft.profile {
        RaftProfile::Auto | RaftProfile::Lan => 10,
        RaftProfile::Wan => 250,
        RaftProfile::Geo => 600,
    });
    let links = config.p2p.links.iter().filter_map(|link| link.rtt);
    links.chain(config.p2p.rtt).fold(by_profile, Duration::max)
}

impl Node {
    /// What was last heard of the other members, however long ago.
    pub fn presences(&self) -> Presences {
        self.gossip().map(Gossip::presences).unwrap_or_default()
    }

    /// What was last heard of the member.
    pub fn presence_of(&self, node: NodeId) -> Option<Seen> {
        self.presences().get(&node).cloned()
    }

    /// The members that are heard now, this node itself included: by gossip, or over a link.
    pub fn heard_now(&self) -> BTreeSet<NodeId> {
        let now = self.clock().elapsed();
        let presences = self.presences();
        let connected = self.gossip().map(Gossip::connected).unwrap_or_default();
        let heard = |node: &NodeId| {
            *node == self.node_id()
                || connected.contains(node)
                || presences.get(node).is_some_and(|seen| seen.age(now) < FRESH)
                || self.links().path(*node).is_some()
        };
        let members = self.roster().members();
        members
            .into_iter()
            .map(|entry| entry.node)
            .filter(heard)
            .collect()
    }

    /// The members that say they hold the NAR whole, freshest first. They may err, and others may hold it too.
    pub fn who_may_hold(&self, nar: &NarHash) -> Vec<NodeId> {
        let presences = self.presences();
        let mut holders: Vec<(&NodeId, &Seen)> = presences
            .iter()
            .filter(|(_, seen)| seen.presence.held.contains(nar))
            .collect();
        holders.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.heard));
        holders.into_iter().map(|(node, _)| *node).collect()
    }

    /// Notes that the member was asked for these NARs and does not hold them. If its digest goes on claiming them, it
    /// is charged for that; a few such charges drop it from gossip for a while.
    pub(crate) fn note_denied(&self, node: NodeId, nars: &[NarHash]) {
        let Some(gossip) = self.gossip() else { return };
        let presences = self.presences();
        let claims = self.claims();
        claims.retain(|member| *member == node || presences.contains_key(member));
        if claims.denied(node, nars, presences.get(&node), self.clock().elapsed()) {
            let name = self.roster().name(node);
            tracing::warn!(name, %node, "a member announces that it holds what it does not hold");
            gossip.report_false_claim(node);
        }
    }
}
