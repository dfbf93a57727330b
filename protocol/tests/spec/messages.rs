//! What nodes say to one another: joins, and the questions between members.

use std::fmt::Debug;

use proptest::prelude::*;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::{ClusterId, HoldId, NodeId};
use tetryx_protocol::join::{JoinAnswer, JoinRefusal, JoinRequest, Welcome};
use tetryx_protocol::member::{MemberState, Role, RosterEntry};
use tetryx_protocol::message::{Message, MessageError};
use tetryx_protocol::peer::{HoldNar, Holding, PeerRequest, PeerResponse};
use tetryx_protocol::secret::Secret32;
use tetryx_protocol::time::UtcTime;

use crate::fixtures::{assert_golden_text, damaged, damages};

const GOLDEN: &str = include_str!("../golden/messages_v1.txt");

fn time() -> UtcTime {
    UtcTime::from_unix_ms(1_772_452_990_001)
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn roster() -> Vec<RosterEntry> {
    let entry = |number, state, role| RosterEntry {
        node: node(number),
        name: format!("n{number}"),
        zone: "north".to_owned(),
        addresses: vec!["[2001:db8::1]:4480".to_owned()],
        gossip: vec!["[2001:db8::1]:4481".to_owned()],
        http_url: Some("http://n".to_owned()),
        weight: 100,
        state,
        role,
    };
    vec![
        entry(1, MemberState::Active, Role::Voter),
        entry(2, MemberState::Draining { since: time() }, Role::Learner),
        entry(3, MemberState::Removed { at: time() }, Role::Voter),
    ]
}

fn join_request() -> JoinRequest {
    JoinRequest {
        cluster: ClusterId::from_bytes([2; 16]),
        secret: Secret32::from_bytes([4; 32]),
        name: "n1".to_owned(),
        zone: "north".to_owned(),
        addresses: vec!["[2001:db8::1]:4480".to_owned()],
        gossip: vec!["[2001:db8::1]:4481".to_owned()],
        http_url: None,
        weight: 100,
        now: time(),
        feature_level: 2,
    }
}

fn join_answers() -> Vec<JoinAnswer> {
    let welcome = Welcome {
        cluster: ClusterId::from_bytes([2; 16]),
        epoch: 1,
        cluster_secret: Secret32::from_bytes([5; 32]),
        members: roster(),
        index: 300,
        now: time(),
    };
    let refusals = [
        JoinRefusal::UnknownTicket,
        JoinRefusal::UsedTicket { by: node(2) },
        JoinRefusal::ExpiredTicket { at: time() },
        JoinRefusal::OtherCluster,
        JoinRefusal::NameTaken {
            name: "n1".to_owned(),
        },
        JoinRefusal::AlreadyMember,
        JoinRefusal::RemovedNode,
        JoinRefusal::ClockOff { by_ms: -20_000 },
        JoinRefusal::NoQuorum,
        JoinRefusal::NeedsUpgrade,
        JoinRefusal::Invalid {
            reason: "its name is empty".to_owned(),
        },
    ];
    let refusals = refusals.map(|reason| JoinAnswer::Refused { reason });
    [vec![JoinAnswer::Welcome(Box::new(welcome))], refusals.to_vec()].concat()
}

fn manifest(number: u8) -> ManifestHash {
    ManifestHash::from_bytes([number; 32])
}

fn peer_requests() -> Vec<PeerRequest> {
    let hold = HoldId::from_bytes([9; 16]);
    let nar = HoldNar {
        nar_hash: NarHash::from_bytes([7; 32]),
        manifest: manifest(8),
        nar_size: 300,
    };
    vec![
        PeerRequest::Roster,
        PeerRequest::Hold {
            hold,
            nars: vec![nar],
            providers: vec![node(1)],
        },
        PeerRequest::Release { hold, index: 300 },
        PeerRequest::Have {
            manifests: vec![manifest(8)],
        },
        PeerRequest::Layout {
            manifest: manifest(8),
        },
        PeerRequest::HandOver { index: 300 },
        PeerRequest::Collect {
            index: 300,
            dry_run: true,
        },
    ]
}

fn peer_responses() -> Vec<PeerResponse> {
    vec![
        PeerResponse::Roster {
            cluster: ClusterId::from_bytes([2; 16]),
            epoch: 1,
            index: 300,
            members: roster(),
        },
        PeerResponse::Held {
            durable: vec![manifest(8)],
            reason: Some("the disk is full".to_owned()),
        },
        PeerResponse::Released,
        PeerResponse::Have {
            index: 300,
            answers: vec![Holding::No, Holding::Complete, Holding::Placed],
        },
        PeerResponse::Layout {
            frame_lens: vec![300, 5],
        },
        PeerResponse::HandOver { nars: 2, bytes: 300 },
        PeerResponse::Collected {
            chunks: 2,
            bytes: 300,
        },
    ]
}

fn line<M: Message + PartialEq + Debug>(message: &M) -> String {
    let bytes = message.encode();
    assert_eq!(M::decode(&bytes).as_ref(), Ok(message));
    let debug = format!("{message:?}");
    let name = debug.split([' ', '(']).next().expect("a name");
    format!("{name} {}\n", data_encoding::HEXLOWER.encode(&bytes))
}

#[test]
fn the_messages_of_version_1_are_these() {
    let mut text = line(&join_request());
    join_answers()
        .iter()
        .for_each(|answer| text.push_str(&line(answer)));
    peer_requests()
        .iter()
        .for_each(|request| text.push_str(&line(request)));
    peer_responses()
        .iter()
        .for_each(|response| text.push_str(&line(response)));
    assert_golden_text("messages_v1.txt", GOLDEN, &text);
}

#[test]
fn refusals_say_what_to_do_next() {
    let text = |reason: JoinRefusal| reason.to_string();
    assert_eq!(
        text(JoinRefusal::ClockOff { by_ms: -20_000 }),
        "this machine's clock is 20000 ms behind the cluster's; set it (for example with NTP) and join again"
    );
    assert_eq!(
        text(JoinRefusal::ClockOff { by_ms: 15 }),
        "this machine's clock is 15 ms ahead of the cluster's; set it (for example with NTP) and join again"
    );
    assert_eq!(
        text(JoinRefusal::UsedTicket { by: node(2) }),
        format!(
            "this ticket was used by node {}; each admits one node: ask for a new one with 'tetryx-cli node invite'",
            node(2)
        )
    );
}

#[test]
fn a_message_is_not_taken_for_another() {
    let request = PeerRequest::Roster.encode();
    let refused = PeerResponse::decode(&request).expect_err("another kind");
    assert!(matches!(refused, MessageError::Envelope { .. }));
    assert_eq!(
        refused.to_string(),
        "the answer of a peer is damaged or something else"
    );
}

#[test]
fn a_message_of_a_newer_node_asks_for_an_upgrade() {
    let newer = tetryx_protocol::envelope::seal(*b"TXPQ", 2, 2, b"of the future");
    let refused = PeerRequest::decode(&newer).expect_err("too new");
    assert!(matches!(refused, MessageError::NeedsUpgrade { .. }));
    let unknown = tetryx_protocol::envelope::seal(*b"TXPQ", 1, 1, &[200]);
    assert!(matches!(
        PeerRequest::decode(&unknown),
        Err(MessageError::Payload { .. })
    ));
}

#[test]
fn nothing_follows_a_message() {
    let longer = tetryx_protocol::envelope::seal(*b"TXPQ", 1, 1, &[0, 0]);
    let refused = PeerRequest::decode(&longer).expect_err("too long");
    assert_eq!(refused.to_string(), "a request of a peer: 1 bytes follow it");
}

#[test]
fn a_message_longer_than_its_kind_allows_is_refused_unread() {
    let len = <JoinRequest as Message>::LEN_MAX + 1;
    let refused = JoinRequest::decode(&vec![0; len]).expect_err("too long");
    assert!(matches!(refused, MessageError::TooLong { .. }));
}

#[test]
fn nothing_shows_a_secret() {
    let debug = format!("{:?} {:?}", join_request(), join_answers()[0]);
    assert!(debug.contains("<redacted>") && !debug.contains("4, 4") && !debug.contains("5, 5"));
}

/// An envelope that is whole, around a payload that is damaged.
fn hostile<M: Message>(message: &M, damages: &[crate::fixtures::Damage]) -> Vec<u8> {
    let payload = message.encode().split_off(tetryx_protocol::envelope::HEADER_LEN);
    tetryx_protocol::envelope::seal(M::MAGIC, 1, 1, &damaged(&payload, damages))
}

proptest! {
    #[test]
    fn hostile_messages_never_panic(which in any::<prop::sample::Index>(), damages in damages()) {
        let _ = JoinRequest::decode(&hostile(&join_request(), &damages));
        let _ = JoinAnswer::decode(&hostile(which.get(&join_answers()), &damages));
        let _ = PeerRequest::decode(&hostile(which.get(&peer_requests()), &damages));
        let _ = PeerResponse::decode(&hostile(which.get(&peer_responses()), &damages));
        let _ = PeerResponse::decode(&damaged(&which.get(&peer_responses()).encode(), &damages));
    }
}
