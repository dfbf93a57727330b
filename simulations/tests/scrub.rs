//! Reading everything back: what is damaged on one node's disk is found, fetched anew, and never served.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_environment::Clock;
use tetryx_protocol::api::{CheckState, DoctorReport, StatusResponse};
use tetryx_protocol::hash::ChunkHash;
use tetryx_simulations::{Cluster, Machine, TestNode, TestPath, decompress, nar_url, noise, whole_stream};
use tetryx_store::Survivors;

async fn pull(node: &TestNode, path: &TestPath) -> Vec<u8> {
    decompress(&node.get(&nar_url("main", path)).await.expect(StatusCode::OK).body)
}

async fn status(node: &TestNode) -> StatusResponse {
    node.ask(Method::GET, "/api/v1/status", &node.root)
        .await
        .expect(StatusCode::OK)
        .json()
}

async fn doctor(node: &TestNode) -> DoctorReport {
    node.ask(Method::GET, "/api/v1/doctor", &node.root)
        .await
        .expect(StatusCode::OK)
        .json()
}

async fn metric(node: &TestNode, name: &str) -> u64 {
    let answer = node.get("/metrics").await.expect(StatusCode::OK);
    let line = answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&format!("tetryx_{name} ")).map(str::to_owned));
    line.expect("the metric is there").parse().expect("a number")
}

/// Flips a bit in the frame of a chunk, on the node's disk.
fn damage(node: &TestNode, chunk: &ChunkHash) {
    let place = node.node.store().locate(&[*chunk]).unwrap()[0].expect("the chunk is here");
    let name = format!("chunks/segment-{:010}.pack", place.segment);
    node.machine.disk.flip_bit(&name, place.offset + 70, 1);
}

/// Three nodes that all hold the same paths.
async fn cluster_with(paths: &[TestPath]) -> Cluster {
    let cluster = Cluster::of(3).await;
    cluster.node(0).create_cache("main", true).await;
    let all: Vec<&TestPath> = paths.iter().collect();
    cluster.node(0).push("main", &all).await;
    cluster.settle().await;
    cluster.replicate().await;
    cluster
}

fn paths(count: usize) -> Vec<TestPath> {
    let path = |n| TestPath::of_noise(&format!("path-{n}"), 1_500_000);
    (0..count).map(path).collect()
}

/// Some of the chunks, drawn from a seed.
fn draw(paths: &[TestPath], count: usize, seed: u64) -> Vec<ChunkHash> {
    let chunks: BTreeSet<ChunkHash> = paths
        .iter()
        .flat_map(|path| path.chunks())
        .map(|chunk| chunk.hash)
        .collect();
    let mut chunks: Vec<ChunkHash> = chunks.into_iter().collect();
    let mut draws = noise(seed, count * 2).into_iter();
    let draw = |_| {
        let high = draws.next().expect("two for each");
        let low = draws.next().expect("two for each");
        let at = (usize::from(high) << 8 | usize::from(low)) % chunks.len();
        chunks.swap_remove(at)
    };
    (0..count).map(draw).collect()
}

#[tokio::test]
async fn twenty_damaged_chunks_are_found_and_healed_from_others_and_no_pull_sees_a_wrong_byte() {
    let paths = paths(5);
    let cluster = cluster_with(&paths).await;
    let node = cluster.node(2);
    let damaged = draw(&paths, 20, 11);
    damaged.iter().for_each(|chunk| damage(node, chunk));

    let mut told = Vec::new();
    let summary = node
        .node
        .scrub_once(None, |progress| told.push(progress))
        .await
        .expect("a scrub");
    assert_eq!(
        (summary.found, summary.healed, summary.damaged_nars),
        (20, 20, 0),
        "{summary:?}"
    );
    assert_eq!(node.node.store().damaged(), []);
    let again = node.node.scrub_once(None, |_| {}).await.expect("a scrub");
    assert_eq!((again.found, again.healed), (0, 0));
    assert_eq!(metric(node, "scrub_found_total").await, 20);
    assert_eq!(metric(node, "scrub_healed_total").await, 20);
    assert_eq!(metric(node, "damaged_nars").await, 0);

    // Other chunks, and pulls before anything was found, after it was, and after it was healed.
    let damaged = draw(&paths, 20, 12);
    damaged.iter().for_each(|chunk| damage(node, chunk));
    assert_eq!(pull(node, &paths[0]).await, paths[0].nar);
    let quarantined = node.node.store().verify().expect("the disk works").corrupt_chunks;
    assert!(quarantined.len() >= 10, "{} are left", quarantined.len());
    for path in &paths[1..3] {
        assert_eq!(pull(node, path).await, path.nar);
    }
    let summary = node.node.scrub_once(None, |_| {}).await.expect("a scrub");
    assert_eq!(summary.damaged_nars, 0, "{summary:?}");
    assert_eq!(node.node.store().damaged(), []);
    for path in &paths {
        assert_eq!(pull(node, path).await, path.nar);
    }
}

