//! A proposal is applied at most once, and its proposer is told the truth.

use std::sync::Arc;

use tetryx_protocol::id::{ClientId, ProposalId};
use tetryx_state::{Outcome, Reply, query};

use crate::error::ProposeError;
use crate::replica::Replica;
use crate::testing::cluster::Cluster;
use crate::testing::hub::{Call, Fate, Kind};
use crate::testing::{add_member, node};

/// A cluster of three, its leader, and one that follows.
async fn three(seed: u64) -> (Cluster, Arc<Replica>, Arc<Replica>) {
    let cluster = Cluster::of(3, seed).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let follower = cluster.others(&[leader.id()]).remove(0);
    (cluster, leader, follower)
}

#[tokio::test(start_paused = true)]
async fn a_follower_proposes_through_the_leader() {
    let (_cluster, leader, follower) = three(20).await;
    let applied = follower.add(1).await;
    follower.wait_applied(applied.index).await.expect("it follows");
    assert_eq!(follower.hash(), leader.hash());
    let members = query::members(&follower.view().expect("it runs")).expect("the state can be read");
    assert_eq!(members.len(), 1, "a read after the wait sees the write");
}

#[tokio::test(start_paused = true)]
async fn a_proposal_whose_answers_are_lost_is_applied_once() {
    let (cluster, leader, follower) = three(21).await;
    cluster.hub.rule(|call: Call| match call.kind {
        Kind::Propose if call.before < 3 => Fate::AnswerLost,
        _ => Fate::Delivered,
    });

    let applied = follower
        .propose("test", add_member(1))
        .await
        .expect("the fourth answer arrives");

    assert_eq!(
        applied.reply,
        Reply::Done(Outcome::MemberAdded),
        "the reply is that of the first time"
    );
    assert_eq!(cluster.hub.count(follower.id(), Kind::Propose), 4);
    let audit = leader.status().last_applied;
    assert!(audit >= applied.index);
}

#[tokio::test(start_paused = true)]
async fn a_proposal_repeated_under_its_id_gets_its_first_reply_from_whomever() {
    let (_cluster, leader, follower) = three(24).await;
    let id = ProposalId {
        client: ClientId::from_bytes([7; 16]),
        serial: 3,
    };
    for replica in [&follower, &leader] {
        let applied = replica.propose_as(id, 3, "test", add_member(1)).await;
        let reply = applied.expect("there is a leader").reply;
        assert_eq!(reply, Reply::Done(Outcome::MemberAdded));
    }
}

#[tokio::test(start_paused = true)]
async fn a_proposal_that_arrives_twice_is_applied_once() {
    let (cluster, leader, follower) = three(22).await;
    cluster.hub.rule(|call: Call| {
        if call.kind == Kind::Propose {
            Fate::Repeated
        } else {
            Fate::Delivered
        }
    });
    for number in 0..20 {
        follower.add(number).await;
    }
    let members = query::members(&leader.view().expect("it runs")).expect("the state can be read");
    assert_eq!(members.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn proposals_survive_losses_at_random_and_are_applied_once() {
    let (cluster, leader, follower) = three(23).await;
    let dice = crate::testing::SeededEntropy::new(5);
    cluster
        .hub
        .rule(move |call: Call| match (call.kind, dice.below(4)) {
            (Kind::Propose, 0) => Fate::RequestLost,
            (Kind::Propose, 1) => Fate::AnswerLost,
            (Kind::Propose, 2) => Fate::Repeated,
            _ => Fate::Delivered,
        });

    let adding = (0..40).map(|number| {
        let follower = Arc::clone(&follower);
        async move { follower.propose("test", add_member(number)).await }
    });
    let answers = futures::future::join_all(adding).await;

    for answer in answers {
        match answer {
            Ok(applied) => assert_eq!(applied.reply, Reply::Done(Outcome::MemberAdded)),
            Err(error) => assert!(matches!(error, ProposeError::Unknown { .. }), "{error}"),
        }
    }
    leader.add(100).await;
}

#[tokio::test(start_paused = true)]
async fn a_proposal_outlives_its_leader() {
    let (cluster, old, follower) = three(24).await;
    // The leader appends the proposal, and is cut off before anybody hears of it.
    let deaf = cluster.others(&[old.id(), follower.id()]).remove(0);
    cluster.hub.isolate(old.id());
    let proposing = {
        let follower = Arc::clone(&follower);
        tokio::spawn(async move { follower.propose("test", add_member(1)).await })
    };
    let new = cluster.wait_new_leader(&[old.id()]).await;

    let applied = proposing
        .await
        .expect("no panic")
        .expect("the new leader takes it");

    assert_eq!(applied.reply, Reply::Done(Outcome::MemberAdded));
    assert!([deaf.id(), follower.id()].contains(&new.id()));
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_from_its_followers_says_that_the_outcome_is_unknown() {
    let (cluster, leader, _) = three(25).await;
    cluster.hub.isolate(leader.id());

    let error = leader
        .propose("test", add_member(1))
        .await
        .expect_err("nobody follows");

    assert!(
        matches!(error, ProposeError::Unknown { .. }),
        "it was appended and may yet be committed: {error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_calls_vanish_says_that_the_outcome_is_unknown() {
    let (cluster, _, lonely) = three(26).await;
    cluster.hub.isolate(lonely.id());

    let error = lonely
        .propose("test", add_member(1))
        .await
        .expect_err("it reaches nobody");

    assert!(matches!(error, ProposeError::Unknown { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_calls_are_refused_says_that_nothing_was_done() {
    let (cluster, leader, lonely) = three(30).await;
    let id = lonely.id();
    cluster.hub.rule(move |call: Call| {
        if call.from == id {
            Fate::Refused
        } else {
            Fate::Delivered
        }
    });

    let error = lonely
        .propose("test", add_member(1))
        .await
        .expect_err("it reaches nobody");

    assert!(matches!(error, ProposeError::NoLeader { .. }), "{error}");
    leader.add(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_outside_any_cluster_has_no_leader() {
    let mut cluster = Cluster::new(27);
    let replica = cluster.start(node(1)).await;
    let error = replica
        .propose("test", add_member(1))
        .await
        .expect_err("there is no cluster");
    assert!(matches!(error, ProposeError::NoLeader { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_reply() {
    let cluster = Cluster::of(1, 28).await;
    let answer = cluster
        .replica(1)
        .propose("test", crate::testing::init_cluster())
        .await
        .expect("it leads");
    assert!(
        matches!(answer.reply, Reply::Refused(_)),
        "a cluster is initialised once"
    );
}

#[tokio::test(start_paused = true)]
async fn many_proposals_share_a_flush() {
    let cluster = Cluster::of(1, 29).await;
    let replica = cluster.replica(1);
    let before = cluster.disk(1).operations();

    let adding = (0..500).map(|number| {
        let replica = Arc::clone(&replica);
        async move { replica.add(number).await }
    });
    futures::future::join_all(adding).await;

    let flushes = cluster.disk(1).syncs_since(before);
    assert!(flushes <= 60, "500 proposals took {flushes} flushes of two files");
}
