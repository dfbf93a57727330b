//! The bytes on the disk, pinned (the layouts are in [`crate::record`]). Changing a golden changes
//! the format: it needs a second reviewer and a new version in the segment header or table name.

use proptest::prelude::*;
use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::manifest::{Manifest, ManifestChunk};

use crate::record::{
    Key, RecordHeader, SegmentHeader, Slot, is_intact, parse_segment_header, segment_header, segment_name,
    segment_number, write_record,
};

/// A zstd frame of b"tetryx" in one raw block, written by hand after RFC 8878: what a compressor
/// makes may change with its version.
const FRAME: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x06, 0x31, 0x00, 0x00, b't', b'e', b't', b'r', b'y', b'x',
];

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the golden file is in the tree");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let (pairs, _) = digits.as_chunks::<2>();
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[track_caller]
fn assert_golden(name: &str, bytes: &[u8]) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(golden(name), bytes, "{name} is now {hex}");
}

fn chunk_record() -> (Key, Slot, Vec<u8>) {
    let key = Key::Chunk(ChunkHash::of(b"tetryx"));
    let mut record = Vec::new();
    write_record(&mut record, &key, 6, FRAME, FRAME.len() as u32);
    (
        key,
        Slot {
            segment: 1,
            offset: 32,
            frame_len: FRAME.len() as u32,
            raw_len: 6,
        },
        record,
    )
}

#[test]
fn the_segment_header_has_its_golden_bytes() {
    assert_golden("segment-header", &segment_header(7));
    assert_eq!(
        parse_segment_header(&golden("segment-header")),
        SegmentHeader::Intact(7)
    );
}

#[test]
fn a_chunk_record_has_its_golden_bytes() {
    let (key, slot, record) = chunk_record();
    assert_golden("record-chunk", &record);
    assert!(is_intact(&golden("record-chunk"), &key, &slot));
}

#[test]
fn a_manifest_record_has_its_golden_bytes() {
    let chunk = ManifestChunk {
        hash: ChunkHash::of(b"tetryx"),
        raw_len: 6,
    };
    let manifest = Manifest {
        nar_hash: NarHash::of(b"tetryx"),
        nar_size: 6,
        chunks: vec![chunk],
    };
    let bytes = manifest.encode();
    let len = bytes.len() as u32;
    let key = Key::Manifest(ManifestHash::of(&bytes));
    let mut record = Vec::new();
    write_record(&mut record, &key, len, &bytes, len);
    assert_golden("record-manifest", &record);
    let slot = Slot {
        segment: 1,
        offset: 32,
        frame_len: len,
        raw_len: len,
    };
    assert!(is_intact(&golden("record-manifest"), &key, &slot));
}

#[test]
fn a_place_in_the_index_has_its_golden_bytes() {
    let slot = Slot {
        segment: 1,
        offset: 0x0203_0405,
        frame_len: 0x0607,
        raw_len: 0x0001_0809,
    };
    assert_golden("index-slot", &slot.to_bytes());
    assert_eq!(
        Slot::from_bytes(golden("index-slot").as_slice().try_into().unwrap()),
        slot
    );
}

#[test]
fn a_segment_of_a_later_version_is_told_from_a_damaged_one() {
    let mut header = segment_header(7);
    header[8] = 2;
    assert_eq!(parse_segment_header(&header), SegmentHeader::Damaged);
    let check = xxhash_rust::xxh3::xxh3_64(&header[..24]);
    header[24..32].copy_from_slice(&check.to_le_bytes());
    assert_eq!(parse_segment_header(&header), SegmentHeader::Newer(2));
}

#[test]
fn segment_names_carry_their_number_and_nothing_else_is_one() {
    assert_eq!(segment_name(42), "segment-0000000042.pack");
    assert_eq!(segment_number("segment-0000000042.pack"), Some(42));
    for other in [
        "segment-42.pack",
        "segment-+000000042.pack",
        "segment-0000000042.pack.old",
        "index.redb",
    ] {
        assert_eq!(segment_number(other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn no_changed_byte_of_a_record_goes_unnoticed(at in 0..83_usize, flip in 1..=255_u8) {
        let (key, slot, mut record) = chunk_record();
        prop_assert!(is_intact(&record, &key, &slot));
        record[at] ^= flip;
        prop_assert!(!is_intact(&record, &key, &slot));
    }

    #[test]
    fn random_bytes_are_no_record_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(RecordHeader::parse(&bytes), None);
        prop_assert_eq!(parse_segment_header(&bytes), SegmentHeader::Damaged);
    }
}
