//! The store's parts and its public face; the work is done in the modules beside this one.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::time::UtcTime;

use crate::catalog::{Catalog, Entry};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::flush::Progress;
use crate::pins::{Hold, PinContents, PinId, PinInfo, PinTable};
use crate::record::Key;
use crate::rewrite::Plan;
use crate::segments::Segments;
use crate::writer::Writer;

/// How a store uses its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Size at which a segment is closed and the next one begun; 4 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// Memory for the index's page cache.
    pub index_cache_bytes: u64,
    /// The most bytes that packs and index may take; `None` leaves it to the disk.
    pub quota: Option<u64>,
    /// Bytes of the disk that are left to others; `None` leaves a quarter of a segment.
    pub reserve: Option<u64>,
    /// The share of the packs that may be garbage after a collection and its rewriting, in percent. Less
    /// means that more live records are copied to free the same.
    pub garbage_max_percent: u8,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            index_cache_bytes: 32 << 20,
            quota: None,
            reserve: None,
            garbage_max_percent: 10,
        }
    }
}

/// Where a chunk lies. Good for planning; it may move at any time, so read by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The segment's number.
    pub segment: u32,
    /// Where its record begins in the segment.
    pub offset: u64,
    /// Length of the stored frame in bytes.
    pub frame_len: u32,
    /// Length of the chunk before compression in bytes.
    pub raw_len: u32,
}

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Chunks that can be named.
    pub chunks: u64,
    /// Manifests that can be named.
    pub manifests: u64,
    /// Chunks and manifests among them that are known to be corrupt.
    pub damaged: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of the segments, with what a collection could free.
    pub pack_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Pins.
    pub pins: u64,
    /// Chunks and manifests that pins and holds protect.
    pub pinned: u64,
    /// Bytes that may still be put: limited by the disk, the quota and what is kept back.
    pub free_bytes: u64,
}

/// A node's chunks and manifests. All methods block on the disk and may be called from any thread;
/// clones share one store.
#[derive(Clone, Debug)]
pub struct ChunkStore {
    pub(crate) inner: Arc<Inner>,
}

/// Locks are taken in this order, never the other way round: `collecting`, `writer`, `pins`,
/// the catalog's, the segments'. `progress` is held across none of them.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: StoreConfig,
    pub(crate) segments: Segments,
    pub(crate) catalog: Catalog,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) pins: Arc<Mutex<PinTable>>,
    pub(crate) progress: Mutex<Progress>,
    pub(crate) flushed: Condvar,
    pub(crate) collecting: Mutex<Plan>,
}

impl ChunkStore {
    /// Opens the store on a disk, creating it when the disk is empty. Repairs what a crash left:
    /// torn tails are cut off, and whatever the index lacks is read from the packs.
    ///
    /// # Errors
    /// [`StoreError::Disk`], [`StoreError::Index`], [`StoreError::Full`] or
    /// [`StoreError::NewerFormat`].
    pub fn open(disk: Arc<dyn Disk>, config: StoreConfig) -> Result<Self, StoreError> {
        let config = StoreConfig {
            segment_bytes: config.segment_bytes.clamp(4 << 10, 1 << 30),
            ..config
        };
        Ok(Self {
            inner: Arc::new(Inner::recover(disk, config)?),
        })
    }

