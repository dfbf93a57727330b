//! What a replica shows of itself.

use crate::compaction::Compaction;
use crate::observe::EntryKind;
use crate::status::ReplicaRole;
use crate::testing::cluster::Cluster;
use crate::testing::node;

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_seen_to_agree() {
    let cluster = Cluster::of(3, 500).await;
    let applied = cluster.replica(1).add(1).await;
    cluster.wait_all_applied(applied.index).await;
    // The followers hear with the next heartbeat up to where the log is committed.
    tokio::time::sleep(cluster.profile.heartbeat() * 3).await;

    let seen: Vec<_> = (1..=3).map(|number| cluster.replica(number).observe()).collect();
    for observation in &seen {
        let end = observation.last_log.expect("there are entries");
        assert_eq!(end.index, applied.index);
        let vote = observation.vote.expect("somebody was elected");
        assert_eq!(end.office(), vote.office());
        assert!(vote.is_granted);
        assert_eq!(observation.leader, Some(end.leader));
        for position in [
            observation.acknowledged,
            observation.committed,
            observation.applied,
        ] {
            assert_eq!(position, Some(end), "node {}", observation.node);
        }
        assert_eq!(observation.voters, [(1..=3).map(node).collect()]);
        assert!(observation.membership_at.is_some_and(|at| at < end));
        assert_eq!(observation.queues.log_writes, 0);
        assert_eq!(observation.queues.proposals, 0);
    }
    let mut leaders = seen.iter().filter(|seen| seen.role == ReplicaRole::Leader);
    let leader = leaders.next_back().expect("somebody leads");
    assert_eq!(leader.matched.len(), 3);
    assert!(
        leader
            .matched
            .values()
            .all(|matched| Some(*matched) == leader.last_log)
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_entry_has_the_same_mark_on_every_replica() {
    let cluster = Cluster::of(3, 501).await;
    let applied = cluster.replica(1).add(1).await;
    cluster.replica(2).add(2).await;
    cluster.wait_all_applied(applied.index + 1).await;

    let marks = cluster.replica(1).entries(0..u64::MAX).await.expect("it runs");
    for number in 2..=3 {
        let others = cluster
            .replica(number)
            .entries(0..u64::MAX)
            .await
            .expect("it runs");
        assert_eq!(others, marks);
    }
    assert!(marks.iter().map(|mark| mark.at.index).eq(0..=applied.index + 1));
    assert!(matches!(&marks[0].kind, EntryKind::Membership { voters } if voters.len() == 1));
    let commands: Vec<_> = marks
        .iter()
        .filter_map(|mark| match mark.kind {
            EntryKind::Command(proposal) => Some(proposal.expect("the commands of this version say")),
            _ => None,
        })
        .collect();
    let [.., one, other] = commands.as_slice() else {
        panic!("too few commands: {commands:?}")
    };
    assert_ne!(one.client, other.client, "they were proposed on two nodes");
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_the_log_and_what_is_not_there_yet_has_no_marks() {
    let mut cluster = Cluster::new(502);
    cluster.compaction = Compaction { keep: 5, every: 5 };
    cluster.found(1).await;
    let replica = cluster.replica(1);
    for number in 0..30 {
        replica.add(number).await;
    }
    tokio::time::sleep(cluster.profile.heartbeat()).await;
    let seen = replica.observe();
    let (purged, last) = (
        seen.purged.expect("it was cut"),
        seen.last_log.expect("not all of it"),
    );

    let marks = replica.entries(0..last.index + 100).await.expect("it runs");

    assert!(
        marks
            .iter()
            .map(|mark| mark.at.index)
            .eq(purged.index + 1..=last.index)
    );
    assert!(seen.snapshot >= seen.purged);
    let none = replica.entries(last.index + 1..last.index + 100).await;
    assert_eq!(none.expect("it runs"), []);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_shut_down_shows_no_log() {
    let cluster = Cluster::of(1, 503).await;
    let replica = cluster.replica(1);

    replica.shutdown().await;

    assert_eq!(replica.observe().last_log, None);
    replica.entries(0..10).await.expect_err("its files are closed");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_killed_shows_the_vote_and_the_log_it_had_acknowledged() {
    let mut cluster = Cluster::of(3, 504).await;
    let applied = cluster.replica(1).add(1).await;
    cluster.wait_all_applied(applied.index).await;
    let before = cluster.replica(2).observe();

    cluster.kill(node(2));
    cluster.hub.isolate(node(2));
    let after = cluster.start(node(2)).await.observe();

    assert_eq!(after.vote, before.vote);
    assert_eq!(after.last_log, before.acknowledged);
    assert_eq!(after.term, before.term);
    assert_ne!(after.opened_as, before.opened_as);
}
