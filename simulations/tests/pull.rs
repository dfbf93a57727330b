//! A NAR is served by every node, wherever its chunks are.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::narinfo::NarInfo;
use tetryx_simulations::{
    Cluster, TestChunk, TestNode, TestPath, decompress, nar_url, noise, request, stream, whole_stream,
};
use tetryx_state::query;
use tetryx_state::records::NarRecord;

fn record(node: &TestNode, path: &TestPath) -> NarRecord {
    let view = node.node.replica().view().unwrap();
    query::nar(&view, &path.nar_hash())
        .unwrap()
        .expect("the path is published")
}

fn is_whole(node: &TestNode, path: &TestPath) -> bool {
    let held = node.node.store().hold_nar(&record(node, path).manifest).unwrap();
    held.is_some_and(|held| held.is_complete())
}

/// Three nodes, where only the first and one other hold what is pushed at the first. Returns who does not.
async fn with_path(path: &TestPath) -> (Cluster, usize) {
    let cluster = Cluster::of(3).await;
    cluster.node(0).create_cache("main", true).await;
    cluster.node(0).push("main", &[path]).await;
    cluster.settle().await;
    let without = (1..3).find(|at| !is_whole(cluster.node(*at), path));
    (cluster, without.expect("two copies were asked for"))
}