    /// Whether the chunk is here and, as far as is known, intact.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn contains(&self, chunk: &ChunkHash) -> Result<bool, StoreError> {
        Ok(matches!(
            self.inner.catalog.get(&Key::Chunk(*chunk))?,
            Entry::Present(_)
        ))
    }

    /// As [`ChunkStore::contains`], for a manifest.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn contains_manifest(&self, manifest: &ManifestHash) -> Result<bool, StoreError> {
        Ok(matches!(
            self.inner.catalog.get(&Key::Manifest(*manifest))?,
            Entry::Present(_)
        ))
    }

    /// Where each chunk lies; `None` for those that are not here.
    ///
    /// # Errors
    /// [`StoreError::Index`].
    pub fn locate(&self, chunks: &[ChunkHash]) -> Result<Vec<Option<Location>>, StoreError> {
        let (entries, _) = self.inner.catalog.get_many(&chunk_keys(chunks))?;
        let locations = entries.into_iter().map(|entry| {
            entry.slot().map(|slot| Location {
                segment: slot.segment,
                offset: u64::from(slot.offset),
                frame_len: slot.frame_len,
                raw_len: slot.raw_len,
            })
        });
        Ok(locations.collect())
    }

    /// Protects chunks from collection, whether they are here yet or not, until
    /// [`ChunkStore::unpin`]. Durable with the next [`ChunkStore::flush`].
    pub fn pin(&self, pin: &PinId, chunks: &[ChunkHash]) {
        self.inner
            .pins
            .lock()
            .pin(pin, chunks.iter().map(|chunk| Key::Chunk(*chunk)));
    }

    /// As [`ChunkStore::pin`], for manifests. A manifest's chunks are pinned by themselves.
    pub fn pin_manifests(&self, pin: &PinId, manifests: &[ManifestHash]) {
        self.inner
            .pins
            .lock()
            .pin(pin, manifests.iter().map(|manifest| Key::Manifest(*manifest)));
    }

    /// Notes when a pin's owner was last heard of, for whoever expires pins; makes the pin if there
    /// is none.
    pub fn touch(&self, pin: &PinId, now: UtcTime) {
        self.inner.pins.lock().touch(pin, now);
    }

    /// Releases a pin. Call it only once the record that refers to its chunks is applied here, or
    /// will never be.
    pub fn unpin(&self, pin: &PinId) {
        self.inner.pins.lock().unpin(pin);
    }

    /// All pins, those of former runs included.
    #[must_use]
    pub fn pins(&self) -> Vec<PinInfo> {
        self.inner.pins.lock().infos()
    }

    /// What each pin protects. For whoever checks that it is protected.
    #[must_use]
    pub fn pinned(&self) -> Vec<PinContents> {
        self.inner.pins.lock().contents()
    }

    /// Protects chunks while a read lasts; not stored.
    pub fn hold(&self, chunks: &[ChunkHash]) -> Hold {
        PinTable::hold(&self.inner.pins, chunk_keys(chunks))
    }

    /// Pins the chunks, then tells which of them are not here (or corrupt) and have to be sent.
    /// Whatever is not named stays until the pin is released.
    ///
    /// # Errors
    /// [`StoreError::Index`]; the chunks are pinned even so.
    pub fn missing(&self, pin: &PinId, chunks: &[ChunkHash]) -> Result<Vec<ChunkHash>, StoreError> {
        self.pin(pin, chunks);
        self.absent(chunks)
    }

    /// Which of the chunks are not here or corrupt. Says nothing about the next moment: only what
    /// was pinned before stays.
    pub(crate) fn absent(&self, chunks: &[ChunkHash]) -> Result<Vec<ChunkHash>, StoreError> {
        let (entries, _) = self.inner.catalog.get_many(&chunk_keys(chunks))?;
        let absent = chunks
            .iter()
            .zip(entries)
            .filter(|(_, entry)| !matches!(entry, Entry::Present(_)));
        Ok(absent.map(|(chunk, _)| *chunk).collect())
    }

    /// What the store holds.
    ///
    /// # Errors
    /// [`StoreError::Disk`] when the disk cannot be asked.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let index_bytes = self.inner.catalog.index.bytes()?;
        let writer = self.inner.writer.lock();
        let free_bytes = self.inner.room(&writer)?;
        let (segments, pack_bytes) = (writer.segments, writer.used);
        drop(writer);
        let (pins, pinned) = self.inner.pins.lock().totals();
        let (chunks, manifests, damaged) = self.inner.catalog.counts();
        Ok(StoreStats {
            chunks,
            manifests,
            damaged,
            segments,
            pack_bytes,
            index_bytes,
            pins,
            pinned,
            free_bytes,
        })
    }
}

pub(crate) fn chunk_keys(chunks: &[ChunkHash]) -> Vec<Key> {
    chunks.iter().map(|chunk| Key::Chunk(*chunk)).collect()
}
