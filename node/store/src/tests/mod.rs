//! Tests of the store as a whole, and what they share.

use std::collections::BTreeSet;
use std::sync::Arc;

use tetryx_protocol::frame::Compressor;
use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::manifest::{Manifest, ManifestChunk};

use crate::{ChunkStore, CollectReport, MarkError, MemoryDisk, PinId, StoreConfig, StoreError, Survivors};

mod collection;
mod counting;
mod crash;
mod disk_contract;
mod full;
mod golden;
mod holding;
mod interleavings;
mod model;
mod properties;
mod reading;
mod recovery;
mod rewriting;
mod scrub;
mod threads;

/// Segments of 4 KiB: a handful of test chunks each.
const SMALL: StoreConfig = StoreConfig {
    segment_bytes: 4 << 10,
    index_cache_bytes: 1 << 20,
    quota: None,
    reserve: None,
    garbage_max_percent: 10,
};
const UPLOAD: PinId = PinId([1; 16]);

/// A chunk with its frame.
#[derive(Clone, Debug)]
struct Chunk {
    hash: ChunkHash,
    raw: Vec<u8>,
    frame: Vec<u8>,
}

impl Chunk {
    /// The `n`th test chunk: about 900 bytes that do not compress.
    fn nth(n: u32) -> Self {
        Self::of_len(n, 850 + n as usize % 100)
    }

    fn of_len(n: u32, len: usize) -> Self {
        let mut state = u64::from(n) + 1;
        let raw: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 56) as u8
        })
        .take(len)
        .collect();
        let frame = Compressor::new().compress(&raw);
        Self {
            hash: ChunkHash::of(&raw),
            raw,
            frame,
        }
    }

    fn put_form(&self) -> (ChunkHash, u32, &[u8]) {
        (self.hash, self.raw.len() as u32, &self.frame)
    }
}

fn chunks(numbers: impl IntoIterator<Item = u32>) -> Vec<Chunk> {
    numbers.into_iter().map(Chunk::nth).collect()
}

fn hashes(chunks: &[Chunk]) -> Vec<ChunkHash> {
    chunks.iter().map(|chunk| chunk.hash).collect()
}

fn manifest_of(chunks: &[Chunk]) -> Manifest {
    let nar: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.raw.clone()).collect();
    Manifest {
        nar_hash: NarHash::of(&nar),
        nar_size: nar.len() as u64,
        chunks: chunks
            .iter()
            .map(|chunk| ManifestChunk {
                hash: chunk.hash,
                raw_len: chunk.raw.len() as u32,
            })
            .collect(),
    }
}

/// A store on a memory disk.
struct World {
    disk: Arc<MemoryDisk>,
    config: StoreConfig,
    store: ChunkStore,
}

impl World {
    fn new() -> Self {
        Self::with(SMALL)
    }

    fn with(config: StoreConfig) -> Self {
        let disk = Arc::new(MemoryDisk::new());
        let store = ChunkStore::open(disk.clone(), config).expect("an empty disk opens");
        Self { disk, config, store }
    }

    /// Stops the machine and opens the store again.
    fn restart(&mut self, survivors: Survivors) {
        self.disk.restart(survivors);
        self.reopen();
    }

    fn reopen(&mut self) {
        self.store = ChunkStore::open(self.disk.clone(), self.config).expect("the store opens again");
    }

    fn put(&self, chunks: &[Chunk]) {
        put(&self.store, chunks).expect("there is room");
    }

    /// Puts chunks and a manifest of them, durably.
    fn publish(&self, chunks: &[Chunk]) -> ManifestHash {
        self.put(chunks);
        let manifest = self
            .store
            .put_manifest(&manifest_of(chunks))
            .expect("there is room");
        self.store.flush().expect("the disk works");
        manifest
    }

    fn collect(&self, live: &[ManifestHash]) -> CollectReport {
        collect(&self.store, live).expect("the disk works")
    }

    #[track_caller]
    fn assert_readable(&self, chunks: &[Chunk]) {
        assert_readable(&self.store, chunks);
    }

    #[track_caller]
    fn assert_absent(&self, chunks: &[Chunk]) {
        for chunk in chunks {
            assert!(!self.store.contains(&chunk.hash).unwrap());
            assert!(matches!(
                self.store.read_chunk(&chunk.hash),
                Err(StoreError::ChunkAbsent { .. })
            ));
        }
    }

    fn segments(&self) -> Vec<String> {
        let mut names = crate::Disk::list(self.disk.as_ref()).unwrap();
        names.retain(|name| name.ends_with(".pack"));
        names
    }
}

fn put(store: &ChunkStore, chunks: &[Chunk]) -> Result<crate::PutReport, StoreError> {
    store.put(&chunks.iter().map(Chunk::put_form).collect::<Vec<_>>())
}

fn collect(store: &ChunkStore, live: &[ManifestHash]) -> Result<CollectReport, StoreError> {
    store.collect(|| Ok(live.iter().map(|manifest| Ok::<_, MarkError>(*manifest))))
}

#[track_caller]
fn assert_readable(store: &ChunkStore, chunks: &[Chunk]) {
    let frames = store.read_frames(&hashes(chunks)).expect("all chunks are here");
    for (chunk, frame) in chunks.iter().zip(frames) {
        assert_eq!(frame, chunk.frame);
        assert_eq!(store.read_chunk(&chunk.hash).unwrap(), chunk.raw);
    }
}

/// Everything that can be read in the store must be whole; returns what is there of `universe`.
#[track_caller]
fn readable(store: &ChunkStore, universe: &[Chunk]) -> BTreeSet<ChunkHash> {
    let mut found = BTreeSet::new();
    for chunk in universe {
        match store.read_chunk(&chunk.hash) {
            Ok(raw) => {
                assert_eq!(raw, chunk.raw);
                found.insert(chunk.hash);
            }
            Err(StoreError::ChunkAbsent { .. }) => {}
            Err(error) => panic!("{} is half there: {error}", chunk.hash),
        }
    }
    found
}
