//! The handle of one member.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::presence::Presence;
use tokio::sync::watch;

use super::mesh::Mesh;
use super::seat::{Board, Place};
use crate::conduct::Offence;
use crate::{Connected, Gossip, Presences};

/// A member's [`Gossip`] in a [`Mesh`]. Ends when [`Gossip::shutdown`] is called or the handle is dropped; without
/// effect from when the member was taken away.
#[derive(Debug)]
pub struct MemoryGossip {
    mesh: Mesh,
    place: Place,
    board: Board,
}

impl MemoryGossip {
    pub(super) const fn new(mesh: Mesh, place: Place, board: Board) -> Self {
        Self { mesh, place, board }
    }

    /// Whose it is.
    pub const fn node(&self) -> NodeId {
        self.place.node
    }

    /// [`Gossip::presences`], to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Presences> {
        self.board.presences.subscribe()
    }

    /// Has the roster read again now.
    pub fn roster_changed(&self) {
        self.mesh.change(|state| state.read_roster(self.place));
    }
}

impl Gossip for MemoryGossip {
    fn announce(&self, presence: Presence) {
        self.mesh.change(|state| state.announce(self.place, presence));
    }

    fn presences(&self) -> Presences {
        Arc::clone(&self.board.presences.borrow())
    }

    fn connected(&self) -> Connected {
        Arc::clone(&self.board.connected.borrow())
    }

    fn watch_connected(&self) -> watch::Receiver<Connected> {
        self.board.connected.subscribe()
    }

    fn report_false_claim(&self, node: NodeId) {
        self.mesh
            .change(|state| state.charge(self.place, node, Offence::FalseClaim));
    }

    fn retime(&self, rtt: Duration) {
        self.mesh.change(|state| state.retime(self.place, rtt));
    }

    fn listening(&self) -> Option<SocketAddr> {
        None
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.mesh.change(|state| state.leave(self.place));
        Box::pin(async {})
    }
}

impl Drop for MemoryGossip {
    fn drop(&mut self) {
        self.mesh.change(|state| state.leave(self.place));
    }
}
