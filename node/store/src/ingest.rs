//! Puts chunks and manifests into packs.
//!
//! Encoding and checksums happen before the lock, so that threads share only the copy into the
//! page cache. Under the lock presence is looked up once more, which is how two threads that put
//! one chunk store it once.

use std::collections::HashSet;

use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::frame::FRAME_LEN_MAX;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::manifest::Manifest;

use crate::catalog::Entry;
use crate::error::StoreError;
use crate::record::{Key, Slot};
use crate::store::{ChunkStore, Inner};
use crate::writer::{Batch, Writer};

/// Records are appended in batches of about this size.
const BATCH_BYTES: usize = 4 << 20;
/// Waiting entries beyond which a put flushes by itself: bounds the overlay's memory to a few MiB.
const PENDING_MAX: usize = 32 << 10;
/// The largest manifest: a NAR of about 2 TB.
const MANIFEST_LEN_MAX: usize = 1 << 30;

/// What [`ChunkStore::put`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutReport {
    /// Chunks that were appended.
    pub stored: u64,
    /// Chunks that were here already.
    pub present: u64,
    /// Bytes of the appended frames.
    pub stored_bytes: u64,
}

/// For whom bytes are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Held to the quota, and to leave some of the disk for collection.
    Ingest,
    /// May use the last of the disk, since it frees more than it takes.
    Collection,
}

impl ChunkStore {
    /// Appends frames that the caller has verified: (chunk, raw length, frame). Those already here
    /// are skipped; a corrupt one is replaced. Readers see them at once; they are durable after the
    /// next [`ChunkStore::flush`]. Pin the chunks first: a collection takes what nothing protects.
    ///
    /// # Errors
    /// [`StoreError::Full`] when disk or quota have no room, [`StoreError::Invalid`] for a frame or
    /// length that no chunk has, otherwise [`StoreError::Disk`] or [`StoreError::Index`]. A part of
    /// the frames may have been stored, each of them whole.
    pub fn put<B: AsRef<[u8]>>(&self, frames: &[(ChunkHash, u32, B)]) -> Result<PutReport, StoreError> {
        for (chunk, raw_len, frame) in frames {
            check_chunk(chunk, *raw_len, frame.as_ref())?;
        }
        let mut report = PutReport::default();
        let mut rest = frames;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take_while(|(_, _, frame)| {
                bytes += frame.as_ref().len();
                bytes <= BATCH_BYTES
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            self.inner.put_batch(now, &mut report)?;
            rest = later;
        }
        if self.inner.catalog.pending_len() > PENDING_MAX {
            self.inner.flush(true)?;
        }
        Ok(report)
    }

    /// Appends a manifest under the same rules as [`ChunkStore::put`], and returns its name.
    ///
    /// # Errors
    /// As [`ChunkStore::put`].
    pub fn put_manifest(&self, manifest: &Manifest) -> Result<ManifestHash, StoreError> {
        let bytes = manifest.encode();
        let hash = ManifestHash::of(&bytes);
        let len = u32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= MANIFEST_LEN_MAX);
        let Some(len) = len else {
            return Err(StoreError::Invalid {
                object: format!("manifest {hash}"),
                what: "it is larger than 1 GiB",
            });
        };
        let key = Key::Manifest(hash);
        let (known, generation) = self.inner.catalog.get_many(&[key])?;
        if matches!(known[..], [Entry::Present(_)]) {
            return Ok(hash);
        }
        let mut batch = Batch::default();
        batch.push(key, len, &bytes, len);
        self.inner
            .append_new(&batch, known, generation, &mut PutReport::default())?;
        Ok(hash)
    }
}

