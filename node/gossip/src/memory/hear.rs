//! What a member does with what arrives.

use std::sync::Arc;

use tetryx_protocol::id::NodeId;

use super::event::{Parcel, State};
use super::letter::Letter;
use super::seat::Place;
use crate::Seen;
use crate::book::{self, Verdict};
use crate::conduct::Offence;

/// Messages with a signature that is not their author's after which a connection's other end is dropped: as many as
/// gossipsub's own score allows.
const FORGED_MAX: u32 = 6;

impl State {
    pub(super) fn arrives(&mut self, from: Place, to: Place, what: Parcel) {
        let cut = self.paths.is_cut(from.node, to.node);
        let Some(seat) = self.seat(to) else { return };
        if cut || !seat.is_connected(from) {
            self.tally.lost += 1;
            return;
        }
        match what {
            Parcel::Letter(letter) => self.hear(from, to, &letter),
            Parcel::Have(mut letters) => {
                letters.retain(|letter| !seat.knows(letter));
                if !letters.is_empty() {
                    self.send(to, from.node, Parcel::Want(letters));
                }
            }
            Parcel::Want(letters) => {
                for letter in letters {
                    self.tally.asked += 1;
                    self.tell(to, vec![from.node], &letter);
                }
            }
            Parcel::Goodbye => self.lose(to, from.node),
        }
    }

    fn hear(&mut self, from: Place, to: Place, letter: &Arc<Letter>) {
        let Some(seat) = self.seat(to) else { return };
        if seat.knows(letter) {
            self.tally.known += 1;
            return;
        }
        if !letter.is_genuine() {
            self.tally.refused += 1;
            self.count_forged(from.node, to);
            return;
        }
        seat.seen.insert(letter.author, letter.serial);
        let now = seat.elapsed();
        let judged = book::Letter {
            author: letter.author,
            carrier: from.node,
            read: &|| letter.read(),
        };
        let judgement = seat.book.judge(judged, now);
        match judgement.verdict {
            Verdict::Keep(presence) => {
                let seen = Seen { presence, heard: now };
                seat.board.presences.send_modify(|presences| {
                    Arc::make_mut(presences).insert(letter.author, seen);
                });
                seat.remember(letter);
                let neighbours = seat.neighbours();
                let pass_to = neighbours
                    .filter(|node| *node != from.node && *node != letter.author)
                    .collect();
                self.tally.kept += 1;
                self.tell(to, pass_to, letter);
            }
            Verdict::Ignore => {}
            Verdict::Reject => self.tally.refused += 1,
        }
        if let Some(offence) = judgement.offence {
            self.charge(to, from.node, offence);
        }
    }

    fn count_forged(&mut self, carrier: NodeId, at: Place) {
        let connection = self.seat(at).and_then(|seat| seat.connections.get_mut(&carrier));
        if let Some(connection) = connection {
            connection.forged += 1;
            if connection.forged >= FORGED_MAX {
                self.charge(at, carrier, Offence::Protocol);
            }
        }
    }

    /// Charges a member, and drops it when that is enough: its connection, and what it claimed.
    pub(super) fn charge(&mut self, at: Place, node: NodeId, offence: Offence) {
        let Some(seat) = self.seat(at) else { return };
        let now = seat.elapsed();
        if !seat.book.is_member(&node) || !seat.book.conduct.charge(node, offence, now) {
            return;
        }
        tracing::warn!(
            node = %node,
            for_seconds = seat.timing.penalty.as_secs(),
            "a member sent {}; it is dropped from gossip for a while",
            offence.as_str(),
        );
        seat.forget_presences(|other| *other != node);
        seat.members = None;
        self.read_roster(at);
    }
}
