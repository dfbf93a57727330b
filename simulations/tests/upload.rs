//! What a node accepts from a pushing client, what it refuses, and what is left of what it refused.

use std::collections::BTreeSet;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use tetryx_node::config::Size;
use tetryx_protocol::api::{ErrorName, UploadNarResponse};
use tetryx_protocol::chunking::{CHUNK_MAX, CHUNK_MIN};
use tetryx_protocol::hash::{ChunkHash, NarHash};
use tetryx_protocol::upload::MISSING_MAX;
use tetryx_simulations::{
    Machine, TestChunk, TestNode, TestPath, cut, decompress, nar_url, noise, stream, whole_stream,
};

fn path() -> TestPath {
    TestPath::of_noise("path", 2_500_000)
}

/// The path is not visible, and nothing of it lies in the way of a proper push.
async fn assert_nothing_happened(node: &TestNode, path: &TestPath) {
    node.narinfo("main", path).await.refused(ErrorName::NoSuchObject);
    node.push("main", &[path]).await;
    let file = node.get(&nar_url("main", path)).await.expect(StatusCode::OK);
    assert_eq!(decompress(&file.body), path.nar);
}

#[tokio::test]
async fn only_what_changed_crosses_the_wire() {
    let node = TestNode::with_cache(true).await;
    let old = path();
    let mut new = path();
    new.store_path = TestPath::new("newer", b"").store_path;
    let middle = new.nar.len() / 2;
    new.nar[middle..middle + 5].copy_from_slice(b"patch");
    let first = node.upload("main").await;
    let sent: UploadNarResponse = first.send_missing(&old).await.expect(StatusCode::OK).json();
    assert_eq!(
        (sent.chunks, sent.received_chunks),
        (old.chunks().len() as u64, old.chunks().len() as u64)
    );
    first.commit(&[&old]).await.expect(StatusCode::OK);

    let second = node.upload("main").await;
    let sent: UploadNarResponse = second.send_missing(&new).await.expect(StatusCode::OK).json();
    assert!(sent.received_chunks <= 2 && sent.chunks > 10, "{sent:?}");
    second.commit(&[&new]).await.expect(StatusCode::OK);
    assert_eq!(decompress(&node.get(&nar_url("main", &new)).await.body), new.nar);
}

#[tokio::test]
async fn a_wrong_nar_hash_is_refused_without_telling_the_right_one() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    let wrong = NarHash::of(b"something else");
    let answer = upload
        .put(&wrong, path.nar.len() as u64, whole_stream(&path.chunks()))
        .await;
    let message = answer.refused(ErrorName::NarHashMismatch);
    assert!(
        message.contains(&wrong.to_string()) && !message.contains(&path.nar_hash().to_nix32()),
        "{message}"
    );
    upload.commit(&[&path]).await.refused(ErrorName::NoSuchObject);
    assert_nothing_happened(&node, &path).await;
}

#[tokio::test]
async fn a_wrong_nar_size_is_refused() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    let len = path.nar.len() as u64;
    for claimed in [0, 1, len / 2, len - 1, len + 1, 2 * len] {
        let answer = upload
            .put(&path.nar_hash(), claimed, whole_stream(&path.chunks()))
            .await;
        answer.refused(ErrorName::NarSizeMismatch);
    }
    assert_nothing_happened(&node, &path).await;
}

#[tokio::test]
async fn a_nar_above_the_limit_is_refused_before_it_is_sent() {
    let machine = Machine::new(|config| config.limits.nar_size_max = Size::mib(1));
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let upload = node.upload("main").await;
    let unread = Body::from_stream(
        futures::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, _>>> {
            panic!("the body must not be read")
        })
        .map(|block: Result<Bytes, std::io::Error>| block),
    );
    let message = upload
        .put(&NarHash::of(b""), (1 << 20) + 1, unread)
        .await
        .refused(ErrorName::TooLarge);
    assert!(message.contains("limits.nar_size_max"), "{message}");
    let small = TestPath::of_noise("small", 1 << 19);
    node.push("main", &[&small]).await;
}

