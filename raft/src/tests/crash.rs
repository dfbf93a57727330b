//! Power failures: what was synced is there, and of the rest any part.

use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, Vote};
use tetryx_state::{check, query};
use tokio::sync::mpsc;

use crate::compaction::Compaction;
use crate::log_store::LogStore;
use crate::testing::cluster::Cluster;
use crate::testing::disk::MemoryDisk;
use crate::testing::{SeededEntropy, node};
use crate::types::{Entry, LeaderId, LogId, RaftId, TypeConfig};
use tetryx_environment::Io;

const IMAGES: usize = 150;

#[tokio::test(start_paused = true)]
async fn whatever_a_power_failure_leaves_holds_every_acknowledged_command() {
    // Given the history of a disk, and how much of it had happened when each command was acknowledged.
    let mut cluster = Cluster::new(40);
    cluster.compaction = Compaction { keep: 3, every: 4 };
    cluster.found(1).await;
    let (replica, disk) = (cluster.replica(1), cluster.disk(1));
    let founded = disk.operations();
    let mut acknowledged = Vec::new();
    for number in 0..25 {
        replica.add(number).await;
        acknowledged.push(disk.operations());
    }
    assert!(replica.status().purged.is_some(), "the log was cut meanwhile");
    let dice = SeededEntropy::new(41);
    let span = (disk.operations() - founded) as u64;
    for image in 0..IMAGES {
        // When the power fails at any moment, and any part of what was not synced is lost,
        let at = founded + usize::try_from(dice.below(span + 1)).expect("histories are short");
        let left = disk.after_power_failure(at, || dice.below(2) == 0);
        let mut after = Cluster::new(100 + image as u64);
        after.compaction = cluster.compaction;
        after.insert_disk(1, left);
        let reopened = after.start(node(1)).await;
        reopened.wait_leading().await;
        reopened.add(1_000).await;

        // then every acknowledged command is there, and at most the one that was under way.
        let view = reopened.view().expect("it runs");
        let found = query::members(&view).expect("the state can be read").len() - 1;
        let promised = acknowledged
            .iter()
            .filter(|operations| **operations <= at)
            .count();
        assert!(
            (promised..=promised + 1).contains(&found),
            "{found} of {promised} at operation {at}"
        );
        assert_eq!(check(&view), [], "the state is sound");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_never_founded_opens_after_any_power_failure() {
    let mut cluster = Cluster::new(42);
    cluster.start(node(1)).await;
    let disk = cluster.disk(1);
    let dice = SeededEntropy::new(43);
    for at in 0..=disk.operations() {
        let mut after = Cluster::new(200 + at as u64);
        after.insert_disk(1, disk.after_power_failure(at, || dice.below(2) == 0));
        let reopened = after.start(node(1)).await;
        assert!(!reopened.is_initialised().await.expect("it runs"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_that_rots_is_refused_or_harmless() {
    let cluster = Cluster::of(1, 44).await;
    let replica = cluster.replica(1);
    for number in 0..20 {
        replica.add(number).await;
    }
    replica.shutdown().await;
    let mut intact = Cluster::new(45);
    intact.insert_disk(1, cluster.disk(1).after_kill());
    let hash = intact.start(node(1)).await.hash();
    let dice = SeededEntropy::new(46);
    let mut refused = 0;
    for image in 0..600 {
        let disk = cluster.disk(1).after_kill();
        let name = ["log.redb", "state.redb"][image % 2];
        disk.corrupt(name, |bytes| {
            let at = usize::try_from(dice.below(bytes.len() as u64)).expect("it is small");
            bytes[at] ^= 1 << dice.below(8);
        });
        let mut after = Cluster::new(1_000 + image as u64);
        after.insert_disk(1, disk);
        match after.try_start(node(1)).await {
            Ok(reopened) => assert_eq!(reopened.hash(), hash, "{name}"),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 30, "{refused}: some of the bytes meant something");
}

async fn open_log(disk: &MemoryDisk) -> LogStore {
    let (using, _) = mpsc::channel(1);
    LogStore::open(Arc::new(disk.clone()), Io::inline(), using)
        .await
        .expect("the disk is in order")
}

fn entry(term: u64, index: u64) -> Entry {
    let leader_id = LeaderId {
        term,
        node_id: RaftId(node(1)),
    };
    Entry {
        log_id: LogId { leader_id, index },
        payload: EntryPayload::Blank,
    }
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    let (flushed, done) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(flushed))
        .await
        .expect("the entries follow each other");
    done.await.expect("the writer answers").expect("the disk works");
}

#[tokio::test]
async fn a_vote_is_durable_when_it_is_given() {
    let disk = MemoryDisk::default();
    let mut log = open_log(&disk).await;
    let vote = Vote::new(7, RaftId(node(2)));
    log.save_vote(&vote).await.expect("the disk works");

    let left = disk.after_power_failure(disk.operations(), || false);

    assert_eq!(
        open_log(&left).await.read_vote().await.expect("the disk works"),
        Some(vote)
    );
}

#[tokio::test]
async fn the_log_is_durable_when_it_says_so_through_truncations_and_purges() {
    let disk = MemoryDisk::default();
    let mut log = open_log(&disk).await;
    append(&mut log, (0..10).map(|index| entry(1, index)).collect()).await;
    log.truncate_after(Some(entry(1, 6).log_id))
        .await
        .expect("the disk works");
    append(&mut log, (7..9).map(|index| entry(2, index)).collect()).await;
    log.purge(entry(1, 2).log_id).await.expect("the disk works");

    let left = disk.after_power_failure(disk.operations(), || false);
    let mut reopened = open_log(&left).await;

    let state = reopened.get_log_state().await.expect("the disk works");
    assert_eq!(state.last_purged_log_id, Some(entry(1, 2).log_id));
    assert_eq!(state.last_log_id, Some(entry(2, 8).log_id));
    let expected: Vec<_> = (3..7)
        .map(|index| entry(1, index))
        .chain((7..9).map(|index| entry(2, index)))
        .collect();
    assert_eq!(
        reopened
            .try_get_log_entries(0..100)
            .await
            .expect("the disk works"),
        expected
    );
    assert_eq!(
        log.try_get_log_entries(0..100).await.expect("the disk works"),
        expected,
        "as it was before"
    );
}

#[tokio::test]
async fn entries_are_read_from_disk_and_memory_as_one_log() {
    let disk = MemoryDisk::default();
    let mut log = open_log(&disk).await;
    append(&mut log, (0..50).map(|index| entry(1, index)).collect()).await;
    let mut reopened = open_log(&disk.after_kill()).await;
    append(&mut reopened, (50..60).map(|index| entry(2, index)).collect()).await;

    let entries = reopened.try_get_log_entries(45..).await.expect("the disk works");

    let indexes: Vec<_> = entries.iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(indexes, (45..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hole_in_the_log_is_refused() {
    let mut log = open_log(&MemoryDisk::default()).await;
    append(&mut log, vec![entry(1, 0)]).await;
    let error = log
        .append(vec![entry(1, 2)], IOFlushed::noop())
        .await
        .expect_err("entry 1 is missing");
    assert!(error.to_string().contains("does not follow"), "{error}");
}
