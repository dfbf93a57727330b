//! Join tickets.

use proptest::prelude::*;
use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::secret::Secret32;
use tetryx_protocol::ticket::{JoinTicket, TICKET_LEN_MAX, TicketError, TicketMember};
use tetryx_protocol::time::UtcTime;

use crate::fixtures::{assert_golden_text, damaged_text, damages};

const GOLDEN: &str = include_str!("../golden/ticket_v1.txt");

fn ticket() -> JoinTicket {
    JoinTicket {
        cluster: ClusterId::from_bytes([2; 16]),
        token_public_key: [3; 32],
        secret: Secret32::from_bytes([4; 32]),
        expires: UtcTime::from_unix_ms(1_772_452_990_001),
        members: vec![TicketMember {
            node: NodeId::from_bytes([1; 32]),
            addresses: vec![
                "[2001:db8::1]:4480".to_owned(),
                "svalbard.example:4480".to_owned(),
            ],
        }],
    }
}

fn refused(text: &str) -> TicketError {
    text.parse::<JoinTicket>().expect_err("it is refused")
}

#[test]
fn a_ticket_is_this_line() {
    let text = format!("{}\nknown by {}\n", ticket(), ticket().secret_hash());
    assert_golden_text("ticket_v1.txt", GOLDEN, &text);
    let line = GOLDEN.lines().next().expect("a line");
    assert_eq!(line.parse::<JoinTicket>(), Ok(ticket()));
}

#[test]
fn a_ticket_may_be_wrapped_and_shouted() {
    let text = ticket().to_string();
    let (first, second) = text.split_at(50);
    let wrapped = format!("  {first}\n  {second}\n");
    assert_eq!(wrapped.parse::<JoinTicket>(), Ok(ticket()));
    assert_eq!(text.to_ascii_uppercase().parse::<JoinTicket>(), Ok(ticket()));
}

#[test]
fn a_ticket_that_is_cut_off_says_so_wherever_it_is_cut() {
    let text = ticket().to_string();
    for len in 1..text.len() {
        assert_eq!(refused(&text[..len]), TicketError::CutOff, "cut at {len}");
    }
    assert_eq!(
        TicketError::CutOff.to_string(),
        "the ticket is cut off; copy the whole line"
    );
}

#[test]
fn a_ticket_with_one_wrong_character_was_mistyped() {
    let text = ticket().to_string();
    for at in "txjoin1".len()..text.len() {
        let wrong = if &text[at..=at] == "a" { "b" } else { "a" };
        let typo = format!("{}{wrong}{}", &text[..at], &text[at + 1..]);
        // The last character carries bits beyond the last byte, the first ones say what and how long it is.
        assert!(
            matches!(refused(&typo), TicketError::Mistyped { .. } | TicketError::CutOff),
            "wrong at {at}: {:?}",
            refused(&typo)
        );
    }
    let typo = text.replacen("txjoin1", "txjoin18", 1);
    assert_eq!(
        refused(&typo).to_string(),
        "the ticket was mistyped: character 8 is none of a-z and 2-7; copy it again"
    );
}

#[test]
fn something_else_is_no_ticket() {
    for text in ["", "hello", "https://example.org", "txjoinx", "eyJhbGciOi.a.b"] {
        assert_eq!(refused(text), TicketError::NotATicket, "{text}");
    }
}

#[test]
fn a_ticket_of_another_version_says_which() {
    let text = ticket().to_string().replacen("txjoin1", "txjoin2", 1);
    let found = "txjoin2".to_owned();
    assert_eq!(refused(&text), TicketError::Version { found });
}

#[test]
fn a_text_longer_than_any_ticket_is_refused_unread() {
    let len = TICKET_LEN_MAX + 1;
    assert_eq!(refused(&"a".repeat(len)), TicketError::TooLong { len });
}

#[test]
fn nothing_shows_the_secret() {
    let debug = format!("{:?}", ticket());
    assert!(debug.contains("<redacted>") && !debug.contains("4, 4"), "{debug}");
    let wrong = ticket().to_string().replace("cqcacba", "cqcacbb");
    assert!(!refused(&format!("{wrong}a")).to_string().contains("txjoin1a"));
}

proptest! {
    #[test]
    fn damaged_tickets_never_panic_and_never_pass(damages in damages()) {
        let text = damaged_text(&ticket().to_string(), &damages);
        if let Ok(read) = text.parse::<JoinTicket>() {
            prop_assert_eq!(read, ticket());
        }
    }

    #[test]
    fn any_text_is_a_ticket_or_an_error(text in ".{0,80}") {
        let _ = text.parse::<JoinTicket>();
        let _ = format!("txjoin1{text}").parse::<JoinTicket>();
    }
}