#[tokio::test]
async fn a_damaged_chunk_is_named_and_refused() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    let chunks = path.chunks();
    let victim = chunks.len() / 2;
    let mut attempts: Vec<(&str, TestChunk)> = Vec::new();
    let frame = &chunks[victim].frame;
    let with_frame = |frame: Vec<u8>| TestChunk {
        frame,
        ..chunks[victim].clone()
    };
    let mut flipped = frame.clone();
    flipped[frame.len() / 2] ^= 1;
    attempts.push(("flipped bit", with_frame(flipped)));
    attempts.push(("truncated", with_frame(frame[..frame.len() - 1].to_vec())));
    attempts.push((
        "followed by a byte",
        with_frame([frame.as_slice(), b"x"].concat()),
    ));
    attempts.push(("two frames", with_frame([frame.as_slice(), frame].concat())));
    attempts.push(("another content", with_frame(chunks[0].frame.clone())));
    attempts.push(("not zstd", with_frame(b"hello".to_vec())));
    attempts.push((
        "another length",
        TestChunk {
            raw_len: chunks[victim].raw_len - 1,
            ..chunks[victim].clone()
        },
    ));
    for (what, bad) in attempts {
        let mut stream = chunks.clone();
        stream[victim] = bad;
        let answer = upload.send(&path, whole_stream(&stream)).await;
        // A length that is short by one also makes the NAR short, but the chunk is looked at first.
        let message = answer.refused(ErrorName::CorruptChunk);
        assert!(
            message.contains(&chunks[victim].hash.to_string()),
            "{what}: {message}"
        );
    }
    // What came before the bad chunk need not be sent again.
    let missing = upload
        .missing(&chunks.iter().map(|chunk| chunk.hash).collect::<Vec<_>>())
        .await;
    assert!(missing.contains(&chunks[victim].hash) && !missing.contains(&chunks[0].hash));
    assert_nothing_happened(&node, &path).await;
}

#[tokio::test]
async fn a_chunk_that_was_never_sent_is_named_and_refused() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    let chunks = path.chunks();
    let absent = chunks[3].hash;
    let sent: BTreeSet<ChunkHash> = chunks
        .iter()
        .map(|chunk| chunk.hash)
        .filter(|hash| *hash != absent)
        .collect();
    let message = upload
        .send(&path, stream(&chunks, &sent))
        .await
        .refused(ErrorName::MissingChunk);
    assert!(message.contains(&absent.to_string()), "{message}");
    upload.send_missing(&path).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_chunk_may_come_once_and_be_named_again_in_the_same_stream() {
    let node = TestNode::with_cache(true).await;
    let repeated = noise(9, 200_000);
    let mut path = TestPath::new("repeated", b"");
    path.nar = repeated.repeat(20);
    let mut seen = BTreeSet::new();
    let mut chunks: Vec<TestChunk> = Vec::new();
    for _ in 0..20 {
        chunks.extend(repeated.chunks(100_000).map(TestChunk::new));
    }
    let mut body = Vec::new();
    let mut encoder = tetryx_protocol::upload::UploadEncoder::start(&mut body);
    for chunk in &chunks {
        if seen.insert(chunk.hash) {
            encoder.chunk(&mut body, &chunk.hash, chunk.raw_len, &chunk.frame);
        } else {
            encoder.have(&mut body, &chunk.hash, chunk.raw_len);
        }
    }
    encoder.end(&mut body);
    let upload = node.upload("main").await;
    let sent: UploadNarResponse = upload.send(&path, body).await.expect(StatusCode::OK).json();
    assert_eq!((sent.chunks, sent.received_chunks), (40, 2));
    upload.commit(&[&path]).await.expect(StatusCode::OK);
    assert_eq!(
        decompress(&node.get(&nar_url("main", &path)).await.body),
        path.nar
    );
}

#[tokio::test]
async fn frames_of_another_compressor_are_served_as_they_are_stored() {
    let node = TestNode::with_cache(true).await;
    let path = TestPath::new("text", &b"the same words again and again, number ".repeat(20_000));
    node.push("main", &[&path]).await;
    // Another client sends the same content compressed harder, under another name.
    let mut other = path.clone();
    other.store_path = TestPath::new("other", b"").store_path;
    let mut chunks = cut(&other.nar);
    for (chunk, raw) in chunks.iter_mut().zip(raw_chunks(&other.nar)) {
        chunk.frame = zstd::bulk::compress(&raw, 19).expect("compressible");
    }
    let upload = node.upload("main").await;
    upload
        .send(&other, whole_stream(&chunks))
        .await
        .expect(StatusCode::OK);
    upload.commit(&[&other]).await.expect(StatusCode::OK);
    let file = node.get(&nar_url("main", &other)).await.expect(StatusCode::OK);
    let narinfo = node.narinfo("main", &other).await;
    let file_hash = tetryx_protocol::hash::FileHash::of(&file.body);
    assert!(
        narinfo.text().contains(&format!("FileHash: {file_hash}\n")),
        "{}",
        narinfo.text()
    );
    assert_eq!(decompress(&file.body), other.nar);
}

