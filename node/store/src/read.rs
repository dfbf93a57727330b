//! Reads records back, many at a time.
//!
//! # Invariants
//! - No byte leaves here whose record does not match its checksum and the key it was asked for by.
//! - A record that fails is remembered as damaged: from then on it counts as missing for uploads,
//!   so that it is sent again.

use std::io;

use bytes::Bytes;
use tetryx_protocol::frame::FrameOpener;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::manifest::Manifest;

use crate::catalog::{Entry, absent, corrupt};
use crate::error::StoreError;
use crate::record::{Key, RECORD_HEADER_LEN, Slot, is_intact, segment_name};
use crate::store::{ChunkStore, Inner, chunk_keys};

/// The most bytes read by one system call, unless one record is larger.
const READ_BYTES: u64 = 1 << 20;
/// Bytes between two records that are cheaper to read than to skip.
const GAP_BYTES: u64 = 16 << 10;
/// How often a read starts over because a record has moved in between.
const MOVES_MAX: u32 = 8;

impl ChunkStore {
    /// The frames of chunks, in the order asked for. Neighbours on the disk are read together and
    /// share one buffer, which lives as long as any of its frames: ask for about a MiB at a time.
    ///
    /// # Errors
    /// [`StoreError::ChunkAbsent`], [`StoreError::Corrupt`], [`StoreError::Disk`] or
    /// [`StoreError::Index`].
    pub fn read_frames(&self, chunks: &[ChunkHash]) -> Result<Vec<Bytes>, StoreError> {
        self.inner.read_payloads(&chunk_keys(chunks))
    }

    /// The raw bytes of a chunk, checked against its name.
    ///
    /// # Errors
    /// As [`ChunkStore::read_frames`], and [`StoreError::Frame`] when the frame holds something
    /// else.
    pub fn read_chunk(&self, chunk: &ChunkHash) -> Result<Vec<u8>, StoreError> {
        let key = Key::Chunk(*chunk);
        let Some(slot) = self.inner.catalog.get(&key)?.slot() else {
            return Err(absent(&key));
        };
        let frames = self.inner.read_payloads(&[key])?;
        let mut opener = FrameOpener::new();
        match opener.open(&frames.concat(), *chunk, slot.raw_len) {
            Ok(raw) => Ok(raw.to_vec()),
            Err(source) => {
                self.inner.catalog.damage(&key, &slot);
                Err(StoreError::Frame {
                    chunk: *chunk,
                    source,
                })
            }
        }
    }

    /// A manifest, checked against its name.
    ///
    /// # Errors
    /// [`StoreError::ManifestAbsent`], [`StoreError::CorruptManifest`], [`StoreError::Disk`] or
    /// [`StoreError::Index`].
    pub fn manifest(&self, manifest: &ManifestHash) -> Result<Manifest, StoreError> {
        self.inner.read_manifest(manifest)
    }
}

/// Why a group of records could not be read.
enum GroupError {
    /// They lie elsewhere by now, or nowhere.
    Moved,
    Failed(StoreError),
}

impl Inner {
    pub(crate) fn read_manifest(&self, manifest: &ManifestHash) -> Result<Manifest, StoreError> {
        let key = Key::Manifest(*manifest);
        let bytes = self.read_payloads(&[key])?.concat();
        if ManifestHash::of(&bytes) == *manifest
            && let Ok(manifest) = Manifest::decode(&bytes)
        {
            return Ok(manifest);
        }
        match self.catalog.get(&key)?.slot() {
            Some(slot) => Err(self.catalog.damage(&key, &slot)),
            None => Err(absent(&key)),
        }
    }

    /// The payloads of records, in the order asked for.
    pub(crate) fn read_payloads(&self, keys: &[Key]) -> Result<Vec<Bytes>, StoreError> {
        let mut attempt = 0;
        loop {
            match self.try_read(keys) {
                Ok(payloads) => return Ok(payloads),
                Err(GroupError::Failed(error)) => return Err(error),
                Err(GroupError::Moved) if attempt < MOVES_MAX => attempt += 1,
                Err(GroupError::Moved) => {
                    let source = io::Error::from(io::ErrorKind::NotFound);
                    return Err(StoreError::disk("open", "a segment the index names", source));
                }
            }
        }
    }

    fn try_read(&self, keys: &[Key]) -> Result<Vec<Bytes>, GroupError> {
        let (entries, _) = self.catalog.get_many(keys).map_err(GroupError::Failed)?;
        let mut wanted = Vec::with_capacity(keys.len());
        for (at, (key, entry)) in keys.iter().zip(entries).enumerate() {
            match entry {
                Entry::Present(slot) => wanted.push((slot, at)),
                Entry::Absent => return Err(GroupError::Failed(absent(key))),
                Entry::Damaged(slot) => return Err(GroupError::Failed(corrupt(key, &slot))),
            }
        }
        wanted.sort_unstable_by_key(|(slot, _)| (slot.segment, slot.offset));
        let mut payloads = vec![Bytes::new(); keys.len()];
        let mut rest = &wanted[..];
        while let Some((first, _)) = rest.first() {
            let (group, later) = rest.split_at(group_len(rest));
            self.read_group(first, group, keys, &mut payloads)?;
            rest = later;
        }
        Ok(payloads)
    }

    /// Reads records that lie close together in one segment.
    fn read_group(
        &self,
        first: &Slot,
        group: &[(Slot, usize)],
        keys: &[Key],
        payloads: &mut [Bytes],
    ) -> Result<(), GroupError> {
        let start = u64::from(first.offset);
        let end = group.iter().map(|(slot, _)| slot.end()).max().unwrap_or(start);
        let failed = |operation, source| {
            GroupError::Failed(StoreError::disk(operation, &segment_name(first.segment), source))
        };
        let file = match self.segments.file(first.segment) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(GroupError::Moved),
            Err(source) => return Err(failed("open", source)),
        };
        let mut buffer = vec![0; usize::try_from(end - start).expect("a group of records fits the memory")];
        let read = file
            .read_at(start, &mut buffer)
            .map_err(|source| failed("read", source))?;
        buffer.truncate(read);
        let buffer = Bytes::from(buffer);
        for (slot, at) in group {
            let from = (slot.offset - first.offset) as usize;
            let to = from + RECORD_HEADER_LEN as usize + slot.frame_len as usize;
            let record = buffer.get(from..to).unwrap_or_default();
            if !is_intact(record, &keys[*at], slot) {
                // A segment whose sync failed is cut after its records have moved.
                let now = self.catalog.get(&keys[*at]).map_err(GroupError::Failed)?.slot();
                return Err(match now == Some(*slot) {
                    true => GroupError::Failed(self.catalog.damage(&keys[*at], slot)),
                    false => GroupError::Moved,
                });
            }
            payloads[*at] = buffer.slice(from + RECORD_HEADER_LEN as usize..to);
        }
        Ok(())
    }
}

/// How many of the records, which are sorted by place, to read together.
fn group_len(wanted: &[(Slot, usize)]) -> usize {
    let Some((first, _)) = wanted.first() else {
        return 0;
    };
    let mut end = first.end();
    let fitting = wanted.iter().take_while(|(slot, _)| {
        let joins = slot.segment == first.segment
            && u64::from(slot.offset) <= end + GAP_BYTES
            && slot.end() - u64::from(first.offset) <= READ_BYTES.max(first.record_len());
        end = end.max(slot.end());
        joins
    });
    fitting.count()
}
