//! Little room: what goes first, what never goes, and how a refusal reads.

use std::time::Duration;

use axum::body::Body;
use http::header::{ETAG, RANGE};
use http::{Method, Request, StatusCode};
use tetryx_node::config::{Config, Size};
use tetryx_protocol::api::ErrorName;
use tetryx_simulations::{Cluster, Machine, TestNode, TestPath, decompress, nar_url};
use tetryx_state::query;

const MINUTE: Duration = Duration::from_secs(60);

async fn pull(node: &TestNode, path: &TestPath) -> Vec<u8> {
    decompress(&node.get(&nar_url("main", path)).await.expect(StatusCode::OK).body)
}

/// Whether the NAR is whole on the node's own disk.
fn holds(node: &TestNode, path: &TestPath) -> bool {
    let view = node.node.replica().view().unwrap();
    let record = query::nar(&view, &path.nar_hash()).unwrap();
    let record = record.expect("the path is published");
    let held = node.node.store().hold_nar(&record.manifest).unwrap();
    held.is_some_and(|held| held.is_complete())
}

/// So many paths whose holders' places fit.
fn paths_held_by(
    cluster: &Cluster,
    copies: u8,
    len: usize,
    count: usize,
    fits: impl Fn(&[usize]) -> bool,
) -> Vec<TestPath> {
    (0..4000)
        .map(|n| TestPath::of_noise(&format!("path-{n}"), len))
        .filter(|path| fits(&cluster.holders(&path.nar_hash(), copies)))
        .take(count)
        .collect()
}

/// The last of three nodes has little room.
async fn cluster(copies: u8, write_replicas: u8, quota: Size) -> Cluster {
    let cluster = Cluster::with(3, |number, config: &mut Config| {
        config.replication.copies = copies;
        config.replication.write_replicas = write_replicas;
        config.store.segment_size = Size::mib(1);
        config.store.quota = (number == 3).then_some(quota);
    })
    .await;
    cluster.node(0).create_cache("main", true).await;
    cluster.settle().await;
    cluster
}

#[tokio::test]
async fn what_is_only_cached_goes_first_and_of_that_what_was_unused_for_longest() {
    let cluster = cluster(1, 1, Size::mib(10)).await;
    let tight = cluster.node(2);
    let clock = &tight.machine.clock;
    let owed = paths_held_by(&cluster, 1, 1_500_000, 1, |holders| holders == [2]);
    let cached = paths_held_by(&cluster, 1, 1_500_000, 4, |holders| holders == [0]);
    cluster
        .node(0)
        .push("main", &cached.iter().collect::<Vec<_>>())
        .await;
    tight.push("main", &[&owed[0]]).await;
    cluster.settle().await;
    cluster.replicate().await;
    for path in &cached {
        clock.turn(MINUTE);
        assert_eq!(pull(tight, path).await, path.nar);
    }
    // Used again, so it is not the first to go.
    clock.turn(MINUTE);
    assert_eq!(pull(tight, &cached[0]).await, cached[0].nar);
    assert!(cached.iter().all(|path| holds(tight, path)));

    let large = paths_held_by(&cluster, 1, 3_000_000, 1, |holders| holders == [2]);
    tight.push("main", &[&large[0]]).await;
    cluster.settle().await;
    assert!(!holds(tight, &cached[1]), "unused for longest");
    assert!(
        holds(tight, &cached[0]) && holds(tight, &cached[3]),
        "used lately"
    );
    assert!(holds(tight, &owed[0]) && holds(tight, &large[0]), "owed");
    assert_eq!(pull(tight, &large[0]).await, large[0].nar);
    assert_eq!(pull(cluster.node(0), &cached[1]).await, cached[1].nar);
}

#[tokio::test]
async fn a_placed_copy_goes_only_when_enough_others_hold_it() {
    let cluster = cluster(3, 2, Size::mib(10)).await;
    let tight = cluster.node(2);
    let last = paths_held_by(&cluster, 3, 1_500_000, 2, |holders| holders[2] == 2);
    let first = paths_held_by(&cluster, 3, 1_500_000, 2, |holders| holders[2] != 2);
    for path in last.iter().chain(&first) {
        cluster.node(0).push("main", &[path]).await;
    }
    cluster.settle().await;
    cluster.replicate().await;
    assert!(last.iter().chain(&first).all(|path| holds(tight, path)));

    let large = TestPath::of_noise("large", 4_200_000);
    tight.push("main", &[&large]).await;
    cluster.settle().await;
    let gone = last.iter().filter(|path| !holds(tight, path)).count();
    assert!(gone > 0, "there are two more copies of each");
    assert!(
        first.iter().all(|path| holds(tight, path)),
        "without this one there are too few"
    );
    // Neither does it come back to make another one go.
    cluster.replicate().await;
    assert_eq!(last.iter().filter(|path| !holds(tight, path)).count(), gone);
    for path in last.iter().chain(&first) {
        assert!(holds(cluster.node(0), path) && holds(cluster.node(1), path));
    }
}

#[tokio::test]
async fn no_placed_copy_goes_while_one_that_it_relies_on_does_not_answer() {
    let mut cluster = cluster(3, 2, Size::mib(10)).await;
    let last = paths_held_by(&cluster, 3, 1_500_000, 4, |holders| holders[2] == 2);
    cluster
        .node(0)
        .push("main", &last.iter().collect::<Vec<_>>())
        .await;
    cluster.settle().await;
    cluster.replicate().await;
    cluster.kill(1).await;
    let tight = cluster.node(2);
    let large = TestPath::of_noise("large", 5_000_000);
    let upload = tight.upload("main").await;
    upload.send_missing(&large).await.refused(ErrorName::StorageFull);
    assert!(last.iter().all(|path| holds(tight, path)));
}

