//! Golden bytes of what is on disk and between nodes: `raft/tests/golden/raft-1.txt`, a name and hex per line.
//!
//! A line is never changed, only added: what a released version wrote must be read for ever.

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{EntryPayload, Vote};
use proptest::prelude::*;
use tetryx_state::{Outcome, Reply};

use crate::rebuild::Mark;
use crate::records::{self, Blob, StoredMembershipRecord, VoteRecord};
use crate::snapshot::{SnapshotRow, write_file};
use crate::testing::disk::MemoryDisk;
use crate::testing::node;
use crate::types::{
    Entry, LeaderId, LogId, Membership, Proposal, RaftId, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::wire::{Append, AppendOutcome, Request, Response, SnapshotOutcome, TransferOutcome, Turn};

const GOLDEN: &str = include_str!("../../tests/golden/raft-1.txt");

fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: LeaderId {
            term,
            node_id: RaftId(node(1)),
        },
        index,
    }
}

fn membership() -> Membership {
    let voters = vec![
        [RaftId(node(1))].into(),
        [RaftId(node(1)), RaftId(node(2))].into(),
    ];
    let members = std::collections::BTreeMap::from([1, 2, 3].map(|number| (RaftId(node(number)), ())));
    Membership::new(voters, members).expect("the voters are members")
}

fn entries() -> Vec<(&'static str, Entry)> {
    let command = Proposal(Bytes::from_static(b"command"));
    vec![
        (
            "entry-blank",
            Entry {
                log_id: log_id(1, 300),
                payload: EntryPayload::Blank,
            },
        ),
        (
            "entry-command",
            Entry {
                log_id: log_id(2, 301),
                payload: EntryPayload::Normal(command),
            },
        ),
        (
            "entry-membership",
            Entry {
                log_id: log_id(3, 302),
                payload: EntryPayload::Membership(membership()),
            },
        ),
    ]
}

fn vote() -> VoteRecord {
    (&Vote::new_committed(5, RaftId(node(2)))).into()
}

fn requests() -> Vec<(&'static str, Request)> {
    let append: AppendEntriesRequest<TypeConfig> = AppendEntriesRequest {
        vote: vote().into(),
        prev_log_id: Some(log_id(1, 299)),
        entries: entries().into_iter().map(|(_, entry)| entry).collect(),
        leader_commit: Some(log_id(1, 298)),
    };
    let ballot: VoteRequest<TypeConfig> = VoteRequest::new(vote().into(), Some(log_id(1, 299)));
    let id = [6; 16];
    vec![
        (
            "request-append",
            Request::Append(Append::new(&append, Some(Turn { stream: 3, number: 4 }))),
        ),
        ("request-vote", Request::Vote((&ballot).into())),
        ("request-pre-vote", Request::PreVote((&ballot).into())),
        (
            "request-transfer-leader",
            Request::TransferLeader {
                from: vote(),
                to: node(3),
                last: Some((&log_id(1, 299)).into()),
            },
        ),
        (
            "request-snapshot-offer",
            Request::SnapshotOffer {
                vote: vote(),
                id,
                len: 1 << 40,
                last: Some((&log_id(1, 299)).into()),
            },
        ),
        (
            "request-snapshot-piece",
            Request::SnapshotPiece {
                vote: vote(),
                id,
                offset: 9,
                bytes: Blob(Bytes::from_static(b"piece")),
            },
        ),
        (
            "request-snapshot-install",
            Request::SnapshotInstall { vote: vote(), id },
        ),
        (
            "request-propose",
            Request::Propose {
                command: Blob(Bytes::from_static(b"command")),
            },
        ),
        ("request-read-index", Request::ReadIndex),
        (
            "request-snapshot-wanted",
            Request::SnapshotWanted { at_least: 303 },
        ),
        (
            "request-snapshot-read",
            Request::SnapshotRead { id, offset: 262_144 },
        ),
    ]
}

fn responses() -> Vec<(&'static str, Response)> {
    let at = (&log_id(1, 299)).into();
    vec![
        (
            "response-matched",
            Response::Append(AppendOutcome::Matched(Some(at))),
        ),
        ("response-conflict", Response::Append(AppendOutcome::Conflict(at))),
        (
            "response-higher-vote",
            Response::Append(AppendOutcome::HigherVote(vote())),
        ),
        (
            "response-vote",
            Response::Vote {
                vote: vote(),
                granted: true,
                last: Some(at),
            },
        ),
        (
            "response-transfer-accepted",
            Response::TransferLeader(TransferOutcome::Accepted),
        ),
        (
            "response-transfer-vote-changed",
            Response::TransferLeader(TransferOutcome::VoteChanged {
                expected: vote(),
                actual: vote(),
            }),
        ),
        (
            "response-transfer-not-flushed",
            Response::TransferLeader(TransferOutcome::LogNotFlushed {
                expected: Some(at),
                actual: None,
            }),
        ),
        (
            "response-snapshot-has",
            Response::Snapshot(SnapshotOutcome::Has(262_144)),
        ),
        (
            "response-snapshot-installed",
            Response::Snapshot(SnapshotOutcome::Installed(vote())),
        ),
        (
            "response-snapshot-higher-vote",
            Response::Snapshot(SnapshotOutcome::HigherVote(vote())),
        ),
        (
            "response-snapshot-damaged",
            Response::Snapshot(SnapshotOutcome::Damaged),
        ),
        (
            "response-proposed",
            Response::Proposed {
                index: 303,
                reply: Reply::Done(Outcome::MemberAdded),
            },
        ),
        (
            "response-not-leader",
            Response::NotLeader {
                leader: Some(node(2)),
            },
        ),
        ("response-in-doubt", Response::InDoubt { leader: None }),
        (
            "response-failed",
            Response::Failed {
                reason: "no".to_owned(),
            },
        ),
        ("response-read-index", Response::ReadIndex { index: 303 }),
        (
            "response-snapshot-there",
            Response::SnapshotThere {
                id: [6; 16],
                len: 1 << 40,
            },
        ),
        (
            "response-snapshot-bytes",
            Response::SnapshotBytes {
                bytes: Blob(Bytes::from_static(b"piece")),
            },
        ),
    ]
}

