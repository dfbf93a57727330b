//! How a presence spreads: told to everybody at once, passed on among neighbours, asked for by who missed it.

use std::sync::Arc;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::presence::Presence;

use super::event::{Parcel, State};
use super::letter::Letter;
use super::seat::Place;
use crate::degree;

impl State {
    pub(super) fn announce(&mut self, place: Place, presence: Presence) {
        let Some(seat) = self.seat(place) else { return };
        if presence.node != place.node {
            tracing::error!(node = %presence.node, "asked to announce the presence of another node; not done");
            return;
        }
        seat.announced = Some(presence);
        if seat.is_frozen() {
            seat.repeat = true;
        } else {
            self.publish(place);
        }
    }

    /// Tells everybody who is connected the last announcement.
    pub(super) fn publish(&mut self, place: Place) {
        let Some(bytes) = self
            .seat(place)
            .and_then(|seat| seat.announced.as_ref())
            .map(Message::encode)
        else {
            return;
        };
        self.tally.announced += 1;
        let Some(letter) = self.seal(place, place.node, bytes) else {
            return;
        };
        if let Some(seat) = self.seat(place) {
            seat.remember(&letter);
        }
        self.tell_all(place, &letter);
    }

    /// A message in the name of the author, signed by the member.
    pub(super) fn seal(&mut self, place: Place, author: NodeId, bytes: Vec<u8>) -> Option<Arc<Letter>> {
        let serial = self.number();
        let seat = self.seat(place)?;
        Some(Arc::new(Letter::seal(&seat.key, author, serial, bytes)))
    }

    pub(super) fn tell_all(&mut self, place: Place, letter: &Arc<Letter>) {
        let connected = self
            .seat(place)
            .map(|seat| seat.connections.keys().copied().collect());
        self.tell(place, connected.unwrap_or_default(), letter);
    }

    /// Tells these, but for those who know it: what they hear again changes nothing, so it need not travel.
    pub(super) fn tell(&mut self, place: Place, to: Vec<NodeId>, letter: &Arc<Letter>) {
        for node in to {
            if self.knows(node, letter) {
                self.tally.known += 1;
            } else {
                self.send(place, node, Parcel::Letter(Arc::clone(letter)));
            }
        }
    }

    fn knows(&self, node: NodeId, letter: &Letter) -> bool {
        self.seats.get(&node).is_some_and(|seat| seat.knows(letter))
    }

    /// Looks after the neighbours, and tells a few others what was heard recently.
    pub(super) fn heartbeat(&mut self, place: Place) {
        let now = self.now;
        let Some(seat) = self.seat(place) else { return };
        if seat.next_heartbeat > now {
            return;
        }
        seat.next_heartbeat = now + seat.timing.heartbeat;
        seat.heartbeats += 1;
        seat.forget_old();
        self.keep_neighbours(place);
        self.tell_some(place);
    }

    fn keep_neighbours(&mut self, place: Place) {
        let Some(seat) = self.seats.get(&place.node) else {
            return;
        };
        let count = seat.neighbours().count();
        if count < degree::LOW {
            let wanted = self
                .rng
                .choose_multiple(seat.not_neighbours(), degree::GOAL - count);
            for node in wanted {
                self.graft(place, node);
            }
        } else if count > degree::HIGH {
            let unwanted = self.rng.choose_multiple(seat.neighbours(), count - degree::GOAL);
            for node in unwanted {
                self.tally.prunes += 1;
                self.set_neighbours(place.node, node, false);
            }
        }
    }

    /// Both sides know at once. A member with enough neighbours takes no more.
    fn graft(&mut self, place: Place, node: NodeId) {
        let room = self.seats.get(&node).is_some_and(|other| {
            other.is_connected(place) && !other.is_frozen() && other.neighbours().count() < degree::HIGH
        });
        if room && self.paths.are_whole(place.node, node) {
            self.tally.grafts += 1;
            self.set_neighbours(place.node, node, true);
        }
    }

    fn set_neighbours(&mut self, a: NodeId, b: NodeId, are: bool) {
        for (one, other) in [(a, b), (b, a)] {
            let seat = self.seats.get_mut(&one);
            if let Some(connection) = seat.and_then(|seat| seat.connections.get_mut(&other)) {
                connection.is_neighbour = are;
            }
        }
    }

    fn tell_some(&mut self, place: Place) {
        let Some(seat) = self.seats.get(&place.node) else {
            return;
        };
        if seat.recent.is_empty() {
            return;
        }
        let told = self.rng.choose_multiple(seat.not_neighbours(), degree::LAZY);
        let mut news = Vec::new();
        for node in told {
            let letters: Vec<Arc<Letter>> = seat
                .recent
                .values()
                .filter(|(_, letter)| letter.author != node && !self.knows(node, letter))
                .map(|(_, letter)| Arc::clone(letter))
                .collect();
            news.push((node, letters));
        }
        for (node, letters) in news {
            // Who knows everything already does not answer.
            if letters.is_empty() {
                self.tally.known += 1;
            } else {
                self.send(place, node, Parcel::Have(letters));
            }
        }
    }
}
