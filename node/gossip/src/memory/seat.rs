//! One member's place in the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;
use tokio::sync::watch;

use super::event::Event;
use super::letter::Letter;
use crate::book::Book;
use crate::degree;
use crate::dialling::Dialling;
use crate::{Connected, GossipRoster, Presences, Timing};

/// A member's monotonic clock.
pub(super) type Clock = Arc<dyn Fn() -> Elapsed + Send + Sync>;

/// A member, and which of its lives is meant: one that was taken away and comes again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) life: u64,
}

/// What the handle shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    pub(super) presences: watch::Sender<Presences>,
    pub(super) connected: watch::Sender<Connected>,
}

pub(super) struct Seat {
    pub(super) own: NodeId,
    pub(super) life: u64,
    pub(super) key: Keypair,
    pub(super) roster: Arc<dyn GossipRoster>,
    pub(super) clock: Clock,
    pub(super) timing: Timing,
    pub(super) book: Book,
    pub(super) dialling: Dialling,
    pub(super) connections: BTreeMap<NodeId, Connection>,
    /// The roster as it was last taken over; `None` before, and as long as somebody is dropped.
    pub(super) members: Option<Vec<(NodeId, Vec<String>)>>,
    /// Which version that was.
    pub(super) version: Option<u64>,
    pub(super) announced: Option<Presence>,
    /// Somebody who has not heard the last announcement has connected.
    pub(super) repeat: bool,
    /// The last message of each author that was judged here.
    pub(super) seen: BTreeMap<NodeId, u64>,
    /// What was heard recently, and at which heartbeat.
    pub(super) recent: BTreeMap<NodeId, (u64, Arc<Letter>)>,
    pub(super) heartbeats: u64,
    pub(super) next_heartbeat: Duration,
    pub(super) board: Board,
    /// How much had changed between members when the connections were last looked at; `None` while one is silent.
    pub(super) calm_since: Option<u64>,
    /// What arrived since it was frozen.
    pub(super) held: Option<Vec<Event>>,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Which life of the other member it leads to.
    pub(super) life: u64,
    /// Whether presences are passed on over it.
    pub(super) is_neighbour: bool,
    pub(super) silent_since: Option<Duration>,
    /// Messages that came over it whose signature was not the author's.
    pub(super) forged: u32,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("own", &self.own)
            .field("life", &self.life)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Seat {
    pub(super) fn place(&self) -> Place {
        Place {
            node: self.own,
            life: self.life,
        }
    }

    pub(super) fn elapsed(&self) -> Elapsed {
        (self.clock)()
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it is connected with that life of the member.
    pub(super) fn is_connected(&self, to: Place) -> bool {
        self.connections
            .get(&to.node)
            .is_some_and(|connection| connection.life == to.life)
    }

    /// Whether it has judged this message, or one that its author sent later.
    pub(super) fn knows(&self, letter: &Letter) -> bool {
        self.seen
            .get(&letter.author)
            .is_some_and(|serial| *serial >= letter.serial)
    }

    pub(super) fn connect(&mut self, other: Place) {
        let connection = Connection {
            life: other.life,
            is_neighbour: false,
            silent_since: None,
            forged: 0,
        };
        self.connections.insert(other.node, connection);
        self.dialling.connected(&other.node);
        self.repeat = true;
        self.board.connected.send_modify(|connected| {
            Arc::make_mut(connected).insert(other.node);
        });
    }

    /// True if there was a connection.
    pub(super) fn disconnect(&mut self, other: &NodeId) -> bool {
        let was = self.connections.remove(other).is_some();
        if was {
            self.dialling.disconnected(other, (self.clock)());
            self.board.connected.send_modify(|connected| {
                Arc::make_mut(connected).remove(other);
            });
        }
        was
    }

    pub(super) fn neighbours(&self) -> impl Iterator<Item = NodeId> {
        let connections = self.connections.iter();
        connections
            .filter(|(_, connection)| connection.is_neighbour)
            .map(|(node, _)| *node)
    }

    pub(super) fn not_neighbours(&self) -> impl Iterator<Item = NodeId> {
        let connections = self.connections.iter();
        connections
            .filter(|(_, connection)| !connection.is_neighbour)
            .map(|(node, _)| *node)
    }

    pub(super) fn remember(&mut self, letter: &Arc<Letter>) {
        let entry = (self.heartbeats, Arc::clone(letter));
        self.recent.insert(letter.author, entry);
    }

    pub(super) fn forget_old(&mut self) {
        let now = self.heartbeats;
        let recent = u64::try_from(degree::RECENT).unwrap_or(u64::MAX);
        self.recent.retain(|_, (at, _)| now - *at < recent);
    }

    pub(super) fn forget_presences(&self, keep: impl Fn(&NodeId) -> bool) {
        self.board.presences.send_if_modified(|presences| {
            let modified = presences.keys().any(|node| !keep(node));
            if modified {
                Arc::make_mut(presences).retain(|node, _| keep(node));
            }
            modified
        });
    }

    /// Takes over who is a member. True if that was news.
    pub(super) fn read_roster(&mut self) -> bool {
        let version = self.roster.version();
        if self.members.is_some() && version.is_some() && self.version == version {
            return false;
        }
        // Asked for before: what comes in between is read again.
        self.version = version;
        let members = self.roster.members();
        if self.members.as_ref() == Some(&members) {
            return false;
        }
        let now = self.elapsed();
        let nodes: BTreeSet<NodeId> = members.iter().map(|(node, _)| *node).collect();
        self.book.set_members(nodes.iter().copied());
        let dropped = |node: &NodeId| self.book.conduct.is_dropped(node, now);
        let dialled: Vec<NodeId> = nodes.iter().filter(|node| !dropped(node)).copied().collect();
        let settled = dialled.len() == nodes.len();
        self.dialling.set_members(dialled, now);
        self.forget_presences(|node| nodes.contains(node));
        self.members = settled.then_some(members);
        true
    }

    /// Whether the member may be connected.
    pub(super) fn admits(&self, node: &NodeId) -> bool {
        self.book.is_member(node) && !self.book.conduct.is_dropped(node, self.elapsed())
    }
}
