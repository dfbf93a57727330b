//! Each deliberate bug breaks the promise that it is to break. They are of the whole process: one test, one process.

use std::time::Duration;

use tetryx_environment::mutant::Mutant;

use crate::compaction::Compaction;
use crate::observe::EntryKind;
use crate::testing::cluster::Cluster;
use crate::testing::{add_member, node};

#[tokio::test(start_paused = true)]
async fn a_leader_that_counts_what_is_on_its_way_commits_alone() {
    let cluster = Cluster::of(3, 600).await;
    let leader = cluster.wait_new_leader(&[]).await;
    leader.add(1).await;
    Mutant::CommitBeforeQuorum.activate();
    leader.add(2).await;
    cluster.hub.isolate(leader.id());

    let alone = leader
        .propose("test", add_member(3))
        .await
        .expect("it needs nobody");

    let others = cluster.others(&[leader.id()]);
    assert!(others.iter().all(|other| {
        let end = other.observe().acknowledged.map_or(0, |end| end.index);
        end < alone.index
    }));
    let committed = leader.observe().committed.expect("it leads");
    assert!(committed.index >= alone.index);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_flushed_loses_what_it_acknowledged() {
    let mut cluster = Cluster::of(1, 601).await;
    Mutant::AcknowledgeBeforeFlush.activate();
    let acknowledged = cluster.replica(1).add(1).await;
    let disk = cluster.disk(1);
    let left = disk.after_power_failure(disk.operations(), || false);

    cluster.kill(node(1));
    cluster.insert_disk(1, left);
    let replica = cluster.start(node(1)).await;

    // It leads again, which took an entry of its own: in the place of the one that was lost.
    let entries = replica
        .entries(acknowledged.index..u64::MAX)
        .await
        .expect("it runs");
    assert!(
        entries.iter().all(|mark| mark.kind == EntryKind::Blank),
        "{entries:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_without_the_memory_of_proposals_is_another_state() {
    Mutant::SnapshotForgetsDedup.activate();
    let mut cluster = Cluster::new(602);
    cluster.compaction = Compaction { keep: 5, every: 5 };
    cluster.found(2).await;
    // Whoever proposes on is remembered again by what follows the snapshot.
    cluster.replica(2).add(1_000).await;
    let founder = cluster.replica(1);
    for number in 0..30 {
        founder.add(number).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let learner = cluster.start(node(3)).await;

    let leader = cluster.wait_new_leader(&[]).await;
    leader.add_learner(node(3)).await.expect("it leads");
    let applied = leader.add(2_000).await;
    cluster.wait_all_applied(applied.index).await;

    assert_eq!(learner.applied_index(), leader.applied_index());
    assert_ne!(learner.hash(), leader.hash());
}
