//! What a state that is made durable now and then costs, and what a crash leaves of it.

use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use tetryx_state::command::FEATURE_LEVEL;
use tetryx_state::query;
use tokio::sync::{mpsc, watch};

use crate::audit::{Audit, AuditEvery};
use crate::state_store::StateStore;
use crate::testing::cluster::Cluster;
use crate::testing::disk::MemoryDisk;
use crate::testing::node;
use crate::types::{Entry, LeaderId, LogId, RaftId};
use crate::view::LatestView;

fn open(disk: &MemoryDisk) -> StateStore {
    let (using, _) = mpsc::channel(1);
    let (progress, _) = watch::channel(0);
    let (audit, _) = Audit::new(AuditEvery::default());
    StateStore::open(
        disk,
        Arc::new(LatestView::default()),
        audit,
        progress,
        FEATURE_LEVEL,
        using,
    )
    .expect("the disk is in order")
}

fn blanks(indexes: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    let leader_id = LeaderId {
        term: 1,
        node_id: RaftId(node(1)),
    };
    indexes
        .map(|index| Entry {
            log_id: LogId { leader_id, index },
            payload: EntryPayload::Blank,
        })
        .collect()
}

#[test]
fn what_is_applied_is_visible_at_once_and_durable_when_asked_for() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    let before = disk.operations();
    for index in 1..=10 {
        store.apply(&blanks(index..=index)).expect("the disk works");
    }
    assert_eq!(store.applied().index(), 10);
    assert_eq!(disk.syncs_since(before), 0, "no flush");
    assert_eq!(store.durable_index(), 0);
    let left = disk.after_power_failure(disk.operations(), || false);
    assert_eq!(open(&left).applied().index(), 0, "the log has it");

    assert_eq!(store.make_durable().expect("the disk works"), 10);

    assert_eq!(store.durable_index(), 10);
    let left = disk.after_power_failure(disk.operations(), || false);
    assert_eq!(open(&left).applied().index(), 10);
}

#[test]
fn a_long_run_becomes_durable_by_itself() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    for start in (1..=20_000).step_by(100) {
        store.apply(&blanks(start..=start + 99)).expect("the disk works");
        assert!(store.applied().index() - store.durable_index() < 5_000);
    }
    let left = disk.after_power_failure(disk.operations(), || false);
    assert_eq!(open(&left).applied().index(), store.durable_index());
}

#[tokio::test(start_paused = true)]
async fn a_command_costs_one_flush_on_each_node() {
    let cluster = Cluster::of(1, 310).await;
    let replica = cluster.replica(1);
    let disk = cluster.disk(1);
    // Whatever the founding left is made durable meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = disk.operations();
    for number in 0..10 {
        replica.add(number).await;
    }
    assert_eq!(disk.syncs_of_since("log.redb", before), 10);
    // Once in a while what was applied is made durable, too.
    assert!(disk.syncs_of_since("state.redb", before) <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_voter_alone_shows_everything_it_had_answered_for_as_soon_as_it_is_open() {
    let cluster = Cluster::of(1, 311).await;
    let replica = cluster.replica(1);
    for number in 0..40 {
        replica.add(number).await;
    }
    let hash = replica.hash();
    let disk = cluster.disk(1);
    let left = disk.after_power_failure(disk.operations(), || false);
    let mut after = Cluster::new(312);
    after.insert_disk(1, left);

    let reopened = after.start(node(1)).await;

    let members = query::members(&reopened.view().expect("it runs")).expect("the state can be read");
    assert_eq!(members.len(), 40);
    assert_eq!(reopened.hash(), hash);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_starts_cut_off_shows_what_it_knew_to_be_committed() {
    let mut cluster = Cluster::of(3, 313).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let mut last = 0;
    for number in 0..40 {
        last = leader.add(number).await.index;
    }
    cluster.wait_all_applied(last).await;
    let follower = cluster.others(&[leader.id()]).remove(0).id();
    cluster.kill(follower);
    cluster.hub.isolate(follower);

    let restarted = cluster.start(follower).await;

    let applied = restarted.applied_index();
    assert!(applied + 2 >= last, "{applied} of {last}, without a leader");
}
