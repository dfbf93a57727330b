//! The bytes of a pack: one segment header, then records back to back. Little endian.
//!
//! Segment header, 32 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `txpack\r\n` |
//! | 8 | 4 | format version, [`SEGMENT_VERSION`] |
//! | 12 | 4 | the segment's number |
//! | 16 | 8 | zero |
//! | 24 | 8 | XXH3-64 of bytes 0..24 |
//!
//! Record header, 68 bytes, and its payload:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `txrc` |
//! | 4 | 4 | header check: low half of the XXH3-64 of bytes 8..68 |
//! | 8 | 16 | XXH3-128 of bytes 24.. to the end of the payload |
//! | 24 | 1 | kind: 1 chunk, 2 manifest |
//! | 25 | 3 | zero |
//! | 28 | 4 | raw length: of the chunk before compression; of the payload for a manifest |
//! | 32 | 4 | payload length |
//! | 36 | 32 | BLAKE3: the chunk's or the manifest's name |
//! | 68 | | payload: one zstd frame, or the manifest's encoding |
//!
//! The header check lets a scan walk from record to record, and find the next one after damage,
//! without trusting a length that the damage may have hit.

use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The newest pack format this program writes and reads.
pub(crate) const SEGMENT_VERSION: u32 = 1;
/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER_LEN: u32 = 32;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER_LEN: u32 = 68;
/// What every record begins with.
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"txrc";

const SEGMENT_MAGIC: [u8; 8] = *b"txpack\r\n";
const HEADER_LEN: usize = RECORD_HEADER_LEN as usize;
const KIND_CHUNK: u8 = 1;
const KIND_MANIFEST: u8 = 2;

/// The name of something stored. Chunks and manifests never share a name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Chunk(ChunkHash),
    Manifest(ManifestHash),
}

impl Key {
    /// Bytes of [`Key::to_bytes`].
    pub(crate) const LEN: usize = 33;

    pub(crate) const fn kind(&self) -> u8 {
        match self {
            Self::Chunk(_) => KIND_CHUNK,
            Self::Manifest(_) => KIND_MANIFEST,
        }
    }

    pub(crate) const fn hash(&self) -> &[u8; 32] {
        match self {
            Self::Chunk(hash) => hash.as_bytes(),
            Self::Manifest(hash) => hash.as_bytes(),
        }
    }

    pub(crate) const fn from_parts(kind: u8, hash: [u8; 32]) -> Option<Self> {
        match kind {
            KIND_CHUNK => Some(Self::Chunk(ChunkHash::from_bytes(hash))),
            KIND_MANIFEST => Some(Self::Manifest(ManifestHash::from_bytes(hash))),
            _ => None,
        }
    }

    /// The kind, then the hash.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [self.kind(); Self::LEN];
        bytes[1..].copy_from_slice(self.hash());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        Self::from_parts(bytes[0], array(&bytes[1..]))
    }
}

/// Where a record lies and how long its parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) segment: u32,
    /// Where the record's header begins.
    pub(crate) offset: u32,
    /// Length of the payload.
    pub(crate) frame_len: u32,
    /// Length of the chunk before compression.
    pub(crate) raw_len: u32,
}

impl Slot {
    /// Bytes of [`Slot::to_bytes`].
    pub(crate) const LEN: usize = 16;

    /// Length of the record with its header.
    pub(crate) fn record_len(&self) -> u64 {
        u64::from(RECORD_HEADER_LEN) + u64::from(self.frame_len)
    }

    /// Where the record ends.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + self.record_len()
    }

    /// Four little-endian u32: segment, offset, payload length, raw length.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.frame_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            segment: u32::from_le_bytes(array(&bytes[0..4])),
            offset: u32::from_le_bytes(array(&bytes[4..8])),
            frame_len: u32::from_le_bytes(array(&bytes[8..12])),
            raw_len: u32::from_le_bytes(array(&bytes[12..16])),
        }
    }
}

/// A record header whose check has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) key: Key,
    pub(crate) raw_len: u32,
    pub(crate) frame_len: u32,
}

impl RecordHeader {
    /// Reads a header; `None` when the bytes are too few or no intact header.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_LEN)?;
        if bytes[..4] != RECORD_MAGIC || bytes[4..8] != header_check(bytes) {
            return None;
        }
        let key = Key::from_parts(bytes[24], array(&bytes[36..68]))?;
        if bytes[25..28] != [0; 3] {
            return None;
        }
        Some(Self {
            key,
            raw_len: u32::from_le_bytes(array(&bytes[28..32])),
            frame_len: u32::from_le_bytes(array(&bytes[32..36])),
        })
    }
}

/// Appends one record to a buffer.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &Key, raw_len: u32, payload: &[u8], payload_len: u32) {
    let start = out.len();
    out.extend_from_slice(&RECORD_MAGIC);
    out.extend_from_slice(&[0; 20]);
    out.extend_from_slice(&[key.kind(), 0, 0, 0]);
    out.extend_from_slice(&raw_len.to_le_bytes());
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(key.hash());
    out.extend_from_slice(payload);
    let record = &mut out[start..];
    let checksum = xxh3_128(&record[24..]).to_le_bytes();
    record[8..24].copy_from_slice(&checksum);
    let check = header_check(record);
    record[4..8].copy_from_slice(&check);
}

/// Whether the bytes are exactly the intact record that the index promises at a place.
pub(crate) fn is_intact(record: &[u8], key: &Key, slot: &Slot) -> bool {
    record.len() as u64 == slot.record_len()
        && RecordHeader::parse(record).is_some_and(|header| {
            header.key == *key && header.frame_len == slot.frame_len && header.raw_len == slot.raw_len
        })
        && checksum_matches(record)
}

/// Whether a record with an intact header has an intact payload.
pub(crate) fn checksum_matches(record: &[u8]) -> bool {
    record.len() >= HEADER_LEN && record[8..24] == xxh3_128(&record[24..]).to_le_bytes()
}

fn header_check(record: &[u8]) -> [u8; 4] {
    array(&xxh3_64(&record[8..HEADER_LEN]).to_le_bytes()[..4])
}

/// The first bytes of a segment.
pub(crate) fn segment_header(number: u32) -> [u8; SEGMENT_HEADER_LEN as usize] {
    let mut bytes = [0; SEGMENT_HEADER_LEN as usize];
    bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
    bytes[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&number.to_le_bytes());
    let check = xxh3_64(&bytes[..24]);
    bytes[24..32].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// What the first bytes of a file say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// A segment of this format, with this number.
    Intact(u32),
    /// An intact header of a format this program does not know.
    Newer(u32),
    /// Torn or damaged.
    Damaged,
}

/// Reads a segment header.
pub(crate) fn parse_segment_header(bytes: &[u8]) -> SegmentHeader {
    let Some(bytes) = bytes.get(..SEGMENT_HEADER_LEN as usize) else {
        return SegmentHeader::Damaged;
    };
    if bytes[..8] != SEGMENT_MAGIC || bytes[24..32] != xxh3_64(&bytes[..24]).to_le_bytes() {
        return SegmentHeader::Damaged;
    }
    match u32::from_le_bytes(array(&bytes[8..12])) {
        SEGMENT_VERSION => SegmentHeader::Intact(u32::from_le_bytes(array(&bytes[12..16]))),
        version => SegmentHeader::Newer(version),
    }
}

/// The file name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:010}.pack")
}

/// The number in a segment's file name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?.strip_suffix(".pack")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller slices exactly N bytes")
}
