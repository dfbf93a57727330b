//! Parts of a NAR, unchanged NARs, and damaged ones: what a client needs to resume and to trust a download.

use axum::body::Body;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tetryx_protocol::api::ErrorName;
use tetryx_simulations::{TestNode, TestPath, decompress, nar_url, request};

/// A node whose public cache `main` holds one path of several chunks.
async fn node_with(path: &TestPath) -> TestNode {
    let node = TestNode::with_cache(true).await;
    node.push("main", &[path]).await;
    node
}

fn large() -> TestPath {
    TestPath::of_noise("large", 3_000_000)
}

#[tokio::test]
async fn every_single_range_is_answered_with_its_bytes() {
    let path = large();
    let node = node_with(&path).await;
    let url = nar_url("main", &path);
    let file = node.get(&url).await.expect(StatusCode::OK).body;
    let len = file.len();
    let cases = [
        (String::from("bytes=0-"), 0..len),
        (String::from("bytes=0-0"), 0..1),
        (format!("bytes={}-", len - 1), len - 1..len),
        (format!("bytes={}-{}", len - 1, len - 1), len - 1..len),
        (String::from("bytes=1000-1999"), 1000..2000),
        (format!("bytes={}-", len / 2), len / 2..len),
        (String::from("bytes=-1"), len - 1..len),
        (String::from("bytes=-700000"), len - 700_000..len),
        (format!("bytes=-{}", 2 * len), 0..len),
        (format!("bytes=1048570-{}", 3 * len), 1_048_570..len),
    ];
    for (range, expected) in cases {
        let part = node
            .get_with(&url, &[("range", &range)])
            .await
            .expect(StatusCode::PARTIAL_CONTENT);
        assert!(part.body == file[expected.clone()], "{range}");
        let content_range = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), content_range);
        assert_eq!(part.header("content-length"), expected.len().to_string());
    }
}

#[tokio::test]
async fn every_frame_boundary_can_be_resumed_at() {
    let path = large();
    let node = node_with(&path).await;
    let url = nar_url("main", &path);
    let file = node.get(&url).await.body;
    let mut boundary = 0;
    for chunk in path.chunks() {
        for start in [boundary, boundary + 1, boundary + chunk.frame.len() - 1] {
            let range = format!("bytes={start}-");
            let part = node
                .get_with(&url, &[("range", &range)])
                .await
                .expect(StatusCode::PARTIAL_CONTENT);
            assert!(part.body == file[start..], "{range}");
        }
        boundary += chunk.frame.len();
    }
    assert_eq!(boundary, file.len());
}

#[tokio::test]
async fn a_range_that_cannot_be_served_is_refused_or_ignored_as_http_says() {
    let path = large();
    let node = node_with(&path).await;
    let url = nar_url("main", &path);
    let whole = node.get(&url).await;
    let (len, etag) = (whole.body.len(), whole.header("etag").to_owned());

    for range in [
        format!("bytes={len}-"),
        "bytes=-0".to_owned(),
        format!("bytes={}-{}", len + 5, len + 9),
    ] {
        let refusal = node.get_with(&url, &[("range", &range)]).await;
        refusal.refused(ErrorName::RangeNotSatisfiable);
        assert_eq!(refusal.header("content-range"), format!("bytes */{len}"));
    }
    for range in ["bytes=0-1,4-5", "bytes=5-2", "bytes=x-", "lines=0-1", "bytes=-"] {
        let answer = node
            .get_with(&url, &[("range", range)])
            .await
            .expect(StatusCode::OK);
        assert_eq!(answer.body.len(), len, "{range}");
    }
    let resumed = [("range", "bytes=7-"), ("if-range", etag.as_str())];
    node.get_with(&url, &resumed)
        .await
        .expect(StatusCode::PARTIAL_CONTENT);
    node.get_with(&url, &[("range", "bytes=7-"), ("if-range", "\"other\"")])
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn head_and_if_none_match_answer_without_reading_a_chunk() {
    let path = large();
    let node = node_with(&path).await;
    let url = nar_url("main", &path);
    let whole = node.get(&url).await.expect(StatusCode::OK);
    // Had a chunk been read, it would have been found damaged.
    damage(&node, &path, 0);
    let head = node
        .ask_with(Method::HEAD, &url, &[("range", "bytes=5-9")])
        .await
        .expect(StatusCode::OK);
    assert_eq!(head.body.len(), 0);
    for name in ["content-length", "etag", "accept-ranges", "content-type"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    let etag = [("if-none-match", whole.header("etag"))];
    node.get_with(&url, &etag).await.expect(StatusCode::NOT_MODIFIED);
    node.ask_with(Method::HEAD, &url, &etag)
        .await
        .expect(StatusCode::NOT_MODIFIED);
}

/// Flips a bit in the stored frame of one chunk of the path.
fn damage(node: &TestNode, path: &TestPath, chunk: usize) {
    let hash = path.chunks()[chunk].hash;
    let location =
        node.node.store().locate(&[hash]).expect("the store answers")[0].expect("the chunk is stored");
    let name = format!("chunks/segment-{:010}.pack", location.segment);
    // Behind the record's header, in the middle of the frame.
    let offset = location.offset + 64 + u64::from(location.frame_len) / 2;
    node.machine.disk.flip_bit(&name, offset, 3);
}

#[tokio::test]
async fn a_damaged_chunk_is_an_error_before_the_first_byte_and_a_broken_stream_after_it() {
    let path = TestPath::of_noise("long", 6_000_000);
    let node = node_with(&path).await;
    let url = nar_url("main", &path);
    let file = node.get(&url).await.expect(StatusCode::OK).body;
    let chunks = path.chunks();
    let last = chunks.len() - 1;
    damage(&node, &path, last);

    let response = node
        .open(request(Method::GET, &url, None).body(Body::empty()).unwrap())
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut received = Vec::new();
    let broken = loop {
        match body.frame().await.expect("the body does not end by itself") {
            Ok(frame) => received.extend_from_slice(frame.data_ref().expect("data")),
            Err(error) => break error,
        }
    };
    assert!(
        received.len() < file.len() && file.starts_with(&received),
        "only right bytes came before: {broken}"
    );

    let start = format!("bytes={}-", file.len() - 10);
    node.get_with(&url, &[("range", &start)])
        .await
        .refused(ErrorName::InternalServerError);
    node.get_with(&url, &[("range", "bytes=0-9")])
        .await
        .expect(StatusCode::PARTIAL_CONTENT);
}

#[tokio::test]
async fn a_damaged_chunk_is_healed_by_pushing_its_path_again() {
    let path = large();
    let node = node_with(&path).await;
    let url = nar_url("main", &path);
    damage(&node, &path, 0);
    node.get(&url).await.refused(ErrorName::InternalServerError);
    node.push("main", &[&path]).await;
    assert_eq!(
        decompress(&node.get(&url).await.expect(StatusCode::OK).body),
        path.nar
    );
}
