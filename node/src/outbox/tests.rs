//! The journal and what is made of it. What clients see is in `simulations/tests/outbox.rs`.

use std::sync::Arc;

use futures::FutureExt as _;
use tetryx_environment::Io;
use tetryx_protocol::api::OutboxState;
use tetryx_protocol::hash::{FileHash, ManifestHash, NarHash};
use tetryx_protocol::id::{ClientId, NodeId, ProposalId, TokenId};
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{NewNar, NewPath};
use tetryx_store::disk::{Disk, DiskFile, MemoryDisk, OpenMode, Survivors};

use super::entry::{Entry, EntryId, Record};
use super::error::OutboxError;
use super::journal::Journal;
use super::{Outbox, State};
use crate::testing::TestEntropy;

fn path(number: u8) -> NewPath {
    let name = format!("path-{number}").parse().unwrap();
    NewPath {
        store_path: StorePath::new(StorePathHash::from_bytes([number; 20]), name),
        nar_hash: NarHash::from_bytes([number; 32]),
        references: Vec::new(),
        deriver: None,
        system: None,
        ca: None,
        signatures: Vec::new(),
        nar: NewNar {
            nar_size: 3,
            manifest: ManifestHash::from_bytes([number; 32]),
            file_size: 2,
            file_hash: FileHash::from_bytes([number; 32]),
            origin: NodeId::from_bytes([9; 32]),
        },
    }
}

fn entry(numbers: &[u8]) -> Entry {
    Entry {
        cache: "main".parse().unwrap(),
        by: "alice".to_owned(),
        token: Some(TokenId::from_bytes([7; 16])),
        accepted: UtcTime::from_unix_ms(1_772_452_800_000),
        paths: numbers.iter().map(|number| path(*number)).collect(),
        upstream: Vec::new(),
        proposal: None,
    }
}

fn proposal(serial: u64) -> ProposalId {
    ProposalId {
        client: ClientId::from_bytes([5; 16]),
        serial,
    }
}

fn waiting(number: u8) -> Record {
    Record::Waiting(EntryId::first(u64::from(number)), entry(&[number]))
}

fn file(disk: &MemoryDisk) -> Arc<dyn DiskFile> {
    let mut names = disk.list().unwrap();
    names.sort();
    disk.open(names.last().unwrap(), OpenMode::Existing).unwrap()
}

fn open(disk: &Arc<MemoryDisk>) -> Result<(Journal, Vec<Record>), OutboxError> {
    Journal::open(Arc::clone(disk) as _)
}

/// What the journal says besides where it begins.
fn said(records: Vec<Record>) -> Vec<Record> {
    let mut records = records;
    records.retain(|record| *record != Record::Begun);
    records
}

fn state(records: Vec<Record>) -> State {
    let mut state = State::default();
    records.into_iter().for_each(|record| state.apply(record));
    state
}

#[test]
fn the_bytes_of_every_record_are_as_committed() {
    let id = EntryId {
        sequence: 300,
        part: 2,
    };
    let remembered = state(vec![
        Record::Waiting(id, entry(&[1])),
        Record::Decided(id, vec![OutboxState::Applied { index: 300 }]),
    ]);
    let remembered = remembered.decided.oldest_first().next().unwrap().clone();
    let samples = [
        Record::Begun,
        Record::Waiting(
            id,
            Entry {
                proposal: Some(proposal(300)),
                upstream: vec![path(2).store_path],
                ..entry(&[1])
            },
        ),
        Record::Proposed(id, proposal(300)),
        Record::Split(id),
        Record::Decided(
            id,
            vec![
                OutboxState::Waiting,
                OutboxState::Applied { index: 300 },
                OutboxState::Duplicate { index: 300 },
                OutboxState::Refused {
                    reason: "no".to_owned(),
                },
            ],
        ),
        Record::Remembered(remembered),
        Record::Sequence(300),
    ];
    let disk = Arc::new(MemoryDisk::new());
    let (mut journal, _) = open(&disk).unwrap();
    journal.append(&samples[1..]).unwrap();
    let len = file(&disk).len().unwrap();
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    file(&disk).read_at(0, &mut bytes).unwrap();
    let found = data_encoding::HEXLOWER.encode(&bytes);
    assert_eq!(found, include_str!("golden/journal_v1.hex").trim());
    assert_eq!(open(&disk).unwrap().1, samples);
}

#[test]
fn what_was_appended_is_read_back() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut journal, records) = open(&disk).unwrap();
    assert_eq!(records, []);
    journal.append(&[waiting(1)]).unwrap();
    journal
        .append(&[waiting(2), Record::Split(EntryId::first(1))])
        .unwrap();
    disk.restart(Survivors::Synced);
    let (_, records) = open(&disk).unwrap();
    let expected = [waiting(1), waiting(2), Record::Split(EntryId::first(1))];
    assert_eq!(said(records), expected);
}

