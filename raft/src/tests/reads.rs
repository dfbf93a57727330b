//! Read levels, and how fresh a node says it is.

use std::time::Duration;

use crate::error::ReadError;
use crate::profile::Profile;
use crate::reads::ReadLevel;
use crate::testing::cluster::Cluster;
use crate::testing::hub::Kind;
use crate::testing::node;

#[tokio::test(start_paused = true)]
async fn a_strong_read_at_any_node_sees_what_was_acknowledged_before_it_began() {
    let cluster = Cluster::of(3, 300).await;
    cluster
        .hub
        .delay(Duration::from_millis(5), Duration::from_millis(40));
    let leader = cluster.wait_new_leader(&[]).await;
    for number in 0..20 {
        let written = leader.add(number).await;
        for replica in cluster.others(&[]) {
            let (view, freshness) = replica
                .read(ReadLevel::Strong)
                .await
                .expect("a majority is there");
            assert!(view.applied_index() >= written.index);
            assert_eq!(freshness.index, view.applied_index());
            let age = freshness.age.expect("it was just proved");
            assert!(age < Duration::from_millis(500), "since the read began: {age:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_gets_older_and_says_so() {
    let cluster = Cluster::of(3, 301).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let lonely = cluster.others(&[leader.id()]).remove(0);
    lonely.wait_caught_up().await.expect("it runs");
    cluster.hub.isolate(lonely.id());
    leader.add(1).await;

    tokio::time::sleep(Duration::from_secs(60)).await;

    let age = lonely.freshness().age.expect("it had a proof");
    assert!(age >= Duration::from_secs(59), "{age:?}");
    let strong = lonely
        .read(ReadLevel::Strong)
        .await
        .expect_err("no leader is heard");
    assert!(matches!(strong, ReadError::NoLeader { .. }), "{strong}");
    let bounded = lonely.read(ReadLevel::Bounded(Duration::from_secs(30))).await;
    let bounded = bounded.expect_err("it is older");
    assert!(
        matches!(bounded, ReadError::TooOld { age: Some(age), .. } if age > Duration::from_secs(59)),
        "{bounded}"
    );
    let (view, freshness) = lonely.read(ReadLevel::Any).await.expect("it serves what it has");
    assert!(view.applied_index() < leader.applied_index());
    assert!(freshness.age >= Some(Duration::from_secs(60)));
    let long = lonely.read(ReadLevel::Bounded(Duration::from_secs(3_600))).await;
    long.expect("an hour has not passed");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_is_fresh_again() {
    let cluster = Cluster::of(3, 302).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let returned = cluster.others(&[leader.id()]).remove(0);
    cluster.hub.isolate(returned.id());
    let written = leader.add(1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.hub.heal();

    let bound = Duration::from_secs(1);
    let (view, _) = loop {
        if let Ok(read) = returned.read(ReadLevel::Bounded(bound)).await {
            break read;
        }
    };

    assert!(view.applied_index() >= written.index);
    assert!(returned.freshness().age.expect("it was proved") <= Profile::Lan.propose());
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_leader_without_a_majority_are_not_fresh() {
    // Given a leader with one of four followers on its side of a cut: it goes on telling that one that it leads.
    let cluster = Cluster::of(5, 303).await;
    let old = cluster.wait_new_leader(&[]).await;
    let fooled = cluster.others(&[old.id()]).remove(0);
    old.wait_caught_up().await.expect("it runs");
    fooled.wait_caught_up().await.expect("it runs");
    cluster.hub.split([old.id(), fooled.id()]);
    let new = cluster.wait_new_leader(&[old.id(), fooled.id()]).await;
    new.add(1).await;

    for stale in [&old, &fooled] {
        let error = stale
            .read(ReadLevel::Strong)
            .await
            .expect_err("no majority confirms it");
        assert!(matches!(error, ReadError::NoLeader { .. }), "{error}");
        let age = stale.freshness().age.expect("it had a proof before the cut");
        assert!(age > Profile::Lan.election_max(), "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_read_is_local_while_the_node_is_fresh() {
    let cluster = Cluster::of(3, 304).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let follower = cluster.others(&[leader.id()]).remove(0);
    follower.wait_caught_up().await.expect("it runs");
    let asked = cluster.hub.count(follower.id(), Kind::ReadIndex);

    for _ in 0..100 {
        let read = follower.read(ReadLevel::Bounded(Duration::from_secs(2))).await;
        read.expect("it is fresh");
    }

    assert_eq!(cluster.hub.count(follower.id(), Kind::ReadIndex), asked);
}

#[tokio::test(start_paused = true)]
async fn many_strong_reads_share_a_confirmation() {
    let cluster = Cluster::of(3, 305).await;
    let way = Duration::from_millis(10);
    cluster.hub.delay(way, way);
    let leader = cluster.wait_new_leader(&[]).await;
    let before = cluster.hub.count(leader.id(), Kind::Append);

    let reads = (0..200).map(|_| leader.read(ReadLevel::Strong));
    futures::future::try_join_all(reads)
        .await
        .expect("a majority is there");

    let sent = cluster.hub.count(leader.id(), Kind::Append) - before;
    assert!(sent < 20, "{sent} requests for 200 reads");
}

#[tokio::test(start_paused = true)]
async fn a_node_knows_nothing_of_its_age_before_it_reached_a_leader() {
    let mut cluster = Cluster::of(3, 306).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let follower = cluster.others(&[leader.id()]).remove(0).id();
    cluster.kill(follower);
    cluster.hub.isolate(follower);
    let restarted = cluster.start(follower).await;

    tokio::time::sleep(Duration::from_secs(30)).await;

    assert_eq!(restarted.freshness().age, None);
    let bounded = restarted.read(ReadLevel::Bounded(Duration::MAX)).await;
    assert!(matches!(bounded, Err(ReadError::TooOld { age: None, .. })));
    cluster.hub.heal();
    restarted
        .wait_caught_up()
        .await
        .expect("it hears from the leader");
    assert!(restarted.applied_index() >= leader.applied_index());
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_is_always_fresh() {
    let cluster = Cluster::of(1, 307).await;
    let replica = cluster.replica(1);
    replica.wait_caught_up().await.expect("it leads");

    tokio::time::sleep(Duration::from_secs(60)).await;

    let age = replica.freshness().age.expect("it leads");
    assert!(age <= Profile::Lan.heartbeat() * 3, "{age:?}");
    replica
        .read(ReadLevel::Strong)
        .await
        .expect("it is its own majority");
    assert_eq!(cluster.hub.count(node(1), Kind::ReadIndex), 0, "it asks nobody");
}
