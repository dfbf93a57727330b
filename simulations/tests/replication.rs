//! What several nodes promise about copies: made before a push is acknowledged, repaired, and given up with care.

use std::time::Duration;

use http::StatusCode;
use tetryx_node::config::Config;
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::placement::{Copies, PlaceCandidate, place};
use tetryx_simulations::{Cluster, TestNode, TestPath, decompress, nar_url};
use tetryx_state::query;
use tetryx_store::{Disk, Survivors};

const MINUTES: u64 = 60;

async fn pull(node: &TestNode, path: &TestPath) -> Vec<u8> {
    decompress(&node.get(&nar_url("main", path)).await.expect(StatusCode::OK).body)
}

/// Whether the NAR is whole on the node's own disk.
fn holds(node: &TestNode, path: &TestPath) -> bool {
    let view = node.node.replica().view().unwrap();
    let Some(record) = query::nar(&view, &path.nar_hash()).unwrap() else {
        return false;
    };
    let held = node.node.store().hold_nar(&record.manifest).unwrap();
    held.is_some_and(|held| held.is_complete())
}

fn copies(cluster: &Cluster, path: &TestPath) -> usize {
    cluster.running().filter(|node| holds(node, path)).count()
}

/// The places of the nodes that should hold the NAR.
fn holders(cluster: &Cluster, nar: &NarHash) -> Vec<usize> {
    let view = cluster.node(0).node.replica().view().unwrap();
    let members: Vec<PlaceCandidate> = query::members(&view)
        .unwrap()
        .into_iter()
        .filter(|(_, member)| member.state.is_active())
        .map(|(node, member)| PlaceCandidate {
            node,
            zone: member.zone,
            weight: member.weight,
        })
        .collect();
    let placed = place(nar, &members, Copies::Exactly(3));
    placed.into_iter().map(|node| cluster.place_of(node)).collect()
}

/// A path that should be held by some node, or not, as `fits` says of the holders' places.
fn path_held_by(cluster: &Cluster, len: usize, fits: impl Fn(&[usize]) -> bool) -> TestPath {
    (0..1000)
        .map(|n| TestPath::of_noise(&format!("path-{n}"), len))
        .find(|path| fits(&holders(cluster, &path.nar_hash())))
        .expect("there are many ways to place a NAR")
}

async fn cluster_with_cache(count: u8, change: impl Fn(u8, &mut Config)) -> Cluster {
    let cluster = Cluster::with(count, change).await;
    cluster.node(0).create_cache("main", true).await;
    cluster.settle().await;
    cluster
}

#[tokio::test]
async fn a_push_is_acknowledged_only_when_another_node_holds_it_durably() {
    let mut cluster = cluster_with_cache(3, |_, _| {}).await;
    let path = TestPath::of_noise("path", 1_500_000);
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;
    assert!(copies(&cluster, &path) >= 2);

    // Nothing was replicated in the background, and the power fails everywhere at once.
    cluster.kill(1).await;
    cluster.kill(2).await;
    cluster.restart(1).await;
    cluster.restart(2).await;
    assert!(copies(&cluster, &path) >= 2);
}

#[tokio::test]
async fn a_push_that_nobody_else_can_hold_is_refused_and_leaves_nothing_visible() {
    let mut cluster = cluster_with_cache(3, |_, _| {}).await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let path = TestPath::of_noise("path", 100_000);
    let node = cluster.node(0);
    let upload = node.upload("main").await;
    upload.send_missing(&path).await.expect(StatusCode::OK);
    let message = upload.commit(&[&path]).await.refused(ErrorName::NotEnoughCopies);
    assert!(message.contains("durable on 1 of 2 nodes"), "{message}");
    node.narinfo("main", &path).await.refused(ErrorName::NoSuchObject);

    cluster.restart(2).await;
    let node = cluster.node(0);
    let upload = node.upload("main").await;
    upload.send_missing(&path).await.expect(StatusCode::OK);
    upload.commit(&[&path]).await.expect(StatusCode::OK);
    cluster.settle().await;
    assert!(holds(cluster.node(2), &path));
}

