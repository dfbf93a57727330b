//! Who votes, as members come, fall silent, leave and are removed.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tetryx_protocol::id::NodeId;
use tetryx_state::Body;
use tetryx_state::command::{DrainMember, RemoveMember, Role};

use crate::profile::Profile;
use crate::replica::Replica;
use crate::supervisor::Patience;
use crate::testing::cluster::Cluster;
use crate::testing::{introduce, node};

/// Adds a node to the members, starts it, and has it supervise.
async fn join(cluster: &mut Cluster, number: u8, zone: &str) {
    let replica = cluster.start(node(number)).await;
    let supervisor = (*replica).clone();
    tokio::spawn(async move { supervisor.supervise(Patience::for_profile(Profile::Lan)).await });
    if number == 1 {
        replica.bootstrap().await.expect("it is empty");
        replica
            .propose("test", crate::testing::init_cluster())
            .await
            .expect("it leads");
    }
    let leader = cluster.wait_new_leader(&[]).await;
    tell(&leader, introduce(number, zone, Role::Voter)).await;
}

async fn tell(replica: &Replica, body: Body) {
    let applied = replica.propose("test", body).await.expect("a majority is there");
    assert!(
        matches!(applied.reply, tetryx_state::Reply::Done(_)),
        "{:?}",
        applied.reply
    );
}

async fn members(zones: &[&str], seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    for (number, zone) in (1..).zip(zones) {
        join(&mut cluster, number, zone).await;
    }
    cluster
}

fn ids<const N: usize>(numbers: [u8; N]) -> BTreeSet<NodeId> {
    numbers.into_iter().map(node).collect()
}

/// Waits until a replica knows these to be the voters.
async fn wait_voters(replica: &Replica, voters: BTreeSet<NodeId>) {
    let mut metrics = replica.raft().metrics();
    loop {
        {
            let metrics = metrics.borrow_and_update();
            let members = metrics.committed_membership_config.membership();
            let found: BTreeSet<_> = members.voter_ids().map(|id| id.0).collect();
            if members.get_joint_config().len() == 1 && found == voters {
                return;
            }
        }
        metrics.changed().await.expect("it runs");
    }
}

