//! The upload stream.

use bytes::Bytes;
use proptest::prelude::*;
use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::frame::FRAME_LEN_MAX;
use tetryx_protocol::hash::ChunkHash;
use tetryx_protocol::upload::{
    MISSING_MAX, UploadDecoder, UploadEncoder, UploadEntry, UploadError, decode_hashes, encode_hashes,
};

use crate::fixtures::{assert_golden_hex, chunk_hash, damaged, damages, golden_hex, noise};

fn encode(entries: &[UploadEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = UploadEncoder::start(&mut out);
    for entry in entries {
        match entry {
            UploadEntry::Have { hash, raw_len } => encoder.have(&mut out, hash, *raw_len),
            UploadEntry::Chunk { hash, raw_len, frame } => encoder.chunk(&mut out, hash, *raw_len, frame),
            UploadEntry::End { .. } => encoder.end(&mut out),
        }
    }
    out
}

/// Decodes a stream that comes in blocks of these lengths, over and over.
fn decode(bytes: &[u8], blocks: &[usize]) -> Result<Vec<UploadEntry>, UploadError> {
    let mut decoder = UploadDecoder::new();
    let mut entries = Vec::new();
    let mut rest = bytes;
    for len in blocks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (block, after) = rest.split_at((*len).min(rest.len()));
        rest = after;
        decoder.push(Bytes::copy_from_slice(block));
        while let Some(entry) = decoder.next()? {
            entries.push(entry);
        }
    }
    decoder.finish().map(|()| entries)
}

fn have(raw: &[u8]) -> UploadEntry {
    UploadEntry::Have {
        hash: ChunkHash::of(raw),
        raw_len: raw.len() as u32,
    }
}

fn sample() -> Vec<UploadEntry> {
    let chunk = UploadEntry::Chunk {
        hash: ChunkHash::of(b"hello"),
        raw_len: 5,
        frame: golden_hex(include_str!("../golden/frame_raw_block.hex")).into(),
    };
    let end = UploadEntry::End {
        count: 3,
        nar_size: 15,
    };
    vec![have(b"alpha"), chunk, have(b"alpha"), end]
}

#[test]
fn version_1_is_these_bytes() {
    let bytes = encode(&sample());
    assert_golden_hex("upload_v1.hex", include_str!("../golden/upload_v1.hex"), &bytes);
    assert_eq!(decode(&bytes, &[bytes.len()]).unwrap(), sample());
}

#[test]
fn a_stream_reads_the_same_byte_by_byte() {
    assert_eq!(decode(&encode(&sample()), &[1]).unwrap(), sample());
}

#[test]
fn a_stream_cut_off_anywhere_is_truncated() {
    let bytes = encode(&sample());
    for len in 0..bytes.len() {
        let error = decode(&bytes[..len], &[7]).unwrap_err();
        assert!(
            matches!(error, UploadError::Truncated { .. }),
            "cut off at {len}: {error}"
        );
    }
}

#[test]
fn another_magic_or_version_is_refused() {
    assert!(matches!(decode(b"HTTP/1.1", &[3]), Err(UploadError::Magic { found }) if &found == b"HTTP"));
    assert_eq!(
        decode(b"TXUP\x02\x00", &[6]),
        Err(UploadError::Version { found: 2 })
    );
}

#[test]
fn an_unknown_tag_is_refused_with_the_number_of_its_entry() {
    let mut bytes = encode(&sample()[..1]);
    bytes.push(9);
    let error = decode(&bytes, &[8]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "upload, entry 1: tag is 9; expected 1 (Have), 2 (Chunk) or 3 (End)"
    );
}

#[test]
fn lengths_that_no_chunk_or_frame_has_are_refused_before_anything_is_held() {
    let entry = |tag: u8, raw_len: u32, frame_len: u32| {
        let mut bytes = encode(&[]);
        bytes.push(tag);
        bytes.extend([0; 32]);
        bytes.extend(raw_len.to_le_bytes());
        bytes.extend(frame_len.to_le_bytes());
        decode(&bytes, &[bytes.len()]).unwrap_err()
    };
    for raw_len in [0, CHUNK_MAX as u32 + 1, u32::MAX] {
        assert_eq!(entry(1, raw_len, 0), UploadError::RawLen { entry: 0, raw_len });
        assert_eq!(entry(2, raw_len, 1), UploadError::RawLen { entry: 0, raw_len });
    }
    for frame_len in [0, FRAME_LEN_MAX as u32 + 1, u32::MAX] {
        assert_eq!(
            entry(2, 1, frame_len),
            UploadError::FrameLen { entry: 0, frame_len }
        );
    }
}

