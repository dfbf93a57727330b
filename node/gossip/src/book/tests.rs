use std::cell::Cell;

use tetryx_protocol::presence::{HeldDigest, PresenceState};
use tetryx_protocol::time::UtcTime;

use super::*;

const OWN: NodeId = NodeId::from_bytes([0; 32]);
const ALICE: NodeId = NodeId::from_bytes([1; 32]);
const BOB: NodeId = NodeId::from_bytes([2; 32]);
const STRANGER: NodeId = NodeId::from_bytes([9; 32]);

fn presence(node: NodeId, seq: u64) -> Presence {
    Presence {
        node,
        seq,
        at: UtcTime::UNIX_EPOCH,
        applied_index: 7,
        free_bytes: 1 << 30,
        load_permille: 12,
        held: HeldDigest::default(),
        state: PresenceState::Serving,
        version: "0.1.0".to_owned(),
        feature_level: 1,
    }
}

/// A book of three members, and a clock that stands unless it is moved.
struct Desk {
    book: Book,
    now: Cell<u64>,
}

impl Desk {
    fn new() -> Self {
        let mut book = Book::new(OWN, Duration::from_secs(600));
        book.set_members([OWN, ALICE, BOB]);
        Self {
            book,
            now: Cell::new(1),
        }
    }

    fn now(&self) -> Elapsed {
        Elapsed::ZERO.plus(Duration::from_secs(self.now.get()))
    }

    fn judge(&mut self, author: NodeId, carrier: NodeId, bytes: &[u8]) -> Judgement {
        let letter = Letter {
            author,
            carrier,
            read: &|| Content::read(bytes),
        };
        let now = self.now();
        let judgement = self.book.judge(letter, now);
        if let Some(offence) = judgement.offence {
            self.book.conduct.charge(carrier, offence, now);
        }
        judgement
    }

    fn says(&mut self, author: NodeId, carrier: NodeId, seq: u64) -> Judgement {
        self.judge(author, carrier, &presence(author, seq).encode())
    }
}

fn kept(judgement: &Judgement) -> bool {
    matches!(judgement.verdict, Verdict::Keep(_))
}

#[test]
fn a_presence_is_kept_whoever_carries_it() {
    let mut desk = Desk::new();
    assert!(kept(&desk.says(ALICE, ALICE, 1)));
    assert!(kept(&desk.says(ALICE, BOB, 2)));
}

#[test]
fn a_presence_that_was_heard_before_is_ignored_and_costs_nobody_anything() {
    let mut desk = Desk::new();
    desk.says(ALICE, ALICE, 5);
    assert_eq!(desk.says(ALICE, ALICE, 5), Judgement::ignore());
    assert_eq!(desk.says(ALICE, BOB, 4), Judgement::ignore());
}

#[test]
fn who_goes_backwards_in_its_own_words_is_charged() {
    let mut desk = Desk::new();
    desk.says(ALICE, ALICE, 5);
    assert_eq!(
        desk.says(ALICE, ALICE, 4),
        Judgement::ignore_for(Offence::Backwards)
    );
    assert!(kept(&desk.says(ALICE, ALICE, 6)));
}

#[test]
fn a_presence_of_somebody_else_is_rejected() {
    let mut desk = Desk::new();
    let spoofed = presence(BOB, 1).encode();
    assert_eq!(
        desk.judge(ALICE, ALICE, &spoofed),
        Judgement::reject_for(Offence::Spoofed)
    );
    assert!(
        kept(&desk.says(BOB, BOB, 1)),
        "the one it was about has lost nothing"
    );
}

#[test]
fn bytes_that_are_no_presence_are_rejected() {
    let mut desk = Desk::new();
    for bytes in [&b""[..], b"garbage", &[0; 70_000]] {
        let judgement = desk.judge(ALICE, ALICE, bytes);
        assert_eq!(judgement, Judgement::reject_for(Offence::Garbage));
    }
}

#[test]
fn a_presence_of_a_newer_version_is_no_offence() {
    let mut desk = Desk::new();
    for (schema, min_reader) in [(2, 2), (2, 1)] {
        let newer = envelope::seal(Presence::MAGIC, schema, min_reader, b"\xff\xff\xff");
        assert_eq!(desk.judge(ALICE, ALICE, &newer), Judgement::ignore());
    }
}

#[test]
fn a_stranger_is_not_heard_and_its_carrier_not_charged() {
    let mut desk = Desk::new();
    assert_eq!(desk.says(STRANGER, ALICE, 1), Judgement::ignore());
    assert_eq!(desk.says(ALICE, STRANGER, 1), Judgement::ignore());
}

#[test]
fn an_honest_pace_is_never_charged() {
    let mut desk = Desk::new();
    for second in 1..10_000 {
        desk.now.set(second);
        for half in 0..2 {
            assert!(kept(&desk.says(ALICE, ALICE, second * 2 + half)));
            assert!(kept(&desk.says(BOB, ALICE, second * 2 + half)));
        }
    }
}

#[test]
fn who_floods_with_its_own_presences_is_dropped() {
    let mut desk = Desk::new();
    let heard = (1..1_000)
        .filter(|seq| kept(&desk.says(ALICE, ALICE, *seq)))
        .count();
    assert_eq!(heard as u64, BURST);
    assert!(desk.book.conduct.is_dropped(&ALICE, desk.now()));
    assert!(kept(&desk.says(BOB, BOB, 1)), "others are heard as before");
}

#[test]
fn who_floods_with_old_words_of_another_is_dropped_and_the_other_is_not() {
    let mut desk = Desk::new();
    let old = presence(BOB, 1).encode();
    for _ in 0..1_000 {
        desk.judge(BOB, ALICE, &old);
    }
    assert!(desk.book.conduct.is_dropped(&ALICE, desk.now()));
    assert!(!desk.book.conduct.is_dropped(&BOB, desk.now()));
    desk.now.set(60);
    assert!(kept(&desk.says(BOB, BOB, 2)));
}

#[test]
fn what_was_kept_back_and_let_loose_at_once_is_not_charged_to_its_author() {
    let mut desk = Desk::new();
    for seq in 1..90 {
        desk.says(BOB, ALICE, seq);
    }
    assert!(!desk.book.conduct.is_dropped(&BOB, desk.now()));
}

#[test]
fn a_dropped_member_is_neither_heard_nor_carried() {
    let mut desk = Desk::new();
    let now = desk.now();
    desk.book.conduct.charge(ALICE, Offence::Protocol, now);
    assert_eq!(desk.says(ALICE, ALICE, 1), Judgement::ignore());
    assert_eq!(desk.says(ALICE, BOB, 1), Judgement::ignore());
    assert_eq!(desk.says(BOB, ALICE, 1), Judgement::ignore());
}

#[test]
fn a_member_that_was_removed_begins_anew_when_it_is_one_again() {
    let mut desk = Desk::new();
    desk.says(ALICE, ALICE, 9);
    desk.book.set_members([OWN, BOB]);
    desk.book.set_members([OWN, BOB, ALICE]);
    assert!(kept(&desk.says(ALICE, ALICE, 1)));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let judgement = Desk::new().judge(ALICE, ALICE, &bytes);
        assert!(!kept(&judgement));
    }

    #[test]
    fn the_number_that_is_kept_only_grows(seqs: Vec<u64>) {
        let mut desk = Desk::new();
        let mut last = None;
        for (second, seq) in (1..).zip(seqs) {
            desk.now.set(second * 100);
            if kept(&desk.says(ALICE, ALICE, seq)) {
                assert!(last.is_none_or(|last| seq > last));
                last = Some(seq);
            }
        }
    }
}
