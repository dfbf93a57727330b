//! Going on alone after a majority was lost for good.

use std::sync::Arc;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::member::MemberState;
use tetryx_state::command::Role;
use tetryx_state::{check, query};

use crate::compaction::Compaction;
use crate::error::ReplicaError;
use crate::recover::{RecoverConfig, Recovered, inspect, recover};
use crate::replica::Replica;
use crate::testing::cluster::Cluster;
use crate::testing::disk::MemoryDisk;
use crate::testing::{RuntimeClock, SeededEntropy, add_member, introduce, node};

fn config(number: u8, disk: &MemoryDisk) -> RecoverConfig {
    RecoverConfig {
        node_id: node(number),
        files: Arc::new(disk.clone()),
        clock: Arc::new(RuntimeClock::new()),
        entropy: Arc::new(SeededEntropy::new(u64::from(number))),
    }
}

/// Three voters that are members by name.
async fn three_members(seed: u64, compaction: Compaction) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.compaction = compaction;
    cluster.found(3).await;
    for number in 1..=3 {
        let introduced = cluster
            .replica(1)
            .propose("test", introduce(number, "attic", Role::Voter))
            .await
            .expect("it leads");
        cluster.wait_all_applied(introduced.index).await;
    }
    cluster
}

fn epoch(replica: &Replica) -> u64 {
    let view = replica.view().expect("it runs");
    let cluster = query::cluster(&view).expect("the state can be read");
    cluster.expect("it was founded").epoch
}

fn names(replica: &Replica) -> Vec<String> {
    let view = replica.view().expect("it runs");
    let members = query::members(&view).expect("the state can be read");
    members.into_iter().map(|(_, member)| member.name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_survivor_goes_on_alone_with_everything_that_was_acknowledged() {
    let mut cluster = three_members(330, Compaction::default()).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let mut last = 0;
    for number in 0..30 {
        last = leader.add(number).await.index;
    }
    cluster.wait_all_applied(last).await;
    let survivor = cluster.others(&[leader.id()]).remove(0).id();
    for id in (1..=3).map(node) {
        cluster.kill(id);
    }
    let number = survivor.as_bytes()[0];
    let disk = cluster.disk(number);

    let before = inspect(&disk).expect("the files are in order");
    let recovered = recover(&config(number, &disk)).expect("the files are in order");

    assert_eq!(before.voters, (1..=3).map(node).collect());
    assert_eq!((before.epoch, recovered.epoch), (1, 2));
    assert_eq!(recovered.kept, before.last_index);
    let replica = cluster.start(survivor).await;
    assert_eq!(replica.status().voters, [survivor].into());
    assert_eq!(epoch(&replica), 2);
    let added = names(&replica)
        .iter()
        .filter(|name| name.starts_with("member-"))
        .count();
    assert_eq!(added, 30);
    for other in (1..=3).map(node).filter(|other| *other != survivor) {
        assert!(recovered.removed.contains(&other));
        let view = replica.view().expect("it runs");
        let member = query::member(&view, &other).expect("the state can be read");
        let state = member.expect("it was one").state;
        assert!(matches!(state, MemberState::Removed { .. }), "{state}");
    }
    replica.add(1_000).await;
    assert_eq!(check(&replica.view().expect("it runs")), []);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_survivor_has_in_its_log_is_kept() {
    let mut cluster = three_members(331, Compaction::default()).await;
    let leader = cluster.wait_new_leader(&[]).await;
    cluster.hub.isolate(leader.id());
    let before = leader.status().last_log;
    let proposing = {
        let leader = Arc::clone(&leader);
        tokio::spawn(async move { leader.propose("test", add_member(77)).await })
    };
    leader
        .raft()
        .wait(None)
        .log_index_at_least(before.map(|last| last + 1), "appended")
        .await
        .expect("it runs");
    let survivor = leader.id();
    drop(leader);
    for id in (1..=3).map(node) {
        cluster.kill(id);
    }
    proposing.abort();
    cluster.hub.heal();
    let number = survivor.as_bytes()[0];

    recover(&config(number, &cluster.disk(number))).expect("the files are in order");

    let replica = cluster.start(survivor).await;
    assert!(
        names(&replica).contains(&"member-77".to_owned()),
        "it may have been acknowledged"
    );
}

#[tokio::test(start_paused = true)]
async fn a_recovery_works_on_a_log_that_was_cut_and_can_be_repeated() {
    let mut cluster = three_members(332, Compaction { keep: 3, every: 5 }).await;
    let leader = cluster.wait_new_leader(&[]).await;
    for number in 0..60 {
        leader.add(number).await;
    }
    let survivor = leader.id();
    assert!(leader.status().purged.is_some(), "the log was cut");
    drop(leader);
    for id in (1..=3).map(node) {
        cluster.kill(id);
    }
    let number = survivor.as_bytes()[0];
    let disk = cluster.disk(number);

    let first = recover(&config(number, &disk)).expect("the files are in order");
    let again = RecoverConfig {
        entropy: Arc::new(SeededEntropy::new(99)),
        ..config(number, &disk)
    };
    let second = recover(&again).expect("it can be repeated");

    assert_eq!((first.epoch, second.epoch), (2, 3));
    assert!(second.removed.is_empty(), "they are removed already: {second:?}");
    let replica = cluster.start(survivor).await;
    assert_eq!(epoch(&replica), 3);
    // It may grow again.
    let newcomer = cluster.start(node(9)).await;
    replica.add_learner(node(9)).await.expect("it leads");
    let written = replica.add(1_000).await;
    newcomer.wait_applied(written.index).await.expect("it follows");
    assert_eq!(newcomer.hash(), replica.hash());
}

#[tokio::test(start_paused = true)]
async fn an_empty_directory_cannot_be_recovered() {
    let disk = MemoryDisk::default();
    let error = recover(&config(1, &disk)).expect_err("there is no cluster");
    assert!(matches!(error, ReplicaError::Membership { .. }), "{error}");
    assert_eq!(inspect(&disk).expect("it can be read").cluster, None);
}

#[tokio::test(start_paused = true)]
async fn a_power_failure_during_a_recovery_leaves_all_of_it_or_nothing() {
    let mut cluster = three_members(333, Compaction::default()).await;
    for id in (1..=3).map(node) {
        cluster.kill(id);
    }
    let disk = cluster.disk(1);
    let before = inspect(&disk).expect("the files are in order");
    let begun = disk.operations();
    let Recovered { epoch, .. } = recover(&config(1, &disk)).expect("the files are in order");
    let dice = SeededEntropy::new(334);
    let mut outcomes = std::collections::BTreeSet::new();
    for at in begun..=disk.operations() {
        let left = disk.after_power_failure(at, || dice.below(2) == 0);
        // The history of a disk begins when it was inserted, so that this is the whole of it.
        let found = inspect(&left).expect("the files are in order");
        let alone: std::collections::BTreeSet<NodeId> = [node(1)].into();
        match found.epoch {
            1 => assert_eq!(found.voters, before.voters),
            changed => {
                assert_eq!(changed, epoch);
                assert_eq!(found.voters, alone);
            }
        }
        outcomes.insert(found.epoch);
    }
    assert_eq!(outcomes.len(), 2, "the failures were before and after");
}