#[tokio::test]
async fn a_refusal_for_want_of_room_comes_early_and_says_what_to_do() {
    let machine = Machine::new(|config| {
        config.store.segment_size = Size::mib(1);
        config.store.quota = Some(Size::mib(4));
    });
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let (kept, large) = (
        TestPath::of_noise("kept", 3_000_000),
        TestPath::of_noise("large", 6_000_000),
    );
    node.push("main", &[&kept]).await;
    let before = node.pack_bytes();
    let upload = node.upload("main").await;
    let message = upload.send_missing(&large).await.refused(ErrorName::StorageFull);
    for word in [
        "store.quota is 4 MiB",
        "raise store.quota",
        "gc --once",
        "retention",
    ] {
        assert!(message.contains(word), "{word:?} in {message:?}");
    }
    assert_eq!(node.pack_bytes(), before, "nothing of it was taken");
    upload.end().await.expect(StatusCode::NO_CONTENT);

    // What fits is taken, until so little is left that an upload need not begin.
    let url = "/api/v1/caches/main/uploads";
    let mut taken = 0;
    let refusal = loop {
        let answer = node.ask(Method::POST, url, &node.root).await;
        if answer.status != StatusCode::CREATED {
            break answer;
        }
        let next = TestPath::of_noise(&format!("small-{taken}"), 50_000);
        let upload = node.upload("main").await;
        if upload.send_missing(&next).await.status == StatusCode::OK {
            upload.commit(&[&next]).await.expect(StatusCode::OK);
            taken += 1;
        }
        assert!(taken < 60, "the quota does not count");
    };
    refusal.refused(ErrorName::StorageFull);
    assert!(taken > 5, "{taken}");
    assert_eq!(pull(&node, &kept).await, kept.nar);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_passed_on_and_not_kept() {
    // given a node that is full of what it may not give up
    let cluster = cluster(1, 1, Size::mib(4)).await;
    let tight = cluster.node(2);
    let owed = paths_held_by(&cluster, 1, 3_000_000, 1, |holders| holders == [2]);
    tight.push("main", &[&owed[0]]).await;
    let elsewhere = paths_held_by(&cluster, 1, 2_000_000, 1, |holders| holders == [0]);
    cluster.node(0).push("main", &[&elsewhere[0]]).await;
    cluster.settle().await;
    let before = tight.pack_bytes();

    // when it is asked for what others hold, then it serves the file that they would, in parts as well
    let url = nar_url("main", &elsewhere[0]);
    let there = cluster.node(0).get(&url).await.expect(StatusCode::OK);
    let here = tight.get(&url).await.expect(StatusCode::OK);
    assert_eq!(
        (&here.headers[ETAG], &here.body),
        (&there.headers[ETAG], &there.body)
    );
    assert_eq!(decompress(&here.body), elsewhere[0].nar);
    let part = Request::get(&url)
        .header(RANGE, "bytes=1000000-1500000")
        .body(Body::empty());
    let part = tight
        .send(part.unwrap())
        .await
        .expect(StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body, there.body[1_000_000..=1_500_000]);

    // and nothing of it is kept, and nothing else went for it
    assert!(!holds(tight, &elsewhere[0]));
    assert_eq!(tight.pack_bytes(), before);
    assert_eq!(pull(tight, &owed[0]).await, owed[0].nar);
}

#[tokio::test]
async fn a_stream_that_finds_no_room_halfway_is_passed_on_from_there() {
    // given a full node that knows a NAR's manifest, so that it begins to fetch what is missing
    let cluster = cluster(1, 1, Size::mib(4)).await;
    let tight = cluster.node(2);
    let owed = paths_held_by(&cluster, 1, 2_800_000, 1, |holders| holders == [2]);
    tight.push("main", &[&owed[0]]).await;
    let elsewhere = paths_held_by(&cluster, 1, 4_000_000, 1, |holders| holders == [0]);
    cluster.node(0).push("main", &[&elsewhere[0]]).await;
    cluster.settle().await;
    let view = tight.node.replica().view().unwrap();
    let record = query::nar(&view, &elsewhere[0].nar_hash()).unwrap().unwrap();
    let manifest = cluster.node(0).node.store().manifest(&record.manifest).unwrap();
    tight.node.store().put_manifest(&manifest).unwrap();

    // when somebody pulls it, then all of it comes
    let pulled = pull(tight, &elsewhere[0]).await;
    assert_eq!(pulled, elsewhere[0].nar);
    assert!(!holds(tight, &elsewhere[0]));
    assert_eq!(pull(tight, &owed[0]).await, owed[0].nar);
}

#[tokio::test]
async fn what_an_open_upload_has_sent_is_never_given_up() {
    let cluster = cluster(1, 1, Size::mib(8)).await;
    let tight = cluster.node(2);
    let cached = paths_held_by(&cluster, 1, 1_500_000, 2, |holders| holders == [0]);
    cluster
        .node(0)
        .push("main", &cached.iter().collect::<Vec<_>>())
        .await;
    cluster.settle().await;
    for path in &cached {
        pull(tight, path).await;
    }
    let open = TestPath::of_noise("open", 2_000_000);
    let upload = tight.upload("main").await;
    upload.send_missing(&open).await.expect(StatusCode::OK);
    let large = TestPath::of_noise("large", 4_000_000);
    let other = tight.upload("main").await;
    other.send_missing(&large).await.expect(StatusCode::OK);
    assert!(!cached.iter().all(|path| holds(tight, path)), "room was made");
    let hashes: Vec<_> = open.chunks().iter().map(|chunk| chunk.hash).collect();
    assert!(upload.missing(&hashes).await.is_empty());
    upload.commit(&[&open]).await.expect(StatusCode::OK);
    assert_eq!(pull(tight, &open).await, open.nar);
}
