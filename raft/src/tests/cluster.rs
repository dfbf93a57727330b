//! Several replicas: elections, losses, partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::profile::Profile;
use crate::status::ReplicaRole;
use crate::testing::cluster::Cluster;
use crate::testing::hub::Kind;
use crate::testing::{add_member, init_cluster, node};

#[tokio::test(start_paused = true)]
async fn a_cluster_of_one_leads_without_waiting_for_a_timeout() {
    let mut cluster = Cluster::new(1);
    let replica = cluster.start(node(1)).await;
    assert!(!replica.is_initialised().await.expect("it runs"));
    replica.bootstrap().await.expect("it is empty");
    replica.propose("test", init_cluster()).await.expect("it leads");
    let before_restart = cluster.clock.since_start();

    cluster.kill(node(1));
    let replica = cluster.start(node(1)).await;
    replica.add(1).await;

    assert!(replica.is_initialised().await.expect("it runs"));
    assert_eq!(replica.status().role, ReplicaRole::Leader);
    let since_restart = cluster.clock.since_start() - before_restart;
    assert!(
        since_restart < Profile::Lan.heartbeat(),
        "virtual time stands still while nobody waits for it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_founded_once() {
    let cluster = Cluster::of(1, 2).await;
    let error = cluster
        .replica(1)
        .bootstrap()
        .await
        .expect_err("it has been founded");
    assert!(
        matches!(error, crate::ReplicaError::AlreadyInitialised),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn three_replicas_go_on_without_the_one_that_led() {
    let mut cluster = Cluster::of(3, 3).await;
    cluster.replica(1).add(1).await;

    cluster.kill(node(1));
    let leader = cluster.wait_new_leader(&[]).await;
    let second = leader.add(2).await;

    cluster.wait_all_applied(second.index).await;
    let hashes: BTreeSet<_> = cluster.others(&[]).iter().map(|replica| replica.hash()).collect();
    assert_eq!(hashes.len(), 1, "the survivors hold the same state");
    let returned = cluster.start(node(1)).await;
    returned.wait_applied(second.index).await.expect("it catches up");
    assert_eq!(returned.hash(), leader.hash());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_back_does_not_depose_the_leader() {
    let cluster = Cluster::of(3, 4).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let lonely = cluster.others(&[leader.id()]).remove(0);
    let term = leader.status().term;
    let votes_before = cluster.hub.count(lonely.id(), Kind::Vote);

    cluster.hub.isolate(lonely.id());
    cluster.hub.wait_count(lonely.id(), Kind::PreVote, 12).await;
    let proposed = leader.add(1).await;
    assert_eq!(
        lonely.status().term,
        term,
        "it asked before it raised the term, and nobody answered"
    );
    cluster.hub.heal();
    lonely
        .wait_applied(proposed.index)
        .await
        .expect("it hears of the leader again");

    assert_eq!(
        cluster.hub.count(lonely.id(), Kind::Vote),
        votes_before,
        "it never asked for real"
    );
    assert_eq!(leader.status().role, ReplicaRole::Leader);
    assert_eq!(leader.status().term, term);
    leader.add(2).await;
}

/// The harness's own test: the claim above would fail if pre-vote were off.
#[tokio::test(start_paused = true)]
async fn without_pre_vote_a_replica_that_is_cut_off_raises_the_term() {
    let cluster = Cluster::of(3, 13).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let lonely = cluster.others(&[leader.id()]).remove(0);
    let (term, votes) = (leader.status().term, cluster.hub.count(lonely.id(), Kind::Vote));
    lonely.raft().runtime_config().pre_vote(false);

    cluster.hub.isolate(lonely.id());
    cluster.hub.wait_count(lonely.id(), Kind::Vote, votes + 4).await;

    assert!(lonely.status().term > term);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_cut_off_follows_when_it_returns() {
    let cluster = Cluster::of(3, 5).await;
    let old = cluster.wait_new_leader(&[]).await;
    cluster.hub.isolate(old.id());
    let new = cluster.wait_new_leader(&[old.id()]).await;
    let applied = new.add(1).await;

    cluster.hub.heal();
    old.wait_applied(applied.index).await.expect("it follows");

    assert_eq!(old.status().leader, Some(new.id()));
    assert_eq!(old.hash(), new.hash());
}

#[tokio::test(start_paused = true)]
async fn entries_that_overtake_each_other_are_appended_in_order() {
    let cluster = Cluster::of(3, 6).await;
    cluster
        .hub
        .delay(Duration::from_millis(1), Duration::from_millis(60));
    let leader = cluster.wait_new_leader(&[]).await;
    let term = leader.status().term;

    let adding = (0..200).map(|number| {
        let leader = leader.clone();
        async move { leader.add(number).await.index }
    });
    let indexes = futures::future::join_all(adding).await;

    let last = indexes.iter().copied().max().expect("there are some");
    cluster.wait_all_applied(last).await;
    assert_eq!(leader.status().term, term, "nobody thought the leader dead");
    let hashes: BTreeSet<_> = cluster.others(&[]).iter().map(|replica| replica.hash()).collect();
    assert_eq!(hashes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_carries_many_append_requests_at_once() {
    let mut cluster = Cluster::new(7);
    cluster.profile = Profile::Geo;
    cluster.found(3).await;
    let way = Duration::from_millis(300);
    cluster.hub.delay(way, way);
    let leader = cluster.wait_new_leader(&[]).await;
    let before = cluster.clock.since_start();

    // Each one is proposed when the one before is in the leader's log, long before a follower can have it.
    let mut adding = Vec::new();
    for number in 0..60 {
        let proposer = leader.clone();
        let last = leader.status().last_log;
        adding.push(tokio::spawn(async move { proposer.add(number).await }));
        leader
            .raft()
            .wait(None)
            .log_index_at_least(last.map(|last| last + 1), "appended")
            .await
            .expect("it runs");
    }
    futures::future::try_join_all(adding).await.expect("no panic");

    let took = cluster.clock.since_start() - before;
    assert!(
        took < Duration::from_secs(3),
        "a round trip for each would take 36 s: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn leadership_can_be_handed_over() {
    let cluster = Cluster::of(3, 8).await;
    let old = cluster.wait_new_leader(&[]).await;
    let heir = cluster.others(&[old.id()]).remove(0);

    old.raft()
        .trigger()
        .transfer_leader(crate::types::RaftId(heir.id()))
        .await
        .expect("it runs");
    heir.wait_leading().await;

    heir.add(1).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_changes_members() {
    let cluster = Cluster::of(3, 9).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let follower = cluster.others(&[leader.id()]).remove(0);
    let error = follower.add_learner(node(9)).await.expect_err("it does not lead");
    assert!(
        matches!(error, crate::ReplicaError::NotLeader { leader: Some(known) } if known == leader.id()),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_command_of_a_newer_version_stops_applying_but_not_reading() {
    let cluster = Cluster::of(1, 10).await;
    let replica = cluster.replica(1);
    let before = replica.hash();
    let fatal = replica.fatal();

    let newer = tetryx_protocol::envelope::seal(*b"TXCM", 9, 9, b"from the future");
    let answer = replica
        .raft()
        .client_write(crate::types::Proposal(newer.into()))
        .await;

    assert!(answer.is_err(), "nobody can say what it did");
    let reason = fatal.await;
    assert!(
        matches!(reason, crate::ReplicaError::NeedsUpgrade { .. }),
        "{reason}"
    );
    assert_eq!(replica.hash(), before, "what it has is still served");
    let error = replica
        .propose("test", add_member(1))
        .await
        .expect_err("it has stopped");
    assert!(
        matches!(
            error,
            crate::ProposeError::Replica(crate::ReplicaError::NeedsUpgrade { .. })
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_reported_and_what_was_applied_is_still_served() {
    let cluster = Cluster::of(1, 11).await;
    let replica = cluster.replica(1);
    replica.add(1).await;
    let before = replica.hash();
    let fatal = replica.fatal();

    cluster.disk(1).fail_after(0);
    let error = replica
        .propose("test", add_member(2))
        .await
        .expect_err("the disk is full");

    assert!(matches!(error, crate::ProposeError::Replica(_)), "{error}");
    let reason = fatal.await;
    assert!(reason.to_string().contains("restart the node"), "{reason}");
    assert!(replica.status().failure.is_some());
    assert!(
        replica.wait_applied(1_000).await.is_err(),
        "nothing more will be applied"
    );
    assert_eq!(replica.hash(), before);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_not_reported_as_a_failure() {
    let cluster = Cluster::of(1, 12).await;
    let replica = cluster.replica(1);
    let fatal = replica.fatal();

    replica.shutdown().await;

    assert!(matches!(replica.view(), Err(crate::ReplicaError::Stopped)));
    assert!(matches!(
        replica.wait_applied(1_000).await,
        Err(crate::ReplicaError::Stopped)
    ));
    assert!(futures::poll!(Box::pin(fatal)).is_pending());
}