#[tokio::test]
async fn what_a_node_holds_for_a_push_elsewhere_is_kept_until_the_push_is_committed_or_given_up() {
    let cluster = cluster_with_cache(2, |_, _| {}).await;
    let path = TestPath::of_noise("path", 600_000);
    let upload = cluster.node(0).upload("main").await;
    upload.send_missing(&path).await.expect(StatusCode::OK);
    // It was sent on ahead of the commit.
    let other = cluster.node(1);
    while other.node.store().stats().unwrap().manifests == 0 {
        tokio::task::yield_now().await;
    }
    other.node.collect_once().await.unwrap();
    assert_eq!(other.node.store().stats().unwrap().manifests, 1);

    // So is what will never be committed. Both are sent before the clock is turned: who has not been heard of for a
    // day is not asked.
    let abandoned = TestPath::of_noise("abandoned", 600_000);
    let given_up = cluster.node(0).upload("main").await;
    given_up.send_missing(&abandoned).await.expect(StatusCode::OK);
    while other.node.store().stats().unwrap().manifests == 1 {
        tokio::task::yield_now().await;
    }
    upload.commit(&[&path]).await.expect(StatusCode::OK);
    cluster.settle().await;

    // Maybe it is still being fetched: a hold in use does not end.
    while other.node.store().stats().unwrap().manifests > 1 {
        cluster
            .node(0)
            .machine
            .clock
            .turn(Duration::from_secs(24 * 60 * MINUTES));
        other.node.collect_once().await.unwrap();
    }
    assert!(holds(other, &path));
}

#[tokio::test]
async fn every_nar_comes_to_all_its_holders_and_status_says_how_far_that_is() {
    let cluster = cluster_with_cache(4, |_, _| {}).await;
    let paths: Vec<_> = (0..12)
        .map(|n| TestPath::of_noise(&format!("path-{n}"), 150_000 + n * 10_000))
        .collect();
    for (n, path) in paths.iter().enumerate() {
        cluster.node(n % 4).push("main", &[path]).await;
        cluster.settle().await;
    }
    let before = cluster.node(0).node.replicate_once().await.unwrap();
    assert!(before.figures.under_replicated.nars > 0);
    assert!(before.figures.bytes_to_move > 0);

    cluster.replicate().await;
    for path in &paths {
        for place in holders(&cluster, &path.nar_hash()) {
            assert!(holds(cluster.node(place), path));
        }
    }
    for report in cluster.replicate().await {
        assert_eq!(report.figures.under_replicated.nars, 0, "{report:?}");
        assert_eq!(report.figures.bytes_to_move, 0);
    }
}

#[tokio::test]
async fn a_killed_holder_is_replaced_after_a_while_and_its_stand_in_leaves_when_it_is_back() {
    let mut cluster = cluster_with_cache(5, |_, config| {
        config.replication.keep_surplus = Duration::ZERO;
    })
    .await;
    let path = path_held_by(&cluster, 700_000, |places| {
        places.contains(&3) && !places.contains(&0)
    });
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;
    cluster.replicate().await;
    cluster.kill(3).await;

    let report = cluster.replicate().await[0];
    assert_eq!(report.figures.under_replicated.nars, 1);
    let live = |cluster: &Cluster| {
        (1..5)
            .filter(|at| *at != 3 && holds(cluster.node(*at), &path))
            .count()
    };
    assert_eq!(
        live(&cluster),
        2,
        "a node that may be back in a moment is not replaced"
    );

    cluster
        .node(0)
        .machine
        .clock
        .turn(Duration::from_secs(11 * MINUTES));
    cluster.replicate().await;
    // The founder has a copy because it took the push; it may be the stand-in as well.
    assert_eq!(copies(&cluster, &path), if live(&cluster) == 3 { 4 } else { 3 });
    for node in cluster.running() {
        node.node.collect_once().await.unwrap();
    }
    assert_eq!(
        copies(&cluster, &path).max(3),
        copies(&cluster, &path),
        "stand-ins stay"
    );

    cluster.restart(3).await;
    cluster.replicate().await;
    for node in cluster.running() {
        node.node.collect_once().await.unwrap();
    }
    let places: Vec<usize> = (0..5).filter(|at| holds(cluster.node(*at), &path)).collect();
    let mut expected = holders(&cluster, &path.nar_hash());
    expected.sort_unstable();
    assert_eq!(places, expected);
    assert_eq!(pull(cluster.node(0), &path).await, path.nar);
}

#[tokio::test]
async fn a_removed_holder_is_replaced_at_once() {
    let mut cluster = cluster_with_cache(5, |_, _| {}).await;
    let path = path_held_by(&cluster, 300_000, |places| places.contains(&2));
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;
    cluster.replicate().await;
    cluster.kill(2).await;
    cluster.remove(2).await;
    cluster.replicate().await;
    for place in holders(&cluster, &path.nar_hash()) {
        assert!(holds(cluster.node(place), &path));
    }
}