fn raw_chunks(nar: &[u8]) -> Vec<Vec<u8>> {
    let lens = cut(nar).into_iter().map(|chunk| chunk.raw_len as usize);
    let starts = lens.clone().scan(0, |end, len| {
        *end += len;
        Some(*end - len)
    });
    starts
        .zip(lens)
        .map(|(start, len)| nar[start..start + len].to_vec())
        .collect()
}

#[tokio::test]
async fn a_malformed_stream_is_refused_whatever_is_wrong_with_it() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    let whole = whole_stream(&path.chunks());
    let with = |at: usize, byte: u8| {
        let mut stream = whole.to_vec();
        stream[at] = byte;
        stream
    };
    let mut followed = whole.to_vec();
    followed.push(0);
    let mut oversized = whole[..6].to_vec();
    oversized.push(2);
    oversized.extend([7; 32]);
    oversized.extend(u32::try_from(CHUNK_MAX + 1).unwrap().to_le_bytes());
    oversized.extend(u32::MAX.to_le_bytes());
    let cases: [(&str, Vec<u8>); 9] = [
        ("empty", Vec::new()),
        ("another magic", with(0, b'Y')),
        ("another version", with(4, 2)),
        ("an unknown tag", with(6, 9)),
        ("cut in an entry", whole[..whole.len() / 2].to_vec()),
        ("without its end", whole[..whole.len() - 17].to_vec()),
        ("a wrong count", with(whole.len() - 16, 0xff)),
        ("followed by a byte", followed),
        ("an oversized chunk", oversized),
    ];
    for (what, stream) in cases {
        let message = upload.send(&path, stream).await.refused(ErrorName::BadRequest);
        assert!(message.len() > 30, "{what}: {message}");
    }
    assert_nothing_happened(&node, &path).await;
}

#[tokio::test]
async fn a_nar_in_crumbs_is_refused() {
    let node = TestNode::with_cache(true).await;
    let mut path = TestPath::new("crumbs", b"");
    path.nar = noise(5, CHUNK_MIN / 2);
    let crumbs: Vec<TestChunk> = path.nar.chunks(16).map(TestChunk::new).collect();
    let upload = node.upload("main").await;
    let message = upload
        .send(&path, whole_stream(&crumbs))
        .await
        .refused(ErrorName::BadRequest);
    assert!(message.contains("small chunks"), "{message}");
}

#[tokio::test]
async fn random_bytes_never_panic_a_node() {
    let node = TestNode::with_cache(true).await;
    let upload = node.upload("main").await;
    let path = TestPath::of_noise("target", 300_000);
    let whole = whole_stream(&path.chunks());
    for seed in 0..60 {
        let mut stream = whole.to_vec();
        for flip in noise(seed, 12).chunks(4) {
            let at = u32::from_le_bytes([flip[0], flip[1], flip[2], 0]) as usize % stream.len();
            stream[at] ^= flip[3] | 1;
        }
        let answer = upload.send(&path, stream).await;
        assert!(answer.status.is_client_error(), "seed {seed}: {answer:?}");
    }
    assert_nothing_happened(&node, &path).await;
}

#[tokio::test]
async fn a_question_that_is_no_list_of_hashes_is_refused() {
    let node = TestNode::with_cache(true).await;
    let upload = node.upload("main").await;
    upload
        .ask_missing(vec![0; 33])
        .await
        .refused(ErrorName::BadRequest);
    upload
        .ask_missing(vec![0; (MISSING_MAX + 1) * 32])
        .await
        .refused(ErrorName::TooLarge);
    assert!(upload.missing(&[]).await.is_empty());
    let hash = ChunkHash::of(b"absent");
    assert_eq!(upload.missing(&[hash, hash]).await, BTreeSet::from([hash]));
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_only_what_it_need_not_send_again() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    let whole = whole_stream(&path.chunks());
    let half = whole.slice(..whole.len() / 2);
    let gone = futures::stream::iter([
        Ok(half),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    upload
        .send(&path, Body::from_stream(gone))
        .await
        .refused(ErrorName::BadRequest);
    upload.commit(&[&path]).await.refused(ErrorName::NoSuchObject);

    let again = upload.missing_stream(&path).await;
    assert!(
        again.len() < whole.len() * 6 / 10,
        "{} of {} bytes again",
        again.len(),
        whole.len()
    );
    upload.send(&path, again).await.expect(StatusCode::OK);
    upload.commit(&[&path]).await.expect(StatusCode::OK);
    assert_eq!(
        decompress(&node.get(&nar_url("main", &path)).await.body),
        path.nar
    );
}