#[tokio::test(start_paused = true)]
async fn votes_come_in_odd_numbers_as_members_join() {
    let mut cluster = members(&["a", "b"], 340).await;
    let first = cluster.replica(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(first.status().voters, ids([1]), "two would stop with either");
    assert_eq!(first.status().learners, ids([2]));

    join(&mut cluster, 3, "c").await;
    wait_voters(&first, ids([1, 2, 3])).await;
    join(&mut cluster, 4, "d").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(first.status().voters, ids([1, 2, 3]));
    assert_eq!(first.status().learners, ids([4]));
    join(&mut cluster, 5, "e").await;
    wait_voters(&first, ids([1, 2, 3, 4, 5])).await;
}

#[tokio::test(start_paused = true)]
async fn a_voter_that_died_is_replaced_by_a_healthy_member() {
    let mut cluster = members(&["a", "b", "c", "d"], 341).await;
    wait_voters(&cluster.replica(1), ids([1, 2, 3])).await;

    cluster.kill(node(1));

    let leader = cluster.wait_new_leader(&[]).await;
    wait_voters(&leader, ids([2, 3, 4])).await;
    // And the next one: two of the three are enough to go on, and nobody is left to take its place.
    let second = cluster.others(&[leader.id(), node(4)]).remove(0).id();
    cluster.kill(second);
    let leader = cluster.wait_new_leader(&[]).await;
    leader.add(1).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(leader.status().voters, ids([2, 3, 4]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_returns_soon_keeps_its_vote() {
    let cluster = members(&["a", "b", "c", "d"], 342).await;
    let leader = cluster.replica(1);
    wait_voters(&leader, ids([1, 2, 3])).await;
    cluster.hub.isolate(node(3));
    tokio::time::sleep(Duration::from_secs(15)).await;
    cluster.hub.heal();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(leader.status().voters, ids([1, 2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_drained_hands_over_and_gives_up_its_vote() {
    let cluster = members(&["a", "b", "c", "d"], 343).await;
    let drained = cluster.replica(1);
    wait_voters(&drained, ids([1, 2, 3])).await;

    tell(&drained, Body::DrainMember(DrainMember { node: node(1) })).await;

    wait_voters(&cluster.replica(2), ids([2, 3, 4])).await;
    wait_voters(&drained, ids([2, 3, 4])).await;
    assert_eq!(drained.status().learners, ids([1]), "it still follows");
    assert_ne!(drained.status().leader, Some(node(1)));
    cluster.replica(2).add(1).await;
}

#[tokio::test(start_paused = true)]
async fn the_only_voter_can_be_drained() {
    let cluster = members(&["a", "b"], 344).await;
    let drained = cluster.replica(1);
    tell(&drained, Body::DrainMember(DrainMember { node: node(1) })).await;

    let heir = cluster.replica(2);
    wait_voters(&heir, ids([2])).await;
    heir.wait_leading().await;
    heir.add(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_removed_gets_the_log_no_longer() {
    let cluster = members(&["a", "b", "c", "d"], 345).await;
    let leader = cluster.replica(1);
    wait_voters(&leader, ids([1, 2, 3])).await;

    tell(&leader, Body::RemoveMember(RemoveMember { node: node(3) })).await;

    wait_voters(&leader, ids([1, 2, 4])).await;
    let mut metrics = leader.raft().metrics();
    while leader.status().learners.contains(&node(3)) {
        metrics.changed().await.expect("it runs");
    }
}

#[tokio::test(start_paused = true)]
async fn votes_move_to_zones_that_have_none() {
    let mut cluster = members(&["a", "a", "a"], 346).await;
    let leader = cluster.replica(1);
    wait_voters(&leader, ids([1, 2, 3])).await;
    join(&mut cluster, 4, "b").await;
    wait_voters(&leader, ids([1, 2, 4])).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_lost_leader_left_half_done_is_finished() {
    let mut cluster = members(&["a", "b", "c", "d"], 347).await;
    let leader = cluster.replica(1);
    wait_voters(&leader, ids([1, 2, 3])).await;
    // Given a joint membership that nobody makes uniform.
    let joint = openraft::Membership::new(
        vec![
            ids([1, 2, 3]).into_iter().map(crate::types::RaftId).collect(),
            ids([1, 2, 4]).into_iter().map(crate::types::RaftId).collect(),
        ],
        (1..=4)
            .map(|number| (crate::types::RaftId(node(number)), ()))
            .collect::<std::collections::BTreeMap<_, _>>(),
    );
    let joint = joint.expect("all are members");
    let proposed = leader
        .raft()
        .append_membership(joint, openraft::EntryPayload::Blank, [])
        .await;
    proposed.expect("it leads");

    wait_voters(&leader, ids([1, 2, 4])).await;
    cluster.kill(node(3));
    leader.add(1).await;
}

#[tokio::test(start_paused = true)]
async fn the_leadership_is_handed_to_a_voter_that_was_named() {
    let cluster = Cluster::of(3, 348).await;
    let old = cluster.wait_new_leader(&[]).await;
    let heir = cluster.others(&[old.id()]).remove(0);
    let error = old
        .transfer_leadership(node(9))
        .await
        .expect_err("it has no vote");
    assert!(matches!(error, crate::ReplicaError::Membership { .. }), "{error}");
    let error = heir.transfer_leadership(node(1)).await;

    old.transfer_leadership(heir.id()).await.expect("it is a voter");

    assert_eq!(old.status().leader, Some(heir.id()));
    heir.add(1).await;
    if old.id() != node(1) {
        error.expect_err("it did not lead");
    }
}
