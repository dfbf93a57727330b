//! Connections: who dials whom, and when one side notices that the other one is gone.

use std::time::Duration;

use tetryx_protocol::id::NodeId;

use super::event::{Event, Parcel, State};
use super::seat::{Place, Seat};
use crate::Timing;
use crate::dialling::Dialling;

impl State {
    /// Takes over who is a member, lets go of who is not, and dials who is to be dialled.
    pub(super) fn read_roster(&mut self, place: Place) {
        let Some(seat) = self.seat(place) else { return };
        if seat.read_roster() {
            let gone: Vec<NodeId> = seat
                .connections
                .keys()
                .filter(|node| !seat.admits(node))
                .copied()
                .collect();
            for node in gone {
                self.hang_up(place, node);
            }
        }
        let Some(seat) = self.seat(place) else { return };
        let now = seat.elapsed();
        let due = seat.dialling.due(now);
        for node in due {
            self.dial(place, node);
        }
    }

    fn dial(&mut self, from: Place, to: NodeId) {
        let answers = self.answers(from.node, to);
        let Some(seat) = self.seat(from) else { return };
        if seat.connections.contains_key(&to) {
            seat.dialling.connected(&to);
            return;
        }
        let patience = seat.timing.handshake;
        let round_trip = self.paths.round_trip(from.node, to);
        let takes = if answers { round_trip * 3 / 2 } else { patience };
        self.at(self.now + takes, Event::Dialled { from, to });
    }

    /// Whether somebody is there who hears and is heard.
    fn answers(&self, from: NodeId, to: NodeId) -> bool {
        let awake = self.seats.get(&to).is_some_and(|seat| !seat.is_frozen());
        awake && self.paths.are_whole(from, to)
    }

    pub(super) fn dialled(&mut self, from: Place, to: NodeId) {
        let answers = self.answers(from.node, to);
        let there = self.seats.get(&to).map(Seat::place);
        let already = there.is_some_and(|there| {
            self.seat(from).is_some_and(|seat| seat.is_connected(there))
                && self.seat(there).is_some_and(|seat| seat.is_connected(from))
        });
        if already {
            if let Some(seat) = self.seat(from) {
                seat.dialling.connected(&to);
            }
            return;
        }
        let admitted = match there {
            Some(there) if answers => self.is_admitted(from, there),
            _ => false,
        };
        let Some((seat, there)) = self.seat(from).zip(there) else {
            self.dial_failed(from, to);
            return;
        };
        if !admitted || !seat.admits(&to) {
            self.dial_failed(from, to);
            return;
        }
        seat.connect(there);
        self.unrest += 1;
        if let Some(seat) = self.seat(there) {
            seat.connect(from);
        }
        self.tally.connected += 1;
    }

    fn dial_failed(&mut self, from: Place, to: NodeId) {
        if let Some(seat) = self.seat(from) {
            let now = seat.elapsed();
            seat.dialling.failed(&to, now);
        }
    }

    /// Who became a member since the roster was last read has to knock again.
    fn is_admitted(&mut self, from: Place, there: Place) -> bool {
        let Some(seat) = self.seat(there) else {
            return false;
        };
        if seat.admits(&from.node) {
            return true;
        }
        if !seat.book.is_member(&from.node) && seat.roster.is_member(from.node) {
            self.read_roster(there);
        }
        false
    }

    /// Ends the connections over which nothing has come for too long, and those that the other side has ended.
    pub(super) fn notice_silence(&mut self, place: Place) {
        let Some(seat) = self.seats.get(&place.node) else {
            return;
        };
        if seat.calm_since == Some(self.unrest) {
            return;
        }
        let mut ended = Vec::new();
        let mut silent = Vec::new();
        let mut is_calm = true;
        for (node, connection) in &seat.connections {
            let other = self.seats.get(node).filter(|seat| seat.life == connection.life);
            let heard =
                other.is_some_and(|other| !other.is_frozen()) && self.paths.are_whole(place.node, *node);
            is_calm &= heard;
            match (heard, connection.silent_since) {
                (true, _) if other.is_some_and(|other| !other.is_connected(place)) => ended.push(*node),
                (true, Some(_)) => silent.push((*node, None)),
                (true, None) => {}
                (false, None) => silent.push((*node, Some(self.now))),
                (false, Some(since)) if self.now - since >= seat.timing.idle => ended.push(*node),
                (false, Some(_)) => {}
            }
        }
        let unrest = self.unrest;
        let Some(seat) = self.seat(place) else { return };
        seat.calm_since = is_calm.then_some(unrest);
        for (node, since) in silent {
            if let Some(connection) = seat.connections.get_mut(&node) {
                connection.silent_since = since;
            }
        }
        for node in ended {
            self.lose(place, node);
        }
    }

    /// Ends this side of a connection.
    pub(super) fn lose(&mut self, place: Place, other: NodeId) {
        if self.seat(place).is_some_and(|seat| seat.disconnect(&other)) {
            self.tally.disconnected += 1;
            self.unrest += 1;
        }
    }

    /// Ends a connection, and tells the other side.
    fn hang_up(&mut self, place: Place, other: NodeId) {
        self.send(place, other, Parcel::Goodbye);
        self.lose(place, other);
    }

    fn hang_up_all(&mut self, place: Place) {
        let seat = self.seat(place);
        let connected = seat.map(|seat| seat.connections.keys().copied().collect());
        let connected: Vec<NodeId> = connected.unwrap_or_default();
        for other in connected {
            self.hang_up(place, other);
        }
    }

    /// Makes the connections anew with timers for this round trip, unless the present ones fit.
    pub(super) fn retime(&mut self, place: Place, rtt: Duration) {
        let Some(seat) = self.seat(place) else { return };
        if !seat.timing.misfits(rtt) {
            return;
        }
        seat.timing = Timing {
            penalty: seat.timing.penalty,
            ..Timing::for_rtt(rtt)
        };
        self.hang_up_all(place);
        let Some(seat) = self.seat(place) else { return };
        seat.dialling = Dialling::new(seat.own, &seat.timing);
        seat.members = None;
        self.read_roster(place);
    }

    /// Goes, with a goodbye.
    pub(super) fn leave(&mut self, place: Place) {
        if self.seat(place).is_some() {
            self.hang_up_all(place);
            self.remove(place.node);
        }
    }

    /// Goes, without a word.
    pub(super) fn remove(&mut self, node: NodeId) {
        self.seats.remove(&node);
        self.unrest += 1;
    }

    pub(super) fn set_cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        self.paths.set_cut(from, to, cut);
        self.unrest += 1;
    }

    pub(super) fn heal_all(&mut self) {
        self.paths.heal_all();
        self.unrest += 1;
    }

    pub(super) fn freeze(&mut self, node: NodeId) {
        self.unrest += 1;
        if let Some(seat) = self.seats.get_mut(&node) {
            seat.held.get_or_insert_default();
        }
    }

    /// What arrived meanwhile happens now.
    pub(super) fn thaw(&mut self, node: NodeId) {
        self.unrest += 1;
        let held = self.seats.get_mut(&node).and_then(|seat| seat.held.take());
        for event in held.into_iter().flatten() {
            self.at(self.now, event);
        }
    }
}
