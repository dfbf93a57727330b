//! Small NARs, store paths, and what a client makes of them.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use tetryx_protocol::api::PathUpload;
use tetryx_protocol::chunking::Cutter;
use tetryx_protocol::frame::Compressor;
use tetryx_protocol::hash::{ChunkHash, NarHash};
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_protocol::upload::UploadEncoder;

/// A NAR from its strings.
pub fn nar(tokens: &[&[u8]]) -> Vec<u8> {
    let mut nar = Vec::new();
    for token in tokens {
        nar.extend((token.len() as u64).to_le_bytes());
        nar.extend_from_slice(token);
        nar.resize(nar.len().next_multiple_of(8), 0);
    }
    nar
}

/// The NAR of one plain file.
pub fn file_nar(contents: &[u8]) -> Vec<u8> {
    nar(&[
        b"nix-archive-1",
        b"(",
        b"type",
        b"regular",
        b"contents",
        contents,
        b")",
    ])
}

/// Bytes that no compressor shortens, the same ones for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

/// A store path with its NAR.
#[derive(Clone, Debug)]
pub struct TestPath {
    pub store_path: StorePath,
    pub references: Vec<StorePath>,
    pub nar: Vec<u8>,
}

impl TestPath {
    /// A path called `name` that holds these bytes as a file, under a hash made from the name.
    pub fn new(name: &str, contents: &[u8]) -> Self {
        let mut hash = [0; 20];
        hash.copy_from_slice(&ChunkHash::of(name.as_bytes()).as_bytes()[..20]);
        let store_path = StorePath::new(
            StorePathHash::from_bytes(hash),
            name.parse().expect("a name Nix allows"),
        );
        Self {
            store_path,
            references: Vec::new(),
            nar: file_nar(contents),
        }
    }

    /// A path of `len` incompressible bytes that depend on its name.
    pub fn of_noise(name: &str, len: usize) -> Self {
        let seed = name.bytes().fold(7_u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Self::new(name, &noise(seed, len))
    }

    #[must_use]
    pub fn referring_to(mut self, paths: &[&Self]) -> Self {
        self.references
            .extend(paths.iter().map(|path| path.store_path.clone()));
        self
    }

    #[must_use]
    pub fn referring_to_itself(mut self) -> Self {
        self.references.push(self.store_path.clone());
        self
    }

    pub fn hash(&self) -> StorePathHash {
        self.store_path.hash
    }

    pub fn nar_hash(&self) -> NarHash {
        NarHash::of(&self.nar)
    }

    /// What a commit says about the path.
    pub fn upload(&self) -> PathUpload {
        PathUpload {
            store_path: self.store_path.clone(),
            nar_hash: self.nar_hash(),
            references: self.references.clone(),
            deriver: None,
            system: Some("x86_64-linux".to_owned()),
            ca: None,
            signatures: Vec::new(),
        }
    }

    pub fn chunks(&self) -> Vec<TestChunk> {
        cut(&self.nar)
    }
}

/// A chunk of a NAR, compressed.
#[derive(Clone, Debug)]
pub struct TestChunk {
    pub hash: ChunkHash,
    pub raw_len: u32,
    pub frame: Vec<u8>,
}

impl TestChunk {
    pub fn new(raw: &[u8]) -> Self {
        let raw_len = u32::try_from(raw.len()).expect("a chunk is short");
        Self {
            hash: ChunkHash::of(raw),
            raw_len,
            frame: Compressor::new().compress(raw),
        }
    }
}

/// Cuts and compresses as the client does.
pub fn cut(nar: &[u8]) -> Vec<TestChunk> {
    let mut cutter = Cutter::new();
    let mut chunks = Vec::new();
    cutter.push(nar);
    while let Some(raw) = cutter.next_chunk() {
        chunks.push(TestChunk::new(&raw));
    }
    while let Some(raw) = cutter.finish() {
        chunks.push(TestChunk::new(&raw));
    }
    chunks
}

/// The upload stream of a NAR: what is in `absent` is sent, the rest is named.
pub fn stream(chunks: &[TestChunk], absent: &BTreeSet<ChunkHash>) -> Bytes {
    let mut out = BytesMut::new();
    let mut encoder = UploadEncoder::start(&mut out);
    for chunk in chunks {
        if absent.contains(&chunk.hash) {
            encoder.chunk(&mut out, &chunk.hash, chunk.raw_len, &chunk.frame);
        } else {
            encoder.have(&mut out, &chunk.hash, chunk.raw_len);
        }
    }
    encoder.end(&mut out);
    out.freeze()
}

/// The upload stream of a NAR with every chunk in it.
pub fn whole_stream(chunks: &[TestChunk]) -> Bytes {
    stream(chunks, &chunks.iter().map(|chunk| chunk.hash).collect())
}
