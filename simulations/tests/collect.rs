//! What a collection takes, what it leaves, and what a full disk or a crash does to a push.

use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_node::config::Size;
use tetryx_protocol::api::ErrorName;
use tetryx_simulations::{Machine, TestNode, TestPath, decompress, nar_url};
use tetryx_store::disk::{Disk, Survivors};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn pull(node: &TestNode, path: &TestPath) -> Vec<u8> {
    decompress(&node.get(&nar_url("main", path)).await.expect(StatusCode::OK).body)
}

#[tokio::test]
async fn deleting_a_path_gives_its_own_chunks_back_and_no_others() {
    let node = TestNode::with_cache(true).await;
    let kept = TestPath::of_noise("kept", 2_000_000);
    let mut gone = kept.clone();
    gone.store_path = TestPath::new("gone", b"").store_path;
    gone.nar.extend(tetryx_simulations::noise(77, 2_000_000));
    node.push("main", &[&kept]).await;
    let before = node.pack_bytes();
    node.push("main", &[&gone]).await;
    node.delete(&gone).await;

    let summary = node.node.collect_once().await.expect("a collection");
    assert!(
        summary.chunks_removed > 5 && summary.manifests_removed == 1,
        "{summary:?}"
    );
    assert!(
        node.pack_bytes() < before + before / 2,
        "{} then {}",
        before,
        node.pack_bytes()
    );
    assert_eq!(pull(&node, &kept).await, kept.nar);
}

#[tokio::test]
async fn an_open_upload_keeps_its_chunks_and_an_abandoned_one_does_not() {
    let node = TestNode::with_cache(true).await;
    let path = TestPath::of_noise("path", 2_000_000);
    let upload = node.upload("main").await;
    upload.send_whole(&path).await.expect(StatusCode::OK);
    let summary = node.node.collect_once().await.expect("a collection");
    assert_eq!((summary.chunks_removed, summary.uploads_dropped), (0, 0));
    assert!(
        upload
            .missing(&path.chunks().iter().map(|chunk| chunk.hash).collect::<Vec<_>>())
            .await
            .is_empty()
    );

    node.machine.clock.turn(DAY);
    let summary = node.node.collect_once().await.expect("a collection");
    assert_eq!(
        (summary.chunks_removed, summary.uploads_dropped),
        (path.chunks().len() as u64, 1)
    );
}

#[tokio::test]
async fn the_chunks_of_an_ended_upload_stay_only_if_they_were_published() {
    let node = TestNode::with_cache(true).await;
    let (published, dropped) = (
        TestPath::of_noise("published", 900_000),
        TestPath::of_noise("dropped", 900_000),
    );
    let upload = node.upload("main").await;
    upload.send_whole(&published).await.expect(StatusCode::OK);
    upload.send_whole(&dropped).await.expect(StatusCode::OK);
    upload.commit(&[&published]).await.expect(StatusCode::OK);
    upload.end().await.expect(StatusCode::NO_CONTENT);
    let summary = node.node.collect_once().await.expect("a collection");
    assert_eq!(summary.chunks_removed, dropped.chunks().len() as u64);
    assert_eq!(pull(&node, &published).await, published.nar);
}

#[tokio::test]
async fn a_push_goes_on_after_a_restart_where_it_was() {
    let node = TestNode::with_cache(true).await;
    let (first, second) = (
        TestPath::of_noise("first", 900_000),
        TestPath::of_noise("second", 2_000_000),
    );
    let upload = node.upload("main").await;
    upload.send_whole(&first).await.expect(StatusCode::OK);
    upload.send_whole(&second).await.expect(StatusCode::OK);
    // A commit makes durable what the session has sent, and what protects it.
    upload.commit(&[&first]).await.expect(StatusCode::OK);
    let id = upload.id;
    let node = node.crash(Survivors::Synced).await;
    let session = format!("/api/v1/uploads/{id}");
    node.ask(Method::DELETE, &session, &node.root)
        .await
        .refused(ErrorName::NoSuchUpload);
    node.node.collect_once().await.expect("a collection");

    let upload = node.upload("main").await;
    let hashes: Vec<_> = second.chunks().iter().map(|chunk| chunk.hash).collect();
    assert!(
        upload.missing(&hashes).await.is_empty(),
        "nothing has to be sent again"
    );
    upload.send_missing(&second).await.expect(StatusCode::OK);
    upload.commit(&[&second]).await.expect(StatusCode::OK);
    assert_eq!(pull(&node, &second).await, second.nar);
}