#[tokio::test]
async fn a_copy_is_given_up_only_when_every_holder_has_its_own() {
    let mut cluster = cluster_with_cache(5, |_, config| {
        config.replication.keep_surplus = Duration::from_secs(60);
    })
    .await;
    let path = path_held_by(&cluster, 400_000, |places| !places.contains(&0));
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;
    cluster.node(0).machine.clock.turn(Duration::from_secs(61));

    // One of three has it, then two of three, then one of them is away.
    cluster.node(0).node.collect_once().await.unwrap();
    assert!(holds(cluster.node(0), &path));
    cluster.replicate().await;
    let away = holders(&cluster, &path.nar_hash())[1];
    cluster.kill(away).await;
    cluster.node(0).node.collect_once().await.unwrap();
    assert!(holds(cluster.node(0), &path));

    cluster.restart(away).await;
    assert_eq!(pull(cluster.node(0), &path).await, path.nar);
    cluster.node(0).node.collect_once().await.unwrap();
    assert!(holds(cluster.node(0), &path), "it was read here a moment ago");
    cluster.node(0).machine.clock.turn(Duration::from_secs(61));
    cluster.node(0).node.collect_once().await.unwrap();
    assert!(!holds(cluster.node(0), &path));
    assert_eq!(copies(&cluster, &path), 3);
    assert_eq!(pull(cluster.node(0), &path).await, path.nar);
}

#[tokio::test]
async fn a_node_that_drains_may_go_when_the_others_hold_everything() {
    let cluster = cluster_with_cache(4, |_, _| {}).await;
    let paths: Vec<_> = (0..6)
        .map(|n| TestPath::of_noise(&format!("path-{n}"), 200_000))
        .collect();
    cluster
        .node(1)
        .push("main", &paths.iter().collect::<Vec<_>>())
        .await;
    cluster.settle().await;
    cluster.replicate().await;
    cluster.drain(1).await;

    let leaving = cluster.node(1).node.replicate_once().await.unwrap();
    assert!(leaving.figures.to_hand_over.nars > 0, "{leaving:?}");
    let reports = cluster.replicate().await;
    assert_eq!(reports[1].figures.to_hand_over.nars, 0, "{:?}", reports[1]);
    for path in &paths {
        let others = [0, 2, 3].into_iter().filter(|at| holds(cluster.node(*at), path));
        assert_eq!(others.count(), 3);
    }
}

#[tokio::test]
async fn a_new_member_takes_its_share_over() {
    let mut cluster = cluster_with_cache(3, |_, _| {}).await;
    let paths: Vec<_> = (0..40)
        .map(|n| TestPath::of_noise(&format!("path-{n}"), 20_000))
        .collect();
    cluster
        .node(0)
        .push("main", &paths.iter().collect::<Vec<_>>())
        .await;
    cluster.settle().await;
    cluster.replicate().await;
    let new = cluster.join(|_| {}).await;
    cluster.replicate().await;
    let mut taken = 0;
    for path in &paths {
        let places = holders(&cluster, &path.nar_hash());
        assert!(places.iter().all(|place| holds(cluster.node(*place), path)));
        taken += usize::from(places.contains(&new));
    }
    assert!(
        (20..40).contains(&taken),
        "{taken} of 40, and three in four are its share"
    );
}

#[tokio::test]
async fn a_damaged_copy_heals_from_another_node_in_the_background() {
    let mut cluster = cluster_with_cache(3, |_, _| {}).await;
    let path = TestPath::of_noise("path", 900_000);
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;
    cluster.replicate().await;
    let chunk = path.chunks()[1].hash;
    cluster.kill(1).await;
    damage(&cluster, 1, &path);
    cluster.restart(1).await;
    // The damage is found when the bytes are read; a scrub would find it, too.
    assert!(cluster.node(1).node.store().read_chunk(&chunk).is_err());

    let report = cluster.node(1).node.replicate_once().await.unwrap();
    assert_eq!(report.fetched, 1, "{report:?}");
    assert!(cluster.node(1).node.store().read_chunk(&chunk).is_ok());
}

#[tokio::test]
async fn a_damaged_copy_heals_from_another_node_while_it_is_read() {
    let mut cluster = cluster_with_cache(2, |_, _| {}).await;
    let path = TestPath::of_noise("path", 900_000);
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;
    cluster.kill(1).await;
    damage(&cluster, 1, &path);
    cluster.restart(1).await;
    assert_eq!(pull(cluster.node(1), &path).await, path.nar);
    assert_eq!(pull(cluster.node(1), &path).await, path.nar);
}

/// Flips a bit of the second chunk on the disk of a node that does not run.
fn damage(cluster: &Cluster, at: usize, path: &TestPath) {
    let frame = path.chunks()[1].frame.clone();
    let disk = cluster.disk(at);
    let (name, offset) = Disk::list(disk)
        .expect("the disk works")
        .into_iter()
        .find_map(|name| {
            let content = disk.content(&name)?;
            let found = content.windows(frame.len()).position(|bytes| bytes == frame)?;
            Some((name, found as u64))
        })
        .expect("the chunk is on the disk");
    disk.flip_bit(&name, offset + 100, 3);
    disk.restart(Survivors::Synced);
}
