//! The mesh as whoever builds a world sees it, and the task that lets things happen in it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use libp2p::identity::Keypair;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;
use tokio::sync::Notify;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::event::{Event, State, TICK};
use super::handle::MemoryGossip;
use super::paths::Conditions;
use super::seat::{Board, Place, Seat};
use super::tally::Tally;
use crate::book::Book;
use crate::dialling::Dialling;
use crate::{GossipError, GossipRoster, Timing, node_id_of};

/// Connects members of one process. Clones are the same mesh.
#[derive(Clone)]
pub struct Mesh {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Something is due earlier than the task knew.
    sooner: Arc<Notify>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sooner.notify_one();
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Mesh")
            .field("members", &state.seats.keys())
            .field("tally", &state.tally)
            .finish_non_exhaustive()
    }
}

impl Mesh {
    /// A mesh without members, where messages take no time and all of them arrive.
    pub fn seeded(seed: u64) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(seed)),
            sooner: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Gives a member its overlay. One that was there before is taken away first, as at a restart.
    ///
    /// Must be called on the runtime whose clock is the mesh's; the same one every time.
    ///
    /// # Errors
    /// [`GossipError::Key`] if the seed makes no key.
    pub fn join(
        &self,
        mut key_seed: Zeroizing<[u8; 32]>,
        roster: Arc<dyn GossipRoster>,
        timing: Timing,
        elapsed: Arc<dyn Fn() -> Elapsed + Send + Sync>,
    ) -> Result<Arc<MemoryGossip>, GossipError> {
        let key = |reason: String| GossipError::Key { reason };
        let keypair = Keypair::ed25519_from_bytes(key_seed.as_mut_slice()).map_err(|e| key(e.to_string()))?;
        let node = node_id_of(&keypair.public().to_peer_id());
        let node = node.ok_or_else(|| key("it is not an ed25519 key".to_owned()))?;
        let board = Board::default();
        let place = self.change(|state| {
            let place = Place {
                node,
                life: state.number(),
            };
            let seat = Seat {
                own: node,
                life: place.life,
                key: keypair,
                roster,
                book: Book::new(node, timing.penalty),
                dialling: Dialling::new(node, &timing),
                timing,
                clock: elapsed,
                connections: BTreeMap::new(),
                members: None,
                version: None,
                announced: None,
                repeat: false,
                seen: BTreeMap::new(),
                recent: BTreeMap::new(),
                heartbeats: 0,
                next_heartbeat: Duration::ZERO,
                board: board.clone(),
                calm_since: None,
                held: None,
            };
            state.remove(node);
            state.seats.insert(node, seat);
            // Members do not all look around at the same moment.
            let first = Duration::from_millis(state.rng.u64(0..1_000)).min(TICK);
            state.at(state.now + first, Event::Tick(place));
            place
        });
        Ok(Arc::new(MemoryGossip::new(self.clone(), place, board)))
    }

    /// Takes a member away as if its process was killed: the others notice by its silence.
    pub fn take_away(&self, node: NodeId) {
        self.change(|state| state.remove(node));
    }

    /// The member stands still, as after SIGSTOP; what arrives waits.
    pub fn freeze(&self, node: NodeId) {
        self.change(|state| state.freeze(node));
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self, node: NodeId) {
        self.change(|state| state.thaw(node));
    }

    /// Cuts both directions between two members.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts one direction: what is under way in it is lost as well. The connection of the two ends when it has been
    /// silent for too long, as one over QUIC.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.change(|state| state.set_cut(from, to, true));
    }

    /// Mends both directions between two members.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        self.change(|state| {
            state.set_cut(a, b, false);
            state.set_cut(b, a, false);
        });
    }

    /// Mends everything.
    pub fn heal_all(&self) {
        self.change(State::heal_all);
    }

    /// The time that a message takes between any two members, one way; also between those of [`Self::set_latency`].
    pub fn set_latency_everywhere(&self, one_way: Duration) {
        self.change(|state| state.paths.change_everywhere(|path| path.latency = one_way));
    }

    /// The time that a message takes between two members, one way, in both directions.
    pub fn set_latency(&self, a: NodeId, b: NodeId, one_way: Duration) {
        self.change(|state| state.paths.change(a, b, |path| path.latency = one_way));
    }

    /// The messages in a thousand that are lost, between any two members.
    pub fn set_loss_everywhere(&self, permille: u32) {
        self.change(|state| {
            state
                .paths
                .change_everywhere(|path| path.loss_permille = permille);
        });
    }

    /// The messages in a thousand that arrive twice, between any two members.
    pub fn set_duplicates_everywhere(&self, permille: u32) {
        self.change(|state| {
            state
                .paths
                .change_everywhere(|path| path.duplicate_permille = permille);
        });
    }

    /// How messages fare between any two members, but for those of [`Self::set_conditions`].
    pub fn set_conditions_everywhere(&self, conditions: Conditions) {
        self.change(|state| state.paths.everywhere = conditions);
    }

    /// How messages fare between two members, in both directions.
    pub fn set_conditions(&self, a: NodeId, b: NodeId, conditions: Conditions) {
        self.change(|state| state.paths.change(a, b, |path| *path = conditions));
    }

    /// Has a member say anything to all that it is connected to, in the name of any author, signed with its own key:
    /// what a member that lies can do.
    pub fn say(&self, liar: NodeId, author: NodeId, bytes: Vec<u8>) {
        self.change(|state| {
            let Some(place) = state.seats.get(&liar).map(Seat::place) else {
                return;
            };
            if let Some(letter) = state.seal(place, author, bytes) {
                state.tell_all(place, &letter);
            }
        });
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        self.shared.state.lock().tally
    }

    /// Changes the state now, and has the task look again if something is due sooner than before.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.state.lock();
        if state.began.is_none() && tokio::runtime::Handle::try_current().is_ok() {
            state.began = Some(now());
            let task = run(Arc::downgrade(&self.shared), Arc::clone(&self.shared.sooner));
            tokio::spawn(task);
        }
        if let Some(began) = state.began {
            state.now = state.now.max(now().saturating_duration_since(began));
        }
        let before = state.next_due();
        let changed = change(&mut state);
        let after = state.next_due();
        if after.is_some() && after != before {
            self.shared.sooner.notify_one();
        }
        changed
    }
}

/// Lets things happen when they are due, for as long as somebody holds the mesh.
async fn run(mesh: Weak<Shared>, sooner: Arc<Notify>) {
    loop {
        let next = {
            let Some(mesh) = mesh.upgrade() else { return };
            let mut state = mesh.state.lock();
            let Some(began) = state.began else { return };
            state.run_until(now().saturating_duration_since(began));
            state.next_due().map(|due| began + due)
        };
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = sooner.notified() => {}
            () = due => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock of the runtime's timers, which is virtual in a simulation"
)]
fn now() -> Instant {
    Instant::now()
}