async fn open(node: &TestNode, path: &TestPath) -> http::Response<Body> {
    let url = nar_url("main", path);
    node.open(request(Method::GET, &url, None).body(Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn a_node_without_the_chunks_serves_the_same_bytes_under_the_same_name() {
    let path = TestPath::of_noise("path", 3_000_000);
    let (cluster, without) = with_path(&path).await;
    let url = nar_url("main", &path);
    let expected = cluster.node(0).get(&url).await.expect(StatusCode::OK);
    let answer = cluster.node(without).get(&url).await.expect(StatusCode::OK);
    assert_eq!(answer.body, expected.body);
    for header in ["etag", "content-length", "accept-ranges", "content-type"] {
        assert_eq!(answer.header(header), expected.header(header));
    }
    assert_eq!(decompress(&answer.body), path.nar);
    assert!(is_whole(cluster.node(without), &path), "it stays here");
}

#[tokio::test]
async fn a_range_of_a_nar_that_is_elsewhere_is_served_exactly() {
    let path = TestPath::of_noise("path", 3_000_000);
    let (cluster, without) = with_path(&path).await;
    let url = nar_url("main", &path);
    let whole = cluster.node(0).get(&url).await.expect(StatusCode::OK).body;
    let head = cluster.node(without).ask_with(Method::HEAD, &url, &[]).await;
    assert_eq!(head.header("content-length"), whole.len().to_string());
    let range = 1_234_567..2_345_678;
    let asked = format!("bytes={}-{}", range.start, range.end - 1);
    let part = cluster.node(without).get_with(&url, &[("range", &asked)]).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body, whole.slice(range));
}

#[tokio::test]
async fn fifty_pulls_at_once_fetch_a_nar_once() {
    let path = TestPath::of_noise("path", 4_000_000);
    let (cluster, without) = with_path(&path).await;
    cluster.hub.set_latency_everywhere(Duration::from_millis(2));
    let node = cluster.node(without);
    let before = cluster.node(0).node.chunk_bytes_sent() + other(&cluster, without).node.chunk_bytes_sent();
    let url = nar_url("main", &path);
    let answers = join_all((0..50).map(|_| node.get(&url))).await;
    for answer in answers {
        assert_eq!(decompress(&answer.expect(StatusCode::OK).body), path.nar);
    }
    let sent =
        cluster.node(0).node.chunk_bytes_sent() + other(&cluster, without).node.chunk_bytes_sent() - before;
    let file = record(node, &path).file_size;
    assert!(
        sent < file + file / 50,
        "{sent} bytes were sent for a file of {file}"
    );
}

fn other(cluster: &Cluster, without: usize) -> &TestNode {
    cluster.node(3 - without)
}

#[tokio::test]
async fn a_provider_that_dies_in_mid_stream_is_not_noticed() {
    let path = TestPath::of_noise("path", 12_000_000);
    let (mut cluster, without) = with_path(&path).await;
    cluster.hub.set_latency_everywhere(Duration::from_millis(5));
    let response = open(cluster.node(without), &path).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut file = Vec::new();
    let next = async |body: &mut Body| -> Option<Bytes> {
        let frame = body.frame().await?;
        Some(frame.expect("the stream goes on").into_data().expect("data"))
    };
    while file.len() < 2_000_000 {
        file.extend(next(&mut body).await.expect("more to come"));
    }
    cluster.kill(3 - without).await;
    while let Some(bytes) = next(&mut body).await {
        file.extend(bytes);
    }
    assert_eq!(decompress(&file), path.nar);
}

#[tokio::test]
async fn a_nar_that_nobody_reachable_has_is_told_in_words() {
    let path = TestPath::of_noise("path", 500_000);
    let (cluster, without) = with_path(&path).await;
    for at in (0..3).filter(|at| *at != without) {
        cluster.hub.cut(cluster.id(without), cluster.id(at));
    }
    let node = cluster.node(without);
    // What it is is known everywhere.
    node.narinfo("main", &path).await.expect(StatusCode::OK);
    let url = nar_url("main", &path);
    let answer = tokio::select! {
        answer = node.get(&url) => answer,
        () = time_passes(node) => unreachable!("time never ends"),
    };
    let message = answer.refused(ErrorName::NotReady);
    assert!(message.contains("not on this node"), "{message}");
    cluster.hub.heal_all();
    node.get(&url).await.expect(StatusCode::OK);
}

/// Turns the clock on while something waits.
async fn time_passes(node: &TestNode) {
    loop {
        node.machine.clock.turn(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_listing_is_made_of_chunks_that_are_elsewhere() {
    let path = TestPath::of_noise("path", 900_000);
    let (cluster, without) = with_path(&path).await;
    let url = format!("/main/{}.ls", path.hash());
    let expected = cluster.node(0).get(&url).await.expect(StatusCode::OK).body;
    assert_eq!(
        cluster.node(without).get(&url).await.expect(StatusCode::OK).body,
        expected
    );
}

/// The chunks of a path as a client with another zstd would send them: other frames of the same content.
fn otherwise_compressed(path: &TestPath) -> Vec<TestChunk> {
    let mut chunks = path.chunks();
    let mut at = 0;
    for chunk in &mut chunks {
        let end = at + chunk.raw_len as usize;
        chunk.frame = zstd::bulk::compress(&path.nar[at..end], 19).expect("it compresses");
        at = end;
    }
    chunks
}

#[tokio::test]
async fn a_node_whose_frames_differ_serves_its_own_file_as_what_it_is() {
    // Compressible, so that another level makes another frame.
    let text: Vec<u8> = noise(3, 40_000)
        .iter()
        .flat_map(|byte| format!("{byte:02x} and so on ").into_bytes())
        .collect();
    let path = TestPath::new("path", &text);
    let cluster = Cluster::with(2, |_, config| config.replication.write_replicas = 1).await;
    cluster.node(0).create_cache("main", true).await;
    cluster.settle().await;
    // The other node has the chunks already, from a push that was never committed.
    let chunks = otherwise_compressed(&path);
    assert!(
        whole_stream(&chunks) != whole_stream(&path.chunks()),
        "the frames differ"
    );
    let other = cluster.node(1);
    let early = other.upload("main").await;
    early
        .send(&path, whole_stream(&chunks))
        .await
        .expect(StatusCode::OK);
    cluster.node(0).push("main", &[&path]).await;
    cluster.settle().await;

    let url = nar_url("main", &path);
    let recorded = cluster.node(0).get(&url).await.expect(StatusCode::OK);
    let answer = other.get(&url).await.expect(StatusCode::OK);
    assert_eq!(decompress(&answer.body), path.nar);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_ne!(answer.header("etag"), recorded.header("etag"));
    let head = other.ask_with(Method::HEAD, &url, &[]).await;
    assert_eq!(head.header("etag"), answer.header("etag"));
    assert_eq!(head.header("content-length"), answer.header("content-length"));

    let store_dir = Default::default();
    let info = |text: &str| NarInfo::parse(text, &store_dir).expect("a narinfo");
    let own = info(other.narinfo("main", &path).await.expect(StatusCode::OK).text());
    assert_eq!((own.file_hash, own.file_size), (None, None));
    let recorded = info(
        cluster
            .node(0)
            .narinfo("main", &path)
            .await
            .expect(StatusCode::OK)
            .text(),
    );
    assert!(recorded.file_size.is_some());
    assert_eq!(own.nar_hash, recorded.nar_hash);
    early.end().await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn chunks_that_are_here_already_are_not_fetched_again() {
    let path = TestPath::of_noise("path", 4_000_000);
    let (cluster, without) = with_path(&path).await;
    let node = cluster.node(without);
    let chunks = path.chunks();
    // Half of the content is here, from a push that was broken off.
    let half = stream(
        &chunks[..chunks.len() / 2],
        &chunks.iter().map(|chunk| chunk.hash).collect::<BTreeSet<_>>(),
    );
    let upload = node.upload("main").await;
    let _ = upload.send(&path, half).await;
    let before = cluster.node(0).node.chunk_bytes_sent() + other(&cluster, without).node.chunk_bytes_sent();
    let answer = node.get(&nar_url("main", &path)).await.expect(StatusCode::OK);
    assert_eq!(decompress(&answer.body), path.nar);
    let sent =
        cluster.node(0).node.chunk_bytes_sent() + other(&cluster, without).node.chunk_bytes_sent() - before;
    let missing: u64 = chunks[chunks.len() / 2..]
        .iter()
        .map(|chunk| chunk.frame.len() as u64)
        .sum();
    assert!(
        sent < missing + missing / 50,
        "{sent} bytes were sent, {missing} were missing"
    );
}
