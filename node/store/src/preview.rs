//! What a collection would take.
//!
//! # Invariants
//! - Nothing is removed, and no collection that runs is disturbed: this one waits for it.
//!
//! # Non-goals
//! - To be exact: what is written, pinned or released meanwhile changes the answer, and pack files give space back as far
//!   as they are rewritten.

use std::collections::BTreeSet;

use tetryx_protocol::hash::ManifestHash;

use crate::catalog::Entry;
use crate::error::{MarkError, StoreError};
use crate::record::{Key, Slot};
use crate::store::{ChunkStore, Inner};

/// Index entries looked at between two moments at which the locks are free.
const PAGE: usize = 1 << 10;

/// What is neither live nor protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Manifests.
    pub manifests: u64,
    /// Chunks.
    pub chunks: u64,
    /// What both take in the packs, in bytes.
    pub bytes: u64,
}

impl ChunkStore {
    /// Counts what [`ChunkStore::collect`] would remove if `manifests` were the live ones.
    ///
    /// # Errors
    /// As [`ChunkStore::collect`].
    pub fn preview(
        &self,
        manifests: impl IntoIterator<Item = Result<ManifestHash, MarkError>>,
    ) -> Result<Garbage, StoreError> {
        let inner = &*self.inner;
        let _no_collection = inner.collecting.lock();
        let mut live = BTreeSet::new();
        for manifest in manifests {
            let hash = manifest.map_err(|source| StoreError::Mark { source })?;
            let key = Key::Manifest(hash);
            if inner.catalog.get(&key)? == Entry::Absent {
                continue;
            }
            let chunks = inner.read_manifest(&hash)?.chunks;
            live.extend(chunks.iter().map(|chunk| Key::Chunk(chunk.hash)));
            live.insert(key);
        }
        let mut garbage = Garbage::default();
        let pending = inner.catalog.pending();
        let waiting: BTreeSet<Key> = pending.iter().map(|(key, _)| *key).collect();
        inner.count(&live, pending, &mut garbage)?;
        let mut after = None;
        loop {
            let mut page = inner.catalog.index.page(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(garbage);
            };
            after = Some(*last);
            page.retain(|(key, _)| !waiting.contains(key));
            inner.count(&live, page, &mut garbage)?;
        }
    }
}

impl Inner {
    /// Adds those of the entries that are still there, not live, and protected by nobody.
    fn count(
        &self,
        live: &BTreeSet<Key>,
        entries: Vec<(Key, Slot)>,
        garbage: &mut Garbage,
    ) -> Result<(), StoreError> {
        let mut dead: Vec<Key> = entries.into_iter().map(|(key, _)| key).collect();
        dead.retain(|key| !live.contains(key));
        {
            let pins = self.pins.lock();
            dead.retain(|key| !pins.protects(key));
        }
        let (known, _) = self.catalog.get_many(&dead)?;
        for (key, entry) in dead.iter().zip(known) {
            if let Some(slot) = entry.slot() {
                garbage.bytes += slot.record_len();
                match key {
                    Key::Chunk(_) => garbage.chunks += 1,
                    Key::Manifest(_) => garbage.manifests += 1,
                }
            }
        }
        Ok(())
    }
}
