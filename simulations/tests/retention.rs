//! Retention with real data: what leaves gives its space back on every node, and what is pulled or needed stays.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tetryx_protocol::api::{ErrorName, GcResponse, PathInfo};
use tetryx_simulations::{Cluster, TestNode, TestPath, decompress, nar_url};

const SECOND: Duration = Duration::from_secs(1);

async fn keep_for(node: &TestNode, seconds: u64) {
    let wanted = json!({ "retention_period": { "Period": seconds } });
    node.ask_json(Method::PATCH, "/api/v1/caches/main", &node.root, &wanted)
        .await
        .expect(StatusCode::OK);
}

async fn gc(node: &TestNode, dry_run: bool) -> GcResponse {
    let wanted = json!({ "dry_run": dry_run });
    let answer = node
        .ask_json(Method::POST, "/api/v1/gc", &node.root, &wanted)
        .await;
    answer.expect(StatusCode::OK).json()
}

async fn pull(node: &TestNode, path: &TestPath) -> Vec<u8> {
    decompress(&node.get(&nar_url("main", path)).await.expect(StatusCode::OK).body)
}

/// Three nodes that all hold everything of the cache `main`, which keeps its paths for a second.
async fn three() -> Cluster {
    let cluster = Cluster::of(3).await;
    cluster.node(0).create_cache("main", true).await;
    keep_for(cluster.node(0), 1).await;
    cluster.settle().await;
    cluster
}

/// Pushes a path, and waits until every node holds it and nothing else keeps it.
async fn push(cluster: &Cluster, at: usize, path: &TestPath) {
    cluster.node(at).push("main", &[path]).await;
    cluster.settle().await;
    cluster.replicate().await;
}

/// All machines go by one clock.
fn turn(cluster: &Cluster, by: Duration) {
    cluster.node(0).machine.clock.turn(by);
}

fn chunks(node: &TestNode) -> u64 {
    node.node.store().stats().expect("the store answers").chunks
}

#[tokio::test]
async fn one_collection_frees_what_is_over_on_every_node_and_says_so_before() {
    let cluster = three().await;
    let (old, young) = (
        TestPath::of_noise("old", 1_500_000),
        TestPath::of_noise("young", 300_000),
    );
    push(&cluster, 0, &old).await;
    turn(&cluster, SECOND);
    push(&cluster, 1, &young).await;
    let old_chunks = old.chunks().len() as u64;

    let planned = gc(cluster.node(2), true).await;
    assert_eq!((planned.paths, planned.nars), (1, 1));
    let planned: Vec<u64> = planned.nodes.iter().map(|node| node.chunks).collect();
    assert_eq!(planned, [old_chunks; 3]);
    cluster.node(0).narinfo("main", &old).await.expect(StatusCode::OK);

    let done = gc(cluster.node(2), false).await;
    assert_eq!((done.paths, done.nars), (1, 1));
    assert!(done.nodes.iter().all(|node| node.error.is_none()), "{done:?}");
    for node in cluster.running() {
        node.narinfo("main", &old).await.refused(ErrorName::NoSuchObject);
        assert_eq!(chunks(node), young.chunks().len() as u64);
        assert_eq!(pull(node, &young).await, young.nar);
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_asked_to_collect_is_named() {
    let mut cluster = three().await;
    let path = TestPath::of_noise("path", 300_000);
    push(&cluster, 0, &path).await;
    turn(&cluster, SECOND);
    cluster.kill(2).await;
    let done = gc(cluster.node(0), false).await;
    assert_eq!(done.paths, 1);
    let failed: Vec<_> = done.nodes.iter().filter(|node| node.error.is_some()).collect();
    assert_eq!(failed.len(), 1, "{done:?}");
    assert_eq!(failed[0].node, cluster.id(2));
}

#[tokio::test]
async fn a_young_path_keeps_what_it_refers_to_and_shared_chunks_stay() {
    let cluster = three().await;
    let glibc = TestPath::of_noise("glibc", 900_000);
    let mut gone = glibc.clone();
    gone.store_path = TestPath::new("gone", b"").store_path;
    gone.nar.extend(tetryx_simulations::noise(7, 900_000));
    push(&cluster, 0, &glibc).await;
    push(&cluster, 0, &gone).await;
    turn(&cluster, SECOND);
    let hello = TestPath::of_noise("hello", 200_000).referring_to(&[&glibc]);
    push(&cluster, 0, &hello).await;
    assert_eq!(gc(cluster.node(0), false).await.paths, 1);
    for node in cluster.running() {
        node.narinfo("main", &gone).await.refused(ErrorName::NoSuchObject);
        assert_eq!(pull(node, &glibc).await, glibc.nar);
        assert_eq!(pull(node, &hello).await, hello.nar);
    }
}

#[tokio::test]
async fn a_pull_at_any_node_is_known_to_all_before_that_node_collects() {
    let cluster = three().await;
    let (pulled, unused) = (
        TestPath::of_noise("pulled", 100_000),
        TestPath::of_noise("unused", 100_000),
    );
    let day = 24 * 60 * 60;
    keep_for(cluster.node(0), 2 * day).await;
    push(&cluster, 0, &pulled).await;
    push(&cluster, 0, &unused).await;
    turn(&cluster, Duration::from_secs(2 * day));
    let node = cluster.node(1);
    pull(node, &pulled).await;
    assert_eq!(node.node.in_memory().accesses, 1);
    node.node.collect_once().await.expect("a collection");
    cluster.settle().await;
    let url = format!("/api/v1/caches/main/paths/{}", pulled.hash());
    let info: PathInfo = cluster.node(2).get(&url).await.expect(StatusCode::OK).json();
    assert_eq!(info.last_access_day, info.created.unix_day() + 2);

    turn(&cluster, Duration::from_secs(2 * day));
    let done = gc(cluster.node(2), false).await;
    assert_eq!(done.paths, 1, "{done:?}");
    cluster
        .node(0)
        .narinfo("main", &unused)
        .await
        .refused(ErrorName::NoSuchObject);
    cluster
        .node(0)
        .narinfo("main", &pulled)
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn a_node_without_the_others_lets_nothing_go_and_says_why() {
    let mut cluster = three().await;
    let path = TestPath::of_noise("path", 300_000);
    push(&cluster, 0, &path).await;
    turn(&cluster, SECOND);
    // The one that leads.
    cluster.kill(0).await;
    let summary = cluster.node(1).node.collect_once().await.expect("a collection");
    assert_eq!(summary.paths_expired, 0);
    assert!(summary.expiry_failed.is_some(), "{summary:?}");
    assert_eq!(pull(cluster.node(1), &path).await, path.nar);
}
