//! A NAR as the ordered list of its chunks. A manifest is itself content-addressed: its hash goes into the log.
//!
//! Layout, little endian: magic `TXMF`, version `u16` = 1, NAR hash (32), NAR size `u64`, number of chunks `u32`,
//! then for each chunk its hash (32) and raw length `u32`. Nothing follows.
//!
//! # Invariants
//! - A decoded manifest's raw lengths are 1 to [`CHUNK_MAX`] each and add up to its NAR size.
//! - One value has one encoding, so equal manifests have equal hashes on every node.

use crate::chunking::CHUNK_MAX;
use crate::hash::{ChunkHash, ManifestHash, NarHash};

/// The first four bytes of an encoded manifest.
pub const MAGIC: [u8; 4] = *b"TXMF";
/// The version of the layout.
pub const VERSION: u16 = 1;

const HEADER_LEN: usize = 4 + 2 + 32 + 8 + 4;
const ENTRY_LEN: usize = 32 + 4;

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Another length than the header and its entries take.
    #[error("manifest: {len} bytes; expected {expected}; it is cut off or has bytes after its end")]
    Length { len: usize, expected: usize },
    /// Something else altogether.
    #[error("manifest: begins with {found:02x?}; expected the magic TXMF")]
    Magic { found: [u8; 4] },
    /// A layout of the future.
    #[error("manifest: version is {found}; expected {VERSION}; upgrade this program to read it")]
    Version { found: u16 },
    /// A chunk that cannot be one.
    #[error("manifest: raw_len of chunk {index} is {raw_len}; expected 1 to {CHUNK_MAX}")]
    RawLen { index: usize, raw_len: u32 },
    /// The chunks are not the NAR.
    #[error("manifest: its chunks have {sum} bytes together; expected nar_size, {nar_size}")]
    NarSize { sum: u64, nar_size: u64 },
}

/// One chunk of a NAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestChunk {
    /// The chunk's name.
    pub hash: ChunkHash,
    /// Its raw length in bytes.
    pub raw_len: u32,
}

/// A NAR as the ordered list of its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The hash of the whole NAR.
    pub nar_hash: NarHash,
    /// The size of the whole NAR in bytes.
    pub nar_size: u64,
    /// The chunks in the order of the NAR. A chunk may appear more than once.
    pub chunks: Vec<ManifestChunk>,
}

impl Manifest {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let count = u32::try_from(self.chunks.len()).expect("a NAR of 2^32 chunks exceeds every store");
        let mut bytes = Vec::with_capacity(HEADER_LEN + ENTRY_LEN * self.chunks.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(self.nar_hash.as_bytes());
        bytes.extend_from_slice(&self.nar_size.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk.hash.as_bytes());
            bytes.extend_from_slice(&chunk.raw_len.to_le_bytes());
        }
        bytes
    }

    /// Reads an encoding and checks it.
    ///
    /// # Errors
    /// [`ManifestError`] for anything that [`encode`](Self::encode) would not have written for the chunks of one
    /// NAR. Never allocates more than the input's own size.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let cut_off = ManifestError::Length {
            len: bytes.len(),
            expected: HEADER_LEN,
        };
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(cut_off.clone())?;
        if *magic != MAGIC {
            return Err(ManifestError::Magic { found: *magic });
        }
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(cut_off.clone())?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(ManifestError::Version { found: version });
        }
        let (nar_hash, rest) = rest.split_first_chunk::<32>().ok_or(cut_off.clone())?;
        let (nar_size, rest) = rest.split_first_chunk::<8>().ok_or(cut_off.clone())?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(cut_off)?;
        let nar_size = u64::from_le_bytes(*nar_size);
        let expected = (u32::from_le_bytes(*count) as usize).saturating_mul(ENTRY_LEN);
        if rest.len() != expected {
            return Err(ManifestError::Length {
                len: bytes.len(),
                expected: expected.saturating_add(HEADER_LEN),
            });
        }
        let mut sum = 0u64;
        let mut chunks = Vec::with_capacity(rest.len() / ENTRY_LEN);
        let (entries, _) = rest.as_chunks::<ENTRY_LEN>();
        for (index, entry) in entries.iter().enumerate() {
            let (hash, raw_len) = entry.split_first_chunk::<32>().expect("an entry has 36 bytes");
            let raw_len = u32::from_le_bytes(raw_len.try_into().expect("an entry has 36 bytes"));
            if raw_len == 0 || raw_len as usize > CHUNK_MAX {
                return Err(ManifestError::RawLen { index, raw_len });
            }
            sum += u64::from(raw_len);
            chunks.push(ManifestChunk {
                hash: ChunkHash::from_bytes(*hash),
                raw_len,
            });
        }
        if sum != nar_size {
            return Err(ManifestError::NarSize { sum, nar_size });
        }
        Ok(Self {
            nar_hash: NarHash::from_bytes(*nar_hash),
            nar_size,
            chunks,
        })
    }

    /// The manifest's name: the BLAKE3 of its encoding.
    pub fn hash(&self) -> ManifestHash {
        ManifestHash::of(&self.encode())
    }
}
