//! What happens in a mesh, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tetryx_protocol::id::NodeId;
use tokio::time::Instant;

use super::letter::Letter;
use super::paths::Paths;
use super::seat::{Place, Seat};
use super::tally::Tally;

/// Between two looks at the roster, at connections, and at who is to be dialled: as over libp2p.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// Events that are kept for a frozen member; more are lost, as in the buffers of its machine.
const HELD_MAX: usize = 1_024;

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Time for the member to look around.
    Tick(Place),
    /// An attempt to connect ends.
    Dialled { from: Place, to: NodeId },
    /// A message arrives.
    Arrives { from: Place, to: Place, what: Parcel },
}

/// What goes over a connection.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    /// A presence.
    Letter(Arc<Letter>),
    /// Presences that the sender has.
    Have(Vec<Arc<Letter>>),
    /// Presences that the sender wants.
    Want(Vec<Arc<Letter>>),
    /// The connection ends.
    Goodbye,
}

impl Event {
    /// Who has to be awake for it.
    fn whom(&self) -> Place {
        match self {
            Self::Tick(place) | Self::Dialled { from: place, .. } | Self::Arrives { to: place, .. } => *place,
        }
    }
}

/// Everything in a mesh. Time is what has passed since the first member joined.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) began: Option<Instant>,
    pub(super) now: Duration,
    pub(super) seats: BTreeMap<NodeId, Seat>,
    pub(super) paths: Paths,
    pub(super) tally: Tally,
    /// Counts what may have silenced a connection, or made it heard again.
    pub(super) unrest: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    /// Numbers events, messages and lives.
    numbered: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            began: None,
            now: Duration::ZERO,
            seats: BTreeMap::new(),
            paths: Paths::default(),
            tally: Tally::default(),
            unrest: 0,
            queue: BTreeMap::new(),
            numbered: 0,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    pub(super) fn at(&mut self, when: Duration, event: Event) {
        let number = self.number();
        self.queue.insert((when, number), event);
    }

    /// When something happens next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((when, _), _)| *when)
    }

    /// Lets everything happen that is due by then.
    pub(super) fn run_until(&mut self, until: Duration) {
        while self.next_due().is_some_and(|due| due <= until) {
            let Some(((when, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = self.now.max(when);
            self.happens(event);
        }
        self.now = self.now.max(until);
    }

    /// The member, if it is in that life.
    pub(super) fn seat(&mut self, place: Place) -> Option<&mut Seat> {
        self.seats
            .get_mut(&place.node)
            .filter(|seat| seat.life == place.life)
    }

    fn happens(&mut self, event: Event) {
        let Some(seat) = self.seat(event.whom()) else {
            return;
        };
        match (&mut seat.held, event) {
            (Some(_), Event::Tick(place)) => self.tick_later(place),
            (Some(held), event) if held.len() < HELD_MAX => held.push(event),
            (Some(_), _) => self.tally.lost += 1,
            (None, Event::Tick(place)) => {
                self.tick(place);
                self.tick_later(place);
            }
            (None, Event::Dialled { from, to }) => self.dialled(from, to),
            (None, Event::Arrives { from, to, what }) => self.arrives(from, to, what),
        }
    }

    fn tick_later(&mut self, place: Place) {
        self.at(self.now + TICK, Event::Tick(place));
    }

    fn tick(&mut self, place: Place) {
        self.read_roster(place);
        self.notice_silence(place);
        self.heartbeat(place);
        if let Some(seat) = self.seat(place)
            && std::mem::take(&mut seat.repeat)
        {
            self.publish(place);
        }
    }

    /// Puts something on its way, if the two are connected.
    pub(super) fn send(&mut self, from: Place, to: NodeId, what: Parcel) {
        let Some(life) = self
            .seat(from)
            .and_then(|seat| seat.connections.get(&to))
            .map(|c| c.life)
        else {
            return;
        };
        let to = Place { node: to, life };
        let arrivals = self
            .paths
            .travel(&mut self.rng, &mut self.tally, self.now, from.node, to.node);
        for when in arrivals.into_iter().flatten() {
            let what = what.clone();
            self.at(when, Event::Arrives { from, to, what });
        }
    }
}