#[test]
fn an_end_that_counts_otherwise_is_refused() {
    let mut entries = sample();
    entries.pop();
    let mut bytes = encode(&entries);
    let end = |count: u64, nar_size: u64| [&[3][..], &count.to_le_bytes(), &nar_size.to_le_bytes()].concat();
    let start = bytes.len();
    bytes.extend(end(2, 15));
    assert_eq!(
        decode(&bytes, &[50]),
        Err(UploadError::Count { count: 2, entries: 3 })
    );
    bytes.truncate(start);
    bytes.extend(end(3, 14));
    assert_eq!(
        decode(&bytes, &[50]),
        Err(UploadError::NarSize {
            nar_size: 14,
            sum: 15
        })
    );
}

#[test]
fn bytes_after_the_end_are_refused_in_its_block_and_in_a_later_one() {
    let bytes = encode(&sample());
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(
        decode(&longer, &[longer.len()]),
        Err(UploadError::Trailing { len: 1 })
    );
    assert_eq!(
        decode(&longer, &[bytes.len()]),
        Err(UploadError::Trailing { len: 1 })
    );
}

#[test]
fn an_error_is_final() {
    let mut decoder = UploadDecoder::new();
    decoder.push(Bytes::from_static(b"HTTP/1.1"));
    let error = decoder.next().unwrap_err();
    decoder.push(encode(&sample()).into());
    assert_eq!(
        (decoder.next(), decoder.finish()),
        (Err(error.clone()), Err(error))
    );
}

#[test]
fn hash_lists_are_32_bytes_each_and_bounded() {
    let hashes: Vec<_> = (0..3u8).map(|byte| ChunkHash::from_bytes([byte; 32])).collect();
    let bytes = encode_hashes(&hashes);
    assert_golden_hex("missing_v1.hex", include_str!("../golden/missing_v1.hex"), &bytes);
    assert_eq!(decode_hashes(&bytes).unwrap(), hashes);
    assert_eq!(decode_hashes(&[]).unwrap(), []);
    assert_eq!(
        decode_hashes(&bytes[1..]),
        Err(UploadError::HashListLen { len: 95 })
    );
    assert_eq!(
        decode_hashes(&vec![0; 32 * MISSING_MAX]).unwrap().len(),
        MISSING_MAX
    );
    let too_long = decode_hashes(&vec![0; 32 * (MISSING_MAX + 1)]);
    assert_eq!(
        too_long,
        Err(UploadError::HashListTooLong {
            count: MISSING_MAX + 1
        })
    );
}

fn entries() -> impl Strategy<Value = Vec<UploadEntry>> {
    let have =
        (chunk_hash(), 1..=CHUNK_MAX as u32).prop_map(|(hash, raw_len)| UploadEntry::Have { hash, raw_len });
    let chunk = (chunk_hash(), 1..=CHUNK_MAX as u32, any::<u64>(), 1..3_000usize).prop_map(
        |(hash, raw_len, seed, len)| {
            let frame = noise(seed, len).into();
            UploadEntry::Chunk { hash, raw_len, frame }
        },
    );
    prop::collection::vec(prop_oneof![have, chunk], 0..12).prop_map(|mut entries| {
        let raw_len = |entry: &UploadEntry| match entry {
            UploadEntry::Have { raw_len, .. } | UploadEntry::Chunk { raw_len, .. } => u64::from(*raw_len),
            UploadEntry::End { .. } => 0,
        };
        entries.push(UploadEntry::End {
            count: entries.len() as u64,
            nar_size: entries.iter().map(raw_len).sum(),
        });
        entries
    })
}

proptest! {
    #[test]
    fn a_stream_round_trips_in_any_blocks(
        entries in entries(), blocks in prop::collection::vec(1..2_000usize, 1..6)
    ) {
        prop_assert_eq!(decode(&encode(&entries), &blocks).unwrap(), entries);
    }

    #[test]
    fn a_damaged_stream_never_panics_and_ends_the_same_in_any_blocks(
        entries in entries(), damages in damages(), blocks in prop::collection::vec(1..2_000usize, 1..6)
    ) {
        let bytes = damaged(&encode(&entries), &damages);
        let whole = decode(&bytes, &[bytes.len().max(1)]);
        let in_blocks = decode(&bytes, &blocks);
        prop_assert_eq!(whole.is_ok(), in_blocks.is_ok());
        if let (Ok(whole), Ok(in_blocks)) = (whole, in_blocks) {
            prop_assert_eq!(encode(&whole), bytes);
            prop_assert_eq!(whole, in_blocks);
        }
    }
}