#[tokio::test]
async fn damage_that_nobody_else_can_heal_is_told_until_the_path_is_pushed_again() {
    let node = TestNode::with_cache(true).await;
    let paths = paths(2);
    node.push("main", &[&paths[0], &paths[1]]).await;
    assert!(!doctor(&node).await.is_damaged());
    damage(&node, &paths[0].chunks()[3].hash);

    let summary = node.node.scrub_once(None, |_| {}).await.expect("a scrub");
    assert_eq!((summary.found, summary.healed, summary.damaged_nars), (1, 0, 1));
    let name = paths[0].nar_hash().to_string();
    assert!(summary.damaged[0].contains(&name), "{:?}", summary.damaged);
    let report = doctor(&node).await;
    assert!(report.is_damaged(), "{report:?}");
    let data = report
        .checks
        .iter()
        .find(|check| check.state == CheckState::Damage);
    let data = data.expect("it is damaged");
    assert!(data.evidence.contains(&name) && data.fix.is_some(), "{data:?}");
    assert_eq!(status(&node).await.store.scrub.damaged_nars, 1);

    // The store remembers what is bad.
    let node = node.crash(Survivors::Synced).await;
    assert_eq!(node.node.store().damaged().len(), 1);
    node.push("main", &[&paths[0]]).await;
    let summary = node.node.scrub_once(None, |_| {}).await.expect("a scrub");
    assert_eq!((summary.found, summary.damaged_nars), (0, 0));
    assert!(!doctor(&node).await.is_damaged());
    assert_eq!(pull(&node, &paths[0]).await, paths[0].nar);
}

#[tokio::test]
async fn damage_to_what_nobody_needs_is_no_alarm() {
    let node = TestNode::with_cache(true).await;
    let paths = paths(2);
    node.push("main", &[&paths[0], &paths[1]]).await;
    damage(&node, &paths[0].chunks()[3].hash);
    node.delete(&paths[0]).await;
    let summary = node.node.scrub_once(None, |_| {}).await.expect("a scrub");
    assert_eq!((summary.found, summary.damaged_nars), (1, 0));
    assert!(!doctor(&node).await.is_damaged());
    node.node.collect_once().await.expect("a collection");
    assert_eq!(node.node.store().damaged(), []);
}

#[tokio::test(start_paused = true)]
async fn a_round_in_the_background_goes_on_after_a_crash_and_heals_nothing_twice() {
    let machine = Machine::new(|config| config.scrub.period = Duration::from_secs(30 * 24 * 3600));
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let paths = paths(6);
    node.push("main", &paths.iter().collect::<Vec<_>>()).await;
    let first = paths[0].chunks()[1].hash;
    damage(&node, &first);
    node.node.start_tasks();
    // What is found is saved at once, and with it how far the round is.
    while status(&node).await.store.damaged == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let before = status(&node).await.store.scrub;
    assert!(
        before.bytes > 0 && before.bytes < before.bytes_total && before.last_ended.is_none(),
        "{before:?}"
    );
    tokio::time::sleep(Duration::from_millis(1)).await;

    let node = node.crash(Survivors::Synced).await;
    let begun = machine.clock.utc();
    machine.clock.turn(Duration::from_secs(60));
    node.node.start_tasks();
    let after = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let scrub = status(&node).await.store.scrub;
        if scrub.bytes_total > 0 {
            break scrub;
        }
    };
    assert!(after.bytes >= before.bytes, "{before:?} then {after:?}");
    while status(&node).await.store.scrub.last_ended.is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let done = node
        .node
        .store()
        .last_scrub()
        .unwrap()
        .expect("a round has ended");
    assert_eq!(
        done.found, 1,
        "the damage was found before the crash and counted once"
    );
    assert_eq!(done.begun, begun, "it is the round from before the crash");
    let stats = node.node.store().stats().unwrap();
    assert!(done.bytes <= stats.pack_bytes && done.bytes > stats.pack_bytes * 9 / 10);
    node.node.shutdown().await.expect("an orderly end");
}

#[tokio::test]
async fn a_chunk_healed_by_a_frame_of_another_length_is_served_at_once() {
    // Compressible, so that another level makes another frame.
    let text: Vec<u8> = noise(5, 60_000)
        .iter()
        .flat_map(|byte| format!("{byte:02x} and so on ").into_bytes())
        .collect();
    let path = TestPath::new("path", &text);
    let node = TestNode::with_cache(true).await;
    node.push("main", &[&path]).await;
    assert_eq!(pull(&node, &path).await, path.nar);
    let mut chunks = path.chunks();
    damage(&node, &chunks[2].hash);
    node.node.store().verify().expect("the disk works");
    let at: usize = chunks[..2].iter().map(|chunk| chunk.raw_len as usize).sum();
    let raw = &path.nar[at..at + chunks[2].raw_len as usize];
    let other = zstd::bulk::compress(raw, 19).expect("it compresses");
    assert_ne!(other.len(), chunks[2].frame.len(), "the frames differ");
    chunks[2].frame = other;
    let upload = node.upload("main").await;
    upload
        .send(&path, whole_stream(&chunks))
        .await
        .expect(StatusCode::OK);
    upload.end().await.expect(StatusCode::NO_CONTENT);

    let answer = node.get(&nar_url("main", &path)).await.expect(StatusCode::OK);
    assert_eq!(decompress(&answer.body), path.nar);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
}