fn stored_membership() -> StoredMembership {
    StoredMembership::new(Some(log_id(3, 302)), membership())
}

fn snapshot_bytes() -> Vec<u8> {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(3, 302)),
        last_membership: stored_membership(),
    };
    let rows = [(1_u8, "a"), (2, "b")].map(|(number, text)| {
        let table = tetryx_state::tables::Table::from_number(number).expect("there are more than two");
        Ok(SnapshotRow {
            table,
            key: text.into(),
            value: format!("value {text}").into(),
        })
    });
    let disk = MemoryDisk::default();
    let file = write_file(
        std::sync::Arc::new(disk),
        "golden".to_owned(),
        [8; 16],
        &meta,
        rows.into_iter(),
    );
    file.and_then(|file| file.read_at(0, 4_096))
        .expect("memory works")
}

/// Everything that has golden bytes.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut samples = Vec::new();
    samples.extend(
        entries()
            .iter()
            .map(|(name, entry)| (*name, records::encode_entry(entry))),
    );
    samples.push((
        "membership",
        records::seal(*b"TXMB", 1, &StoredMembershipRecord::from(&stored_membership())),
    ));
    samples.push(("vote", records::seal(*b"TXVO", 1, &vote())));
    let mark = Mark {
        index: 10_000,
        sources: vec![node(1), node(3)],
    };
    samples.push(("mark-diverged", records::seal(*b"TXDV", 1, &mark)));
    samples.extend(
        requests()
            .iter()
            .map(|(name, request)| (*name, request.encode().to_vec())),
    );
    samples.extend(
        responses()
            .iter()
            .map(|(name, response)| (*name, response.encode().to_vec())),
    );
    samples.push(("snapshot", snapshot_bytes()));
    samples
}

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let hex = line
        .unwrap_or_else(|| panic!("{name} has no golden bytes"))
        .as_bytes();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).expect("hex")).expect("a digit");
    hex.chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

#[test]
fn every_format_has_kept_its_bytes() {
    let lines = samples().into_iter().map(|(name, bytes)| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name} {hex}\n")
    });
    let now: String = lines.collect();
    assert!(now == GOLDEN, "the bytes now:\n{now}");
}

#[test]
fn golden_bytes_are_still_read() {
    for (name, entry) in entries() {
        assert_eq!(records::decode_entry(&golden(name)).expect(name), entry);
    }
    for (name, request) in requests() {
        assert_eq!(Request::decode(&golden(name)).expect(name), request);
    }
    for (name, response) in responses() {
        assert_eq!(Response::decode(&golden(name)).expect(name), response);
    }
    let record: StoredMembershipRecord =
        records::open(*b"TXMB", 1, "a membership", &golden("membership")).expect("it is read");
    assert_eq!(
        StoredMembership::try_from(record).expect("it makes sense"),
        stored_membership()
    );
}

#[test]
fn a_membership_of_nobody_is_read_back() {
    let nobody = StoredMembership::default();
    let sealed = records::seal(*b"TXMB", 1, &StoredMembershipRecord::from(&nobody));
    let record: StoredMembershipRecord =
        records::open(*b"TXMB", 1, "a membership", &sealed).expect("it is read");
    assert_eq!(
        StoredMembership::try_from(record).expect("it makes sense"),
        nobody
    );
}

#[test]
fn a_request_of_a_newer_version_is_told_from_a_damaged_one() {
    let newer = tetryx_protocol::envelope::seal(*b"TXRQ", 2, 2, b"whatever");
    assert!(matches!(
        Request::decode(&newer),
        Err(crate::ReplicaError::NeedsUpgrade { .. })
    ));
    let mut damaged = golden("request-vote");
    damaged[20] ^= 1;
    assert!(matches!(
        Request::decode(&damaged),
        Err(crate::ReplicaError::Damaged { .. })
    ));
}

proptest! {
    #[test]
    fn mutated_messages_are_refused_without_a_panic(
        sample in 0..100_usize,
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let samples = samples();
        let mut bytes = samples[sample % samples.len()].1.clone();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        // Whatever they say is fine; that they say it is the claim.
        drop((Request::decode(&bytes), Response::decode(&bytes), records::decode_entry(&bytes)));
    }

    #[test]
    fn payloads_that_are_whole_but_make_no_sense_are_refused_without_a_panic(payload: Vec<u8>) {
        let seal = |kind| tetryx_protocol::envelope::seal(kind, 1, 1, &payload);
        drop((Request::decode(&seal(*b"TXRQ")), Response::decode(&seal(*b"TXRS"))));
        drop(records::decode_entry(&seal(*b"TXLE")));
    }
}
