//! The frames of `tetryx-chunks/1`.

use bytes::Bytes;
use proptest::prelude::*;
use tetryx_protocol::chunk_wire::{
    Answer, AnswerDecoder, ChunkWireError, ItemKind, MANIFEST_LEN_MAX, REQUEST_ITEMS_MAX, Request,
    RequestDecoder, damaged as damaged_item, found_head, missing,
};
use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::frame::FRAME_LEN_MAX;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};

use crate::fixtures::{assert_golden_hex, chunk_hash, damaged, damages, noise};

const GOLDEN: &str = include_str!("../golden/chunk_wire_v1.hex");

fn chunks(names: &[&str]) -> Request {
    Request::Chunks(names.iter().map(|name| ChunkHash::of(name.as_bytes())).collect())
}

fn manifests(names: &[&str]) -> Request {
    Request::Manifests(
        names
            .iter()
            .map(|name| ManifestHash::of(name.as_bytes()))
            .collect(),
    )
}

fn found(raw_len: u32, bytes: &[u8]) -> Answer {
    Answer::Found {
        raw_len,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

fn encode_answers(answers: &[Answer]) -> Vec<u8> {
    let mut out = Vec::new();
    for answer in answers {
        match answer {
            Answer::Found { raw_len, bytes } => {
                out.extend(found_head(*raw_len, bytes.len()));
                out.extend_from_slice(bytes);
            }
            Answer::Missing => out.extend(missing()),
            Answer::Damaged => out.extend(damaged_item()),
        }
    }
    out
}

/// Feeds bytes in blocks of these lengths, over and over.
fn blocks<'a>(bytes: &'a [u8], lens: &'a [usize]) -> impl Iterator<Item = Bytes> {
    let mut rest = bytes;
    lens.iter().cycle().map_while(move |len| {
        let (block, after) = rest.split_at((*len).min(rest.len()));
        rest = after;
        (!block.is_empty()).then(|| Bytes::copy_from_slice(block))
    })
}

fn decode_requests(bytes: &[u8], lens: &[usize]) -> Result<Vec<Request>, ChunkWireError> {
    let (mut decoder, mut requests) = (RequestDecoder::new(), Vec::new());
    for block in blocks(bytes, lens) {
        decoder.push(block);
        while let Some(request) = decoder.next()? {
            requests.push(request);
        }
    }
    decoder.finish().map(|()| requests)
}

fn decode_answers(
    expected: &[(ItemKind, usize)],
    bytes: &[u8],
    lens: &[usize],
) -> Result<Vec<Answer>, ChunkWireError> {
    let (mut decoder, mut answers) = (AnswerDecoder::new(), Vec::new());
    for (kind, count) in expected {
        decoder.expect(*kind, *count);
    }
    for block in blocks(bytes, lens) {
        decoder.push(block);
        while let Some(answer) = decoder.next()? {
            answers.push(answer);
        }
    }
    decoder.finish().map(|()| answers)
}

const EXPECTED: [(ItemKind, usize); 2] = [(ItemKind::Chunk, 3), (ItemKind::Manifest, 1)];

fn answers() -> Vec<Answer> {
    vec![
        found(5, b"zstd frame"),
        Answer::Missing,
        Answer::Damaged,
        found(8, b"manifest"),
    ]
}

#[test]
fn requests_and_answers_are_these_bytes() {
    let mut bytes = Vec::new();
    chunks(&["one", "two", "three"]).encode(&mut bytes);
    manifests(&["four"]).encode(&mut bytes);
    let requests = bytes.len();
    bytes.extend(encode_answers(&answers()));
    assert_golden_hex("chunk_wire_v1.hex", GOLDEN, &bytes);
    let read = decode_requests(&bytes[..requests], &[7]);
    assert_eq!(
        read,
        Ok(vec![chunks(&["one", "two", "three"]), manifests(&["four"])])
    );
    assert_eq!(decode_answers(&EXPECTED, &bytes[requests..], &[5]), Ok(answers()));
}

#[test]
fn a_request_for_nothing_or_for_too_much_is_refused() {
    let head = |count: u16, kind: u8| [&count.to_le_bytes()[..], &[kind]].concat();
    let refused = decode_requests(&head(0, 1), &[9]).unwrap_err();
    assert_eq!(refused, ChunkWireError::Count { request: 0, count: 0 });
    assert_eq!(
        refused.to_string(),
        "chunk request 0: it has 0 items; expected 1 to 1024"
    );
    assert!(matches!(
        decode_requests(&head(1_025, 1), &[9]),
        Err(ChunkWireError::Count { count: 1_025, .. })
    ));
    assert_eq!(
        decode_requests(&head(1, 3), &[9]),
        Err(ChunkWireError::Kind { request: 0, kind: 3 })
    );
}

#[test]
#[should_panic(expected = "a request has 1 to 1024 items, not 1025")]
fn asking_for_too_much_at_once_is_a_bug_here() {
    Request::Chunks(vec![ChunkHash::of(b"x"); REQUEST_ITEMS_MAX + 1]).encode(&mut Vec::new());
}

#[test]
fn lengths_that_no_item_has_are_refused_before_the_item_comes() {
    let chunk = [(ItemKind::Chunk, 1)];
    let manifest = [(ItemKind::Manifest, 1)];
    let head = |status: u8, raw: usize, frame: usize| {
        let raw = u32::try_from(raw).unwrap().to_le_bytes();
        let frame = u32::try_from(frame).unwrap().to_le_bytes();
        [&[status][..], &raw, &frame].concat()
    };
    for (expected, bytes) in [
        (&chunk, head(0, 0, 1)),
        (&chunk, head(0, 1, 0)),
        (&chunk, head(0, CHUNK_MAX + 1, 1)),
        (&chunk, head(0, 1, FRAME_LEN_MAX + 1)),
        (&chunk, head(1, 1, 0)),
        (&chunk, head(2, 0, 1)),
        (&manifest, head(0, 1, 2)),
        (&manifest, head(0, 0, 0)),
        (&manifest, head(0, MANIFEST_LEN_MAX + 1, MANIFEST_LEN_MAX + 1)),
    ] {
        assert!(
            matches!(
                decode_answers(expected, &bytes, &[9]),
                Err(ChunkWireError::Lengths { answer: 0, .. })
            ),
            "{bytes:?}"
        );
    }
    assert_eq!(
        decode_answers(&chunk, &head(3, 0, 0), &[9]),
        Err(ChunkWireError::Status { answer: 0, status: 3 })
    );
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let mut decoder = AnswerDecoder::new();
    decoder.expect(ItemKind::Chunk, 1);
    decoder.push(Bytes::from(encode_answers(&[Answer::Missing, Answer::Missing])));
    assert_eq!(decoder.next(), Ok(Some(Answer::Missing)));
    assert_eq!(
        decoder.next(),
        Err(ChunkWireError::NotAsked { answer: 1, len: 9 })
    );
    decoder.expect(ItemKind::Chunk, 1);
    assert!(decoder.next().is_err(), "an error is final");
    assert!(decoder.finish().is_err());
}

#[test]
fn answers_may_be_expected_while_others_come() {
    let mut decoder = AnswerDecoder::new();
    decoder.expect(ItemKind::Chunk, 1);
    let bytes = encode_answers(&answers());
    decoder.push(Bytes::copy_from_slice(&bytes[..25]));
    assert_eq!(decoder.next(), Ok(Some(answers()[0].clone())));
    decoder.expect(ItemKind::Chunk, 2);
    decoder.expect(ItemKind::Manifest, 1);
    assert_eq!(decoder.outstanding(), 3);
    decoder.push(Bytes::copy_from_slice(&bytes[25..]));
    for expected in &answers()[1..] {
        assert_eq!(decoder.next().as_ref(), Ok(&Some(expected.clone())));
    }
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn a_stream_cut_anywhere_is_truncated() {
    let bytes = encode_answers(&answers());
    for len in 0..bytes.len() {
        assert!(
            matches!(
                decode_answers(&EXPECTED, &bytes[..len], &[64]),
                Err(ChunkWireError::Truncated { .. })
            ),
            "cut at {len}"
        );
    }
    let mut request = Vec::new();
    chunks(&["one"]).encode(&mut request);
    for len in 1..request.len() {
        assert_eq!(
            decode_requests(&request[..len], &[64]),
            Err(ChunkWireError::Truncated { done: 0 })
        );
    }
}

#[test]
fn a_claimed_length_reserves_no_more_than_a_chunk() {
    let mut decoder = AnswerDecoder::new();
    decoder.expect(ItemKind::Manifest, 1);
    decoder.push(Bytes::copy_from_slice(&found_head(
        u32::try_from(MANIFEST_LEN_MAX).unwrap(),
        MANIFEST_LEN_MAX,
    )));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.held_bytes(), 9);
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        prop::collection::vec(chunk_hash(), 1..9).prop_map(Request::Chunks),
        prop::collection::vec(any::<[u8; 32]>().prop_map(ManifestHash::from_bytes), 1..9)
            .prop_map(Request::Manifests),
    ]
}

