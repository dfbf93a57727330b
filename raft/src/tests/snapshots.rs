//! Snapshots: cutting the log, sending them, what can go wrong with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use tetryx_state::tables::Table;
use tetryx_state::{check, query};

use crate::SNAPSHOT_PIECE_MAX;
use crate::compaction::Compaction;
use crate::data::DataFiles;
use crate::replica::Replica;
use crate::snapshot::{SnapshotFile, SnapshotRow, Snapshots, write_file};
use crate::testing::cluster::Cluster;
use crate::testing::disk::MemoryDisk;
use crate::testing::hub::{Call, Fate, Kind};
use crate::testing::{SeededEntropy, add_large_member, node};
use crate::types::SnapshotMeta;

/// Members of 4 kB each, so that a snapshot takes several pieces.
const MEMBERS: u32 = 300;

/// One voter that has cut its log, and so can bring a newcomer up only by a snapshot.
async fn founder_with_a_cut_log(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.compaction = Compaction { keep: 10, every: 100 };
    cluster.found(1).await;
    let founder = cluster.replica(1);
    for number in 0..MEMBERS {
        founder
            .propose("test", add_large_member(number))
            .await
            .expect("it leads");
    }
    wait_purged(&founder, 150).await;
    cluster
}

async fn wait_purged(replica: &Replica, index: u64) {
    let mut metrics = replica.raft().metrics();
    while metrics
        .borrow_and_update()
        .purged
        .is_none_or(|id| id.index < index)
    {
        metrics.changed().await.expect("it runs");
    }
}

