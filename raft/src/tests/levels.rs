//! Nodes of two releases in one cluster: the feature level.

use tetryx_state::command::{FEATURE_LEVEL, Role, SetFeatureLevel, UpdateMember};
use tetryx_state::{Body, Outcome, Refusal, Reply, query};

use crate::error::{ProposeError, ReplicaError};
use crate::replica::Replica;
use crate::testing::cluster::Cluster;
use crate::testing::{add_member, introduce, node};

/// The level of the next release.
const NEXT: u32 = FEATURE_LEVEL + 1;

/// What a node says of itself when it has been started with a release.
fn level_of(number: u8, feature_level: u32) -> Body {
    Body::UpdateMember(UpdateMember {
        node: node(number),
        name: format!("node-{number}"),
        zone: "attic".to_owned(),
        addresses: Vec::new(),
        gossip: Vec::new(),
        http_url: None,
        role: None,
        weight: 100,
        feature_level,
    })
}

/// A command that every release knows.
fn moved(port: u32) -> Body {
    let Body::UpsertMember(mut member) = introduce(1, "attic", Role::Voter) else {
        unreachable!("it changes a member")
    };
    member.addresses = vec![format!("192.0.2.1:{port}")];
    Body::UpsertMember(member)
}

async fn propose(replica: &Replica, body: Body) -> Reply {
    let applied = replica.propose("test", body).await;
    applied.expect("a majority is there").reply
}

/// Three nodes of this release, which are members.
async fn members() -> Cluster {
    let cluster = Cluster::of(3, 400).await;
    let founder = cluster.replica(1);
    for number in 1..=3 {
        let _added = propose(&founder, introduce(number, "attic", Role::Voter)).await;
        let _said = propose(&founder, level_of(number, FEATURE_LEVEL)).await;
    }
    cluster
}

/// Starts a node again with another release, and has it say so.
async fn change_release(cluster: &mut Cluster, number: u8, level: u32) {
    cluster.kill(node(number));
    cluster.feature_level = level;
    let replica = cluster.start(node(number)).await;
    let leader = cluster.wait_new_leader(&[]).await;
    let last = propose(&leader, level_of(number, level)).await;
    assert_eq!(last, Reply::Done(Outcome::MemberUpdated), "node {number}");
    replica
        .wait_applied(leader.applied_index())
        .await
        .expect("it understands everything so far");
}

/// The lowest level that reads the last entry of the log.
async fn last_entry_needs(replica: &Replica) -> u32 {
    let last = replica.observe().last_log.expect("there are entries").index;
    let mut needs = 0;
    let read = replica.log().read(last..last + 1, |entry| {
        if let openraft::EntryPayload::Normal(proposal) = &entry.payload {
            let readable = |level: &u32| tetryx_state::Command::decode_at(*level, &proposal.0).is_ok();
            needs = (1..=NEXT)
                .find(readable)
                .expect("this or the next release reads it");
        }
    });
    read.await.expect("the log works");
    needs
}

#[tokio::test(start_paused = true)]
async fn nodes_are_upgraded_one_after_the_other_and_nothing_new_is_written_before_the_last() {
    let mut cluster = members().await;
    for number in 1..=3 {
        change_release(&mut cluster, number, NEXT).await;
        let upgraded = cluster.replica(number);
        let _applied = propose(&upgraded, moved(u32::from(number))).await;
        assert!(
            last_entry_needs(&upgraded).await <= FEATURE_LEVEL,
            "node {number}"
        );

        let raised = propose(&upgraded, SetFeatureLevel { level: NEXT }.into()).await;
        if number < 3 {
            assert!(
                matches!(raised, Reply::Refused(Refusal::FeatureLevelNotShared { has, .. }) if has == FEATURE_LEVEL),
                "{raised:?}"
            );
        } else {
            assert_eq!(raised, Reply::Done(Outcome::FeatureLevelSet));
        }
    }

    let applied = cluster.replica(2).propose("test", moved(100)).await;
    let applied = applied.expect("a majority is there");
    cluster.wait_all_applied(applied.index).await;
    for number in 1..=3 {
        assert_eq!(last_entry_needs(&cluster.replica(number)).await, NEXT);
        assert_eq!(cluster.replica(number).hash(), cluster.replica(1).hash());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_of_the_release_before_stops_at_what_it_does_not_know_and_goes_on_when_it_is_upgraded() {
    let mut cluster = members().await;
    for number in 1..=3 {
        change_release(&mut cluster, number, NEXT).await;
    }
    let founder = cluster.wait_new_leader(&[]).await;
    let set = propose(&founder, SetFeatureLevel { level: NEXT }.into()).await;
    assert_eq!(set, Reply::Done(Outcome::FeatureLevelSet));
    let allowed = founder.applied_index();

    let old = (1..=3)
        .find(|number| node(*number) != founder.id())
        .expect("others follow");
    cluster.kill(node(old));
    cluster.feature_level = FEATURE_LEVEL;
    let downgraded = cluster.start(node(old)).await;
    let stopped = downgraded.fatal();
    let applied = founder.add(1).await;

    let reason = stopped.await;
    assert!(matches!(reason, ReplicaError::NeedsUpgrade { .. }), "{reason}");
    assert!(downgraded.applied_index() < applied.index);
    let served = downgraded.view().expect("what it has is still served");
    let cluster_seen = query::cluster(&served)
        .expect("the state can be read")
        .expect("it is there");
    assert!(served.applied_index() >= allowed && cluster_seen.feature_level == NEXT);

    drop(downgraded);
    cluster.kill(node(old));
    cluster.feature_level = NEXT;
    let upgraded = cluster.start(node(old)).await;
    upgraded
        .wait_applied(applied.index)
        .await
        .expect("it knows them now");
    assert_eq!(upgraded.hash(), founder.hash());
}

#[tokio::test(start_paused = true)]
async fn a_node_proposes_nothing_that_it_does_not_know_itself() {
    let mut cluster = Cluster::new(401);
    cluster.feature_level = 1;
    cluster.found(1).await;
    let replica = cluster.replica(1);

    let error = replica
        .propose("test", level_of(1, 1))
        .await
        .expect_err("the first release did not know this command");

    assert!(
        matches!(error, ProposeError::Replica(ReplicaError::NeedsUpgrade { .. })),
        "{error}"
    );
    let known = replica.propose("test", add_member(1)).await;
    assert_eq!(
        known.expect("it goes on").reply,
        Reply::Done(Outcome::MemberAdded)
    );
}