#[test]
fn what_a_crash_left_of_the_last_record_is_cut_off() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut journal, _) = open(&disk).unwrap();
    journal.append(&[waiting(1)]).unwrap();
    let whole = file(&disk).len().unwrap();
    journal.append(&[waiting(2)]).unwrap();
    let end = file(&disk).len().unwrap();
    for len in (whole..end).rev() {
        file(&disk).set_len(len).unwrap();
        let (_, records) = open(&disk).unwrap();
        assert_eq!(said(records), [waiting(1)], "cut at {len}");
        assert_eq!(file(&disk).len().unwrap(), whole);
        let (mut journal, _) = open(&disk).unwrap();
        journal.append(&[waiting(2)]).unwrap();
    }
}

#[test]
fn damage_before_the_last_record_is_refused_in_words() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut journal, _) = open(&disk).unwrap();
    journal.append(&[waiting(1)]).unwrap();
    let second = file(&disk).len().unwrap();
    journal.append(&[waiting(2)]).unwrap();
    drop(journal);
    let name = disk.list().unwrap().pop().unwrap();
    for offset in 0..second {
        disk.flip_bit(&name, offset, 3);
        let error = open(&disk).expect_err("it is damaged");
        assert!(
            matches!(error, OutboxError::Damaged { .. }),
            "damaged at {offset}: {error}"
        );
        disk.flip_bit(&name, offset, 3);
    }
    assert_eq!(open(&disk).unwrap().1.len(), 3);
}

#[test]
fn records_of_a_newer_version_ask_for_an_upgrade() {
    let newer = [
        tetryx_protocol::envelope::seal(*b"TXOB", 2, 2, b"of the future"),
        tetryx_protocol::envelope::seal(*b"TXOB", 1, 1, &[200]),
    ];
    for bytes in newer {
        let disk = Arc::new(MemoryDisk::new());
        open(&disk).unwrap();
        let end = file(&disk).len().unwrap();
        file(&disk).write_at(end, &bytes).unwrap();
        let error = open(&disk).expect_err("it is newer");
        let text =
            "the outbox file journal-0000000000000001 was written by a newer version; upgrade this node";
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_write_that_fails_leaves_the_journal_as_it_was() {
    for spoil in [(|disk| disk.fail_syncs(1)) as fn(&MemoryDisk), |disk| {
        disk.fail_writes_after(Some(20))
    }] {
        let disk = Arc::new(MemoryDisk::new());
        let (mut journal, _) = open(&disk).unwrap();
        journal.append(&[waiting(1)]).unwrap();
        spoil(&disk);
        assert!(journal.append(&[waiting(2)]).is_err());
        disk.fail_writes_after(None);
        journal.append(&[waiting(3)]).unwrap();
        disk.restart(Survivors::Synced);
        assert_eq!(said(open(&disk).unwrap().1), [waiting(1), waiting(3)]);
    }
}

#[test]
fn a_journal_that_cannot_be_put_in_order_takes_nothing_more() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut journal, _) = open(&disk).unwrap();
    disk.fail_syncs(2);
    assert!(journal.append(&[waiting(1)]).is_err());
    assert!(matches!(journal.append(&[waiting(2)]), Err(OutboxError::Broken)));
}

#[tokio::test]
async fn an_outbox_that_cannot_be_put_in_order_says_so_and_is_well_when_opened_again() {
    let disk = Arc::new(MemoryDisk::new());
    let opened = || Outbox::open(Arc::clone(&disk) as _, Io::inline(), &TestEntropy::new(1)).unwrap();
    let outbox = opened();
    outbox.take(entry(&[1])).await.unwrap();
    disk.fail_syncs(1);
    outbox.take(entry(&[2])).await.expect_err("its sync fails");
    assert!(outbox.broken().now_or_never().is_none(), "that was undone");
    disk.fail_syncs(2);
    outbox.take(entry(&[2])).await.expect_err("its sync fails");

    let why = outbox.broken().now_or_never().expect("that could not be undone");
    assert!(matches!(why, OutboxError::Broken), "{why}");
    drop(outbox);

    disk.restart(Survivors::Synced);
    let outbox = opened();
    assert!(outbox.broken().now_or_never().is_none());
    outbox.take(entry(&[3])).await.unwrap();
    assert_eq!(outbox.counts().waiting, 2);
}