impl Inner {
    fn put_batch<B: AsRef<[u8]>>(
        &self,
        frames: &[(ChunkHash, u32, B)],
        report: &mut PutReport,
    ) -> Result<(), StoreError> {
        let keys: Vec<Key> = frames.iter().map(|(chunk, _, _)| Key::Chunk(*chunk)).collect();
        let (known, generation) = self.catalog.get_many(&keys)?;
        let mut batch = Batch::default();
        let mut batch_known = Vec::new();
        let mut seen = HashSet::new();
        for ((key, entry), (_, raw_len, frame)) in keys.iter().zip(known).zip(frames) {
            if matches!(entry, Entry::Present(_)) || !seen.insert(*key) {
                report.present += 1;
                continue;
            }
            let frame = frame.as_ref();
            let frame_len = u32::try_from(frame.len()).expect("check_chunk has limited the frame");
            batch.push(*key, *raw_len, frame, frame_len);
            batch_known.push(entry);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.append_new(&batch, batch_known, generation, report)
    }

    /// Appends those records of a batch that have no intact record yet.
    fn append_new(
        &self,
        batch: &Batch,
        known: Vec<Entry>,
        generation: u64,
        report: &mut PutReport,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let known = self.catalog.refresh(&batch.keys(), known, generation)?;
        let keep: Vec<bool> = known
            .iter()
            .map(|entry| !matches!(entry, Entry::Present(_)))
            .collect();
        report.present += keep.iter().filter(|keep| !**keep).count() as u64;
        let appended = self.append(&mut writer, batch, &keep, Purpose::Ingest, |at| {
            known[at] == Entry::Absent
        })?;
        report.stored += appended.len() as u64;
        report.stored_bytes += appended.iter().map(|slot| u64::from(slot.frame_len)).sum::<u64>();
        Ok(())
    }

    /// Appends under the writer's lock and makes the records visible. `is_new` tells of a record of
    /// the batch whether its key had no place before.
    pub(crate) fn append(
        &self,
        writer: &mut Writer,
        batch: &Batch,
        keep: &[bool],
        purpose: Purpose,
        is_new: impl Fn(usize) -> bool,
    ) -> Result<Vec<Slot>, StoreError> {
        let needed = batch.kept_len(keep);
        if purpose == Purpose::Ingest && needed > 0 {
            let free = self.room(writer)?;
            if needed > free {
                return Err(StoreError::Full { free, needed });
            }
        }
        let mut slots = Vec::new();
        let appended = writer.append(batch, keep, |run| {
            let placed: Vec<_> = run
                .iter()
                .map(|(at, key, slot)| (*key, *slot, is_new(*at)))
                .collect();
            self.catalog.insert(&placed);
            slots.extend(run.iter().map(|(_, _, slot)| *slot));
        });
        match appended {
            Ok(()) => Ok(slots),
            Err(error) => Err(self.with_numbers(error, needed)),
        }
    }

    /// Bytes that an ingest may still append.
    pub(crate) fn room(&self, writer: &Writer) -> Result<u64, StoreError> {
        let free = self
            .disk
            .free()
            .map_err(|source| StoreError::disk("measure", ".", source))?;
        let room = free.saturating_sub(self.reserve());
        let Some(quota) = self.config.quota else {
            return Ok(room);
        };
        let used = writer.used.saturating_add(self.catalog.index.bytes()?);
        Ok(room.min(quota.saturating_sub(used)))
    }

    /// What ingest leaves of the disk, so that the index can take a collection's changes and sparse
    /// segments can be rewritten: a quarter of a segment at least.
    fn reserve(&self) -> u64 {
        let least = self.config.segment_bytes / 4;
        self.config.reserve.map_or(least, |reserve| reserve.max(least))
    }

    /// Puts the figures into an error that says the disk is full.
    pub(crate) fn with_numbers(&self, error: StoreError, needed: u64) -> StoreError {
        match error {
            StoreError::Full { .. } => StoreError::Full {
                free: self.disk.free().unwrap_or(0).min(needed),
                needed,
            },
            error => error,
        }
    }
}

fn check_chunk(chunk: &ChunkHash, raw_len: u32, frame: &[u8]) -> Result<(), StoreError> {
    let what = if raw_len == 0 || raw_len as usize > CHUNK_MAX {
        "its raw length is not that of a chunk"
    } else if frame.is_empty() || frame.len() > FRAME_LEN_MAX {
        "its frame's length is not that of a frame"
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid {
        object: format!("chunk {chunk}"),
        what,
    })
}