#[tokio::test]
async fn a_read_finishes_although_its_path_is_deleted_and_collected() {
    use http_body_util::BodyExt;
    let node = TestNode::with_cache(true).await;
    let path = TestPath::of_noise("path", 5_000_000);
    node.push("main", &[&path]).await;
    let request = tetryx_simulations::request(Method::GET, &nar_url("main", &path), None)
        .body(axum::body::Body::empty());
    let response = node.open(request.unwrap()).await;
    node.delete(&path).await;
    assert_eq!(
        node.node
            .collect_once()
            .await
            .expect("a collection")
            .chunks_removed,
        0
    );
    let body = response
        .into_body()
        .collect()
        .await
        .expect("the whole body")
        .to_bytes();
    assert_eq!(decompress(&body), path.nar);
    assert!(
        node.node
            .collect_once()
            .await
            .expect("a collection")
            .chunks_removed
            > 0
    );
}

#[tokio::test]
async fn a_full_store_says_so_and_works_again_when_there_is_room() {
    let machine = Machine::new(|config| {
        config.store.segment_size = Size::mib(1);
        config.store.quota = Some(Size::mib(4));
    });
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let (first, second) = (
        TestPath::of_noise("first", 1_500_000),
        TestPath::of_noise("second", 4_000_000),
    );
    node.push("main", &[&first]).await;
    let upload = node.upload("main").await;
    let message = upload.send_whole(&second).await.refused(ErrorName::StorageFull);
    assert!(
        message.contains("quota") && message.contains("collection"),
        "{message}"
    );
    upload.commit(&[&second]).await.refused(ErrorName::NoSuchObject);
    node.narinfo("main", &second)
        .await
        .refused(ErrorName::NoSuchObject);
    assert_eq!(pull(&node, &first).await, first.nar);

    upload.end().await.expect(StatusCode::NO_CONTENT);
    node.node.collect_once().await.expect("a collection");
    let third = TestPath::of_noise("third", 1_000_000);
    node.push("main", &[&third]).await;
    assert_eq!(pull(&node, &third).await, third.nar);
}

#[tokio::test]
async fn a_full_disk_stops_pushes_but_neither_pulls_nor_the_way_out() {
    let machine = Machine::new(|config| config.store.segment_size = Size::mib(1));
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let (kept, gone) = (
        TestPath::of_noise("kept", 500_000),
        TestPath::of_noise("gone", 2_000_000),
    );
    node.push("main", &[&kept, &gone]).await;
    let files = machine.disk.list().expect("a disk that works");
    let lens = files
        .iter()
        .filter_map(|name| machine.disk.content(name))
        .map(|content| content.len() as u64);
    machine.disk.set_capacity(lens.sum::<u64>() + 2_000_000);

    let large = TestPath::of_noise("large", 3_000_000);
    let upload = node.upload("main").await;
    upload.send_whole(&large).await.refused(ErrorName::StorageFull);
    upload.end().await.expect(StatusCode::NO_CONTENT);
    assert_eq!(pull(&node, &kept).await, kept.nar);
    node.narinfo("main", &large)
        .await
        .refused(ErrorName::NoSuchObject);

    node.delete(&gone).await;
    node.node.collect_once().await.expect("a collection");
    node.push("main", &[&large]).await;
    assert_eq!(pull(&node, &large).await, large.nar);
    assert_eq!(pull(&node, &kept).await, kept.nar);
}