#[test]
fn a_crash_at_any_step_leaves_what_was_appended_before() {
    let run = |disk: &Arc<MemoryDisk>| -> Result<(), OutboxError> {
        let (mut journal, _) = open(disk)?;
        journal.append(&[waiting(1)])?;
        journal.rewrite(&[waiting(1)])?;
        journal.append(&[waiting(2)])
    };
    let disk = Arc::new(MemoryDisk::new());
    run(&disk).unwrap();
    for step in 0..=disk.operations() {
        for survivors in [
            Survivors::Synced,
            Survivors::Everything,
            Survivors::Torn(step),
            Survivors::Torn(step + 1_000),
        ] {
            let disk = Arc::new(MemoryDisk::new());
            disk.crash_at(step);
            let acknowledged = run(&disk).is_ok();
            disk.restart(survivors);
            let (mut journal, records) = open(&disk).expect("it opens after any crash");
            let said = said(records);
            if acknowledged {
                assert_eq!(said, [waiting(1), waiting(2)]);
            }
            let all = [waiting(1), waiting(2)];
            assert!(all.starts_with(&said), "crash at {step}, {survivors:?}: {said:?}");
            journal.append(&[waiting(3)]).unwrap();
        }
    }
}

#[test]
fn records_lead_to_the_same_state_whether_rewritten_or_not() {
    let id = EntryId::first(1);
    let log = vec![
        waiting(0),
        Record::Waiting(id, entry(&[1, 2])),
        waiting(3),
        Record::Proposed(id, proposal(1)),
        Record::Split(id),
        Record::Decided(EntryId::first(0), vec![OutboxState::Duplicate { index: 7 }]),
        Record::Proposed(EntryId { sequence: 1, part: 1 }, proposal(2)),
    ];
    let original = state(log);
    let again = state(original.records());
    assert_eq!(again.records(), original.records());
    assert_eq!(again.next, 4);
    assert_eq!(again.waiting.paths(), 3);
    assert_eq!(again.waiting.lowest_serial(proposal(0).client), Some(2));
}

#[test]
fn what_was_split_stays_in_its_place_and_is_proposed_anew() {
    let id = EntryId::first(1);
    let upstream = vec![path(8).store_path, path(9).store_path];
    let mut whole = Entry {
        upstream,
        proposal: Some(proposal(1)),
        ..entry(&[1, 2])
    };
    whole.paths[1].references = vec![path(9).store_path];
    let state = state(vec![waiting(2), Record::Waiting(id, whole), Record::Split(id)]);
    let parts: Vec<_> = state.waiting.all().collect();
    let ids: Vec<_> = parts.iter().map(|(id, _)| (id.sequence, id.part)).collect();
    assert_eq!(ids, [(1, 0), (1, 1), (2, 0)]);
    assert_eq!(parts[0].1.upstream, []);
    assert_eq!(parts[1].1.upstream, [path(9).store_path]);
    assert!(parts.iter().all(|(_, entry)| entry.proposal.is_none()));
}

#[test]
fn a_path_that_waits_twice_is_found_until_both_are_decided() {
    let (first, second) = (EntryId::first(1), EntryId::first(2));
    let mut state = state(vec![
        Record::Waiting(first, entry(&[1])),
        Record::Waiting(second, entry(&[1])),
    ]);
    let found = |state: &State| {
        let cache = "main".parse().unwrap();
        let by_path = state.waiting.path(&cache, &path(1).store_path.hash).is_some();
        let by_nar = state.waiting.nar(&cache, &path(1).nar_hash).is_some();
        assert_eq!(by_path, by_nar);
        by_path
    };
    assert!(found(&state));
    state.apply(Record::Decided(first, vec![OutboxState::Applied { index: 1 }]));
    assert!(found(&state));
    state.apply(Record::Decided(second, vec![OutboxState::Duplicate { index: 2 }]));
    assert!(!found(&state));
    assert_eq!(state.waiting.paths(), 0);
    assert_eq!(state.waiting.manifests(), []);
}

#[test]
fn the_report_survives_a_restart_and_is_bounded() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut journal, _) = open(&disk).unwrap();
    for number in 0..2_500_u64 {
        let id = EntryId::first(number);
        let refused = OutboxState::Refused {
            reason: number.to_string(),
        };
        journal
            .append(&[
                Record::Waiting(id, entry(&[1])),
                Record::Decided(id, vec![refused]),
            ])
            .unwrap();
    }
    journal
        .append(&[Record::Waiting(EntryId::first(2_500), entry(&[1, 2]))])
        .unwrap();
    drop(journal);
    disk.restart(Survivors::Synced);
    let outbox = Outbox::open(Arc::clone(&disk) as _, Io::inline(), &TestEntropy::new(1)).unwrap();
    let counts = outbox.counts();
    assert_eq!((counts.waiting, counts.refused), (2, 2_000));
    let report = outbox.report(|_| true);
    assert_eq!(report.entries.len(), 2_002);
    assert_eq!(report.entries[0].state, OutboxState::Waiting);
    let newest = OutboxState::Refused {
        reason: "2499".to_owned(),
    };
    assert_eq!(report.entries[2].state, newest, "newest first");
    assert_eq!(outbox.report(|_| false).entries, []);
}
