//! Replicas whose states differ.

use std::collections::BTreeSet;
use std::sync::Arc;

use tetryx_protocol::id::NodeId;
use tetryx_state::check;

use crate::audit::AuditEvery;
use crate::error::ReplicaError;
use crate::replica::Replica;
use crate::testing::cluster::Cluster;
use crate::testing::node;

async fn audited_cluster(voters: u8, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.audit = AuditEvery::new(20);
    cluster.found(voters).await;
    cluster
}

/// Adds members until every one of `replicas` knows what the majority had at some index from `index` on.
async fn audit_beyond(leader: &Replica, replicas: &[Arc<Replica>], index: u64, number: &mut u32) {
    let knows = |replica: &Arc<Replica>| {
        replica
            .audited()
            .is_some_and(|audited| audited.index >= index && audited.majority.is_some())
    };
    while !replicas.iter().all(knows) {
        *number += 1;
        leader.add(*number).await;
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_agree_find_the_same_hash_at_the_same_index() {
    let cluster = audited_cluster(3, 320).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let all = cluster.others(&[]);
    let mut number = 0;

    audit_beyond(&leader, &all, 100, &mut number).await;

    let audited: Vec<_> = all
        .iter()
        .map(|replica| replica.audited().expect("it was compared"))
        .collect();
    for audited in &audited {
        assert_eq!(audited.majority, Some(audited.hash));
        assert_eq!(audited.index % 20, 0);
    }
    let common = audited
        .iter()
        .map(|audited| audited.index)
        .min()
        .expect("there are three");
    let hashes: BTreeSet<_> = all.iter().map(|replica| replica.state_hash_at(common)).collect();
    assert_eq!(hashes.len(), 1);
    assert!(all.iter().all(|replica| replica.view().is_ok()));
}

async fn the_wrong_one_stops_and_is_rebuilt(cluster: &mut Cluster, wrong: NodeId) {
    let odd = cluster
        .others(&[])
        .into_iter()
        .find(|replica| replica.id() == wrong);
    let odd = odd.expect("it runs");
    let diverged = odd.diverged();
    odd.corrupt();

    // When the others go on, it finds out, and serves nothing any more.
    let others = cluster.others(&[wrong]);
    let mut number = 1_000;
    let divergence = {
        let adding = async {
            loop {
                number += 1;
                let _ = others[0]
                    .propose("test", crate::testing::add_member(number))
                    .await;
            }
        };
        tokio::select! {
            divergence = diverged => divergence,
            () = adding => unreachable!("it goes on for ever"),
        }
    };
    assert_ne!(divergence.ours, divergence.majority);
    assert!(!divergence.right.contains(&wrong), "{divergence:?}");
    assert!(matches!(odd.view(), Err(ReplicaError::Diverged { .. })));
    odd.shutdown().await;
    drop(odd);
    cluster.kill(wrong);
    let leader = cluster.wait_new_leader(&[wrong]).await;
    assert!(others.iter().all(|other| other.view().is_ok()));

    // Opened again, it has the others' state, and its own log.
    let rebuilt = cluster.start(wrong).await;
    let written = leader.add(9_999).await;
    rebuilt.wait_applied(written.index).await.expect("it follows");
    assert_eq!(rebuilt.hash(), leader.hash());
    assert_eq!(check(&rebuilt.view().expect("it serves again")), []);
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_state_differs_stops_serving_and_is_rebuilt() {
    let mut cluster = audited_cluster(3, 321).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let follower = cluster.others(&[leader.id()]).remove(0).id();
    the_wrong_one_stops_and_is_rebuilt(&mut cluster, follower).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_state_differs_is_outvoted() {
    let mut cluster = audited_cluster(3, 322).await;
    let leader = cluster.wait_new_leader(&[]).await.id();
    the_wrong_one_stops_and_is_rebuilt(&mut cluster, leader).await;
}

#[tokio::test(start_paused = true)]
async fn a_learner_whose_state_differs_is_rebuilt_too() {
    let mut cluster = audited_cluster(3, 323).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let learner = cluster.start(node(4)).await;
    leader.add_learner(node(4)).await.expect("it leads");
    let written = leader.add(1).await;
    learner.wait_applied(written.index).await.expect("it follows");
    the_wrong_one_stops_and_is_rebuilt(&mut cluster, node(4)).await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_waits_for_a_node_that_is_right() {
    let mut cluster = audited_cluster(3, 324).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let odd = cluster.others(&[leader.id()]).remove(0);
    let diverged = odd.diverged();
    odd.corrupt();
    let mut number = 0;
    let others = cluster.others(&[odd.id()]);
    audit_beyond(&leader, &others, odd.applied_index() + 20, &mut number).await;
    diverged.await;
    let odd = odd.id();
    cluster.kill(odd);
    cluster.hub.isolate(odd);
    let hub = cluster.hub.clone();
    let asked = cluster.hub.count(odd, crate::testing::hub::Kind::SnapshotWanted);
    let healed = tokio::spawn(async move {
        hub.wait_count(odd, crate::testing::hub::Kind::SnapshotWanted, asked + 5)
            .await;
        hub.heal();
    });

    let rebuilt = cluster.start(odd).await;

    healed.await.expect("it asked again and again");
    let written = leader.add(9_999).await;
    rebuilt.wait_applied(written.index).await.expect("it follows");
    assert_eq!(rebuilt.hash(), leader.hash());
}

#[tokio::test(start_paused = true)]
async fn two_voters_that_differ_stop_nobody() {
    let cluster = audited_cluster(2, 325).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let other = cluster.others(&[leader.id()]).remove(0);
    other.corrupt();
    for number in 0..60 {
        leader.add(number).await;
    }
    assert!(leader.view().is_ok());
    assert!(other.view().is_ok(), "nobody can say which of them is wrong");
}