fn answer() -> impl Strategy<Value = (ItemKind, Answer)> {
    let kind = prop_oneof![Just(ItemKind::Chunk), Just(ItemKind::Manifest)];
    (kind, 0..6_u8, 1..300_usize, any::<u64>()).prop_map(|(kind, status, len, seed)| {
        let answer = match (status, kind) {
            (0, _) => Answer::Missing,
            (1, _) => Answer::Damaged,
            (_, ItemKind::Chunk) => found(1 + (seed % CHUNK_MAX as u64) as u32, &noise(seed, len)),
            (_, ItemKind::Manifest) => found(len as u32, &noise(seed, len)),
        };
        (kind, answer)
    })
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(
        requests in prop::collection::vec(request(), 0..6),
        lens in prop::collection::vec(1..90_usize, 1..5),
    ) {
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| request.encode(&mut bytes));
        prop_assert_eq!(decode_requests(&bytes, &lens), Ok(requests));
    }

    #[test]
    fn answers_are_read_as_they_were_written(
        items in prop::collection::vec(answer(), 0..12),
        lens in prop::collection::vec(1..90_usize, 1..5),
    ) {
        let expected: Vec<_> = items.iter().map(|(kind, _)| (*kind, 1)).collect();
        let answers: Vec<_> = items.into_iter().map(|(_, answer)| answer).collect();
        prop_assert_eq!(decode_answers(&expected, &encode_answers(&answers), &lens), Ok(answers));
    }

    #[test]
    fn hostile_streams_never_panic_nor_give_more_than_was_asked(
        damages in damages(),
        lens in prop::collection::vec(1..90_usize, 1..5),
    ) {
        let bytes = damaged(&encode_answers(&answers()), &damages);
        if let Ok(read) = decode_answers(&EXPECTED, &bytes, &lens) {
            prop_assert_eq!(read.len(), 4);
        }
        let mut request = Vec::new();
        chunks(&["one", "two"]).encode(&mut request);
        let _ = decode_requests(&damaged(&request, &damages), &lens);
    }
}
