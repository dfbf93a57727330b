//! The power fails in the middle of a push, at many moments, and the node starts again on what the disk kept.

use std::time::Duration;

use http::StatusCode;
use tetryx_node::config::Size;
use tetryx_simulations::{Machine, TestNode, TestPath, decompress, nar_url, noise};
use tetryx_store::disk::Survivors;

/// Three paths that share content and refer to each other, so that order and deduplication matter.
fn paths() -> [TestPath; 3] {
    let lib = TestPath::of_noise("lib", 700_000).referring_to_itself();
    let mut app = TestPath::of_noise("app", 500_000).referring_to(&[&lib]);
    app.nar.extend_from_slice(&lib.nar);
    let doc = TestPath::new("doc", &b"some words ".repeat(60_000)).referring_to(&[&lib, &app]);
    [lib, app, doc]
}

/// Pushes path by path until something fails; returns how many were acknowledged.
async fn push_until_failure(node: &TestNode, paths: &[TestPath]) -> usize {
    let start = node
        .ask(http::Method::POST, "/api/v1/caches/main/uploads", &node.root)
        .await;
    if start.status != StatusCode::CREATED {
        return 0;
    }
    let started: tetryx_protocol::api::StartUploadResponse = start.json();
    let mut acknowledged = 0;
    for path in paths {
        let url = format!(
            "/api/v1/uploads/{}/nars/{}?nar_size={}",
            started.upload,
            path.nar_hash(),
            path.nar.len()
        );
        let body = tetryx_simulations::whole_stream(&path.chunks());
        let put = tetryx_simulations::request(http::Method::PUT, &url, Some(&node.root))
            .body(body.into())
            .unwrap();
        if node.send(put).await.status != StatusCode::OK {
            break;
        }
        let commit = serde_json::json!({ "paths": [path.upload()] });
        let url = format!("/api/v1/uploads/{}/commit", started.upload);
        if node
            .ask_json(http::Method::POST, &url, &node.root, &commit)
            .await
            .status
            != StatusCode::OK
        {
            break;
        }
        acknowledged += 1;
    }
    acknowledged
}

/// Every path that is visible is whole, and the acknowledged ones are visible.
async fn check(node: &TestNode, paths: &[TestPath], acknowledged: usize, what: &str) {
    for (number, path) in paths.iter().enumerate() {
        let narinfo = node.narinfo("main", path).await;
        let file = node.get(&nar_url("main", path)).await;
        assert_eq!(narinfo.status, file.status, "{what}: {}", path.store_path);
        if narinfo.status == StatusCode::OK {
            assert_eq!(decompress(&file.body), path.nar, "{what}: {}", path.store_path);
        } else {
            assert_eq!(narinfo.status, StatusCode::NOT_FOUND, "{what}: {narinfo:?}");
            assert!(
                number >= acknowledged,
                "{what}: {} was acknowledged",
                path.store_path
            );
        }
    }
}

async fn fresh() -> TestNode {
    let machine = Machine::new(|config| config.store.segment_size = Size::mib(1));
    let node = machine.start().await;
    node.create_cache("main", true).await;
    node
}

#[tokio::test]
async fn whatever_moment_the_power_fails_acknowledged_paths_are_whole_and_nothing_leaks() {
    let paths = paths();
    let node = fresh().await;
    let before = node.machine.disk.operations();
    assert_eq!(push_until_failure(&node, &paths).await, 3);
    let operations = node.machine.disk.operations() - before;
    let clean = node.pack_bytes();
    drop(node);

    let moments = 50;
    for moment in 0..moments {
        // One moment at random in each of as many equal parts of the push.
        let random = u64::from_le_bytes(noise(moment + 1, 8).try_into().expect("eight bytes"));
        let at = (moment * operations + random % operations) / moments;
        let survivors = match moment % 3 {
            0 => Survivors::Synced,
            1 => Survivors::Everything,
            _ => Survivors::Torn(random),
        };
        let what = format!("crash at operation {at} of {operations}, {survivors:?}");
        let node = fresh().await;
        node.machine.disk.crash_at(node.machine.disk.operations() + at);
        let acknowledged = push_until_failure(&node, &paths).await;
        let node = node.crash(survivors).await;
        check(&node, &paths, acknowledged, &what).await;

        // The push goes on, whatever was left of it.
        assert_eq!(push_until_failure(&node, &paths).await, 3, "{what}");
        check(&node, &paths, 3, &what).await;
        node.machine.clock.turn(Duration::from_secs(2 * 3600));
        node.node.collect_once().await.expect("a collection");
        check(&node, &paths, 3, &what).await;
        assert!(
            node.pack_bytes() <= clean + clean / 2,
            "{what}: {} bytes, {clean} without a crash",
            node.pack_bytes()
        );
        assert!(
            node.node.store().pins().is_empty(),
            "{what}: {:?}",
            node.node.store().pins()
        );
    }
}

#[tokio::test]
async fn what_an_abandoned_push_left_is_collected_after_a_crash() {
    let node = fresh().await;
    let empty = node.pack_bytes();
    let path = TestPath::of_noise("path", 3_000_000);
    let upload = node.upload("main").await;
    upload.send_whole(&path).await.expect(StatusCode::OK);
    let node = node.crash(Survivors::Everything).await;
    assert!(node.pack_bytes() > empty + 2_000_000);
    node.machine.clock.turn(Duration::from_secs(2 * 3600));
    node.node.collect_once().await.expect("a collection");
    assert!(
        node.pack_bytes() <= empty + 100_000,
        "{} bytes are left",
        node.pack_bytes()
    );
}