fn snapshot_names(disk: &MemoryDisk) -> Vec<String> {
    disk.names()
        .into_iter()
        .filter(|name| name.starts_with("snapshot-"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_log_is_cut_behind_a_snapshot_and_keeps_what_it_should() {
    let cluster = founder_with_a_cut_log(60).await;
    let status = cluster.replica(1).status();
    let (snapshot, purged) = (
        status.snapshot.expect("one was taken"),
        status.purged.expect("the log was cut"),
    );
    assert!(purged <= snapshot - 10, "at least 10 entries stay: {status:?}");
    assert!(
        status.last_log.expect("there are entries") - purged <= 110,
        "no more than 110 stay: {status:?}"
    );
    assert_eq!(
        snapshot_names(&cluster.disk(1)).len(),
        1,
        "older snapshots are removed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_learner_gets_a_snapshot_and_then_the_log() {
    let mut cluster = founder_with_a_cut_log(61).await;
    let founder = cluster.replica(1);
    let learner = cluster.start(node(2)).await;

    founder.add_learner(node(2)).await.expect("it leads");
    let applied = founder.add(1_000).await;
    learner.wait_applied(applied.index).await.expect("it runs");

    assert_eq!(learner.hash(), founder.hash());
    assert_eq!(check(&learner.view().expect("it runs")), []);
    assert!(
        cluster.hub.count(node(1), Kind::SnapshotPiece) > 3,
        "it took several pieces"
    );
    assert_eq!(learner.status().learners, [node(2)].into());
    founder
        .change_voters([node(1), node(2)].into())
        .await
        .expect("the learner has caught up");
    founder.add(1_001).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_transfer_goes_on_where_it_was() {
    let mut cluster = founder_with_a_cut_log(62).await;
    let founder = cluster.replica(1);
    let learner = cluster.start(node(2)).await;
    cluster.hub.rule(|call: Call| match call.kind {
        Kind::SnapshotPiece if call.before == 1 => Fate::RequestLost,
        Kind::SnapshotPiece if call.before == 2 => Fate::AnswerLost,
        _ => Fate::Delivered,
    });

    founder.add_learner(node(2)).await.expect("it leads");
    let applied = founder.add(1_000).await;
    learner.wait_applied(applied.index).await.expect("it runs");

    let len = founder_snapshot(&cluster).len();
    let needed = len.div_ceil(SNAPSHOT_PIECE_MAX as u64);
    assert!(needed > 2, "or nothing was lost");
    assert_eq!(
        cluster.hub.count(node(1), Kind::SnapshotPiece),
        needed + 1,
        "only the lost one is sent again"
    );
    assert_eq!(cluster.hub.count(node(1), Kind::SnapshotOffer), 3);
    assert_eq!(learner.hash(), founder.hash());
}

#[tokio::test(start_paused = true)]
async fn an_install_whose_answer_is_lost_is_not_repeated() {
    let mut cluster = founder_with_a_cut_log(63).await;
    let founder = cluster.replica(1);
    let learner = cluster.start(node(2)).await;
    cluster.hub.rule(|call: Call| match call.kind {
        Kind::SnapshotInstall if call.before == 0 => Fate::AnswerLost,
        _ => Fate::Delivered,
    });

    founder.add_learner(node(2)).await.expect("it leads");
    let applied = founder.add(1_000).await;
    learner.wait_applied(applied.index).await.expect("it runs");

    let needed = founder_snapshot(&cluster)
        .len()
        .div_ceil(SNAPSHOT_PIECE_MAX as u64);
    assert_eq!(
        cluster.hub.count(node(1), Kind::SnapshotPiece),
        needed,
        "nothing was sent twice"
    );
    assert_eq!(learner.hash(), founder.hash());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_rots_on_the_senders_disk_is_replaced() {
    let mut cluster = founder_with_a_cut_log(64).await;
    let founder = cluster.replica(1);
    let rotten = snapshot_names(&cluster.disk(1)).remove(0);
    cluster.disk(1).corrupt(&rotten, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let learner = cluster.start(node(2)).await;

    founder.add_learner(node(2)).await.expect("it leads");
    let applied = founder.add(1_000).await;
    learner.wait_applied(applied.index).await.expect("it runs");

    assert_eq!(learner.hash(), founder.hash());
    assert_ne!(snapshot_names(&cluster.disk(1)), [rotten]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_taken_over_by_the_next_start_and_leftovers_are_removed() {
    let mut cluster = founder_with_a_cut_log(65).await;
    let before = snapshot_names(&cluster.disk(1));
    let index = cluster.replica(1).status().snapshot;

    cluster.kill(node(1));
    cluster
        .disk(1)
        .open("snapshot-unfinished")
        .expect("it can be made")
        .set_len(100)
        .expect("it can grow");
    let replica = cluster.start(node(1)).await;
    replica.add(1_000).await;

    assert_eq!(snapshot_names(&cluster.disk(1)), before);
    assert_eq!(replica.status().snapshot, index, "it was not built anew");
}

#[tokio::test(start_paused = true)]
async fn a_power_failure_during_an_install_leaves_the_old_state_or_the_new_one() {
    let mut cluster = founder_with_a_cut_log(66).await;
    let founder = cluster.replica(1);
    let (last, snapshot) = (
        founder.status().last_applied,
        founder.status().snapshot.expect("one was taken"),
    );
    let learner = cluster.start(node(2)).await;
    let disk = cluster.disk(2);
    let (mut before, mut after) = (disk.operations(), disk.operations());
    founder.add_learner(node(2)).await.expect("it leads");
    learner.wait_applied(snapshot).await.expect("it runs");
    after += disk.operations() - before;
    // The operation that completes the install: without it, nothing of the snapshot shows.
    while after - before > 1 {
        let middle = usize::midpoint(before, after);
        let image = reopen(disk.after_power_failure(middle, || false)).await;
        *if image.applied_index() == 0 {
            &mut before
        } else {
            &mut after
        } = middle;
    }
    let dice = SeededEntropy::new(67);
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let at = after - 30 + usize::try_from(dice.below(60)).expect("it is small");
        let image = reopen(disk.after_power_failure(at, || dice.below(2) == 0)).await;

        let view = image.view().expect("it runs");
        let members = query::members(&view).expect("the state can be read").len() as u64;
        let expected = match view.applied_index() {
            0 => 0,
            index => u64::from(MEMBERS) - (last - index.min(last)),
        };
        assert_eq!(members, expected, "at index {}", view.applied_index());
        assert_eq!(check(&view), []);
        seen.insert(view.applied_index() >= snapshot);
    }
    assert_eq!(
        seen,
        [false, true].into(),
        "failures before and after the install were met"
    );
}

/// The second node of [`founder_with_a_cut_log`], alone on what is left of its disk.
async fn reopen(disk: MemoryDisk) -> Arc<Replica> {
    let mut alone = Cluster::new(300);
    alone.insert_disk(2, disk);
    alone.start(node(2)).await
}

/// The current snapshot of the founder, from its disk.
fn founder_snapshot(cluster: &Cluster) -> SnapshotFile {
    let disk = cluster.disk(1);
    let name = snapshot_names(&disk).remove(0);
    SnapshotFile::open(Arc::new(disk), name).expect("it is whole")
}

fn small_snapshot(disk: &MemoryDisk) -> SnapshotFile {
    let rows = (0..20_u8).map(|number| {
        Ok(SnapshotRow {
            table: Table::Caches,
            key: vec![number],
            value: vec![number; 30],
        })
    });
    let files = Arc::new(disk.clone());
    write_file(
        files,
        "snapshot-small".to_owned(),
        [9; 16],
        &SnapshotMeta::default(),
        rows,
    )
    .expect("memory works")
}

#[test]
fn a_snapshot_gives_back_the_rows_it_was_made_of() {
    let file = small_snapshot(&MemoryDisk::default());
    let rows: Vec<_> = file.rows().collect::<Result<_, _>>().expect("it is whole");
    assert_eq!(rows.len(), 20);
    assert_eq!(
        rows[7],
        SnapshotRow {
            table: Table::Caches,
            key: vec![7],
            value: vec![7; 30]
        }
    );
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_noticed() {
    let disk = MemoryDisk::default();
    let len = usize::try_from(small_snapshot(&disk).len()).expect("it is small");
    for position in 0..len {
        let damaged = disk.after_kill();
        damaged.corrupt("snapshot-small", |bytes| bytes[position] ^= 1 << (position % 8));
        let verified =
            SnapshotFile::open(Arc::new(damaged), "snapshot-small".to_owned()).and_then(|file| file.verify());
        assert!(verified.is_err(), "byte {position}");
    }
}

#[test]
fn every_cut_off_snapshot_is_noticed() {
    let disk = MemoryDisk::default();
    let len = usize::try_from(small_snapshot(&disk).len()).expect("it is small");
    for cut in 0..len {
        let damaged = disk.after_kill();
        damaged.corrupt("snapshot-small", |bytes| bytes.truncate(cut));
        assert!(
            SnapshotFile::open(Arc::new(damaged), "snapshot-small".to_owned()).is_err(),
            "{cut} bytes"
        );
    }
}

#[test]
fn a_snapshot_cut_short_by_a_power_failure_is_removed_by_the_next_start() {
    let disk = MemoryDisk::default();
    small_snapshot(&disk);
    let dice = SeededEntropy::new(68);
    for at in 0..=disk.operations() {
        let left = disk.after_power_failure(at, || dice.below(2) == 0);
        let entropy = Arc::new(SeededEntropy::new(1));
        let snapshots = Snapshots::open(Arc::new(left.clone()), entropy).expect("the disk works");
        match snapshots.current() {
            Some(file) => file.verify().expect("one that is taken over is whole"),
            None => assert!(snapshot_names(&left).is_empty()),
        }
    }
}
