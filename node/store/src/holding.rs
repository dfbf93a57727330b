//! How much of a NAR is here, asked under a hold.
//!
//! Somebody who relies on the answer (another node that drops its copy because this one has one) must not be told
//! "here" about chunks that a running collection is about to sweep. So the hold is taken before the look, and the
//! collection's argument ([`crate::collect`]) applies: either the chunks stay until the hold is released and the
//! collection over, or they are found missing.

use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::manifest::Manifest;

use crate::catalog::Entry;
use crate::error::StoreError;
use crate::pins::{Hold, PinTable};
use crate::record::Key;
use crate::store::{ChunkStore, chunk_keys};

/// A NAR whose manifest is here. What of it is here stays at least as long as this value.
#[derive(Debug)]
#[must_use = "what was found is protected only while this lives"]
pub struct HeldNar {
    /// Its manifest.
    pub manifest: Manifest,
    /// The chunks that are not here or corrupt, each once, in the order of the NAR.
    pub missing: Vec<ChunkHash>,
    /// The length of each frame in the order of the manifest, 0 for those that are missing.
    pub frame_lens: Vec<u32>,
    _holds: [Hold; 2],
}

impl HeldNar {
    /// Whether every chunk is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The length of the file that the local frames make, in bytes. Means something only when the NAR is complete.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.frame_lens.iter().map(|len| u64::from(*len)).sum()
    }
}

impl ChunkStore {
    /// Looks how much of a NAR is here, and keeps that from collection while the answer lives. `None` when its
    /// manifest is not here or corrupt. Says nothing about durability: [`ChunkStore::flush`] first.
    ///
    /// # Errors
    /// [`StoreError::Disk`] or [`StoreError::Index`].
    pub fn hold_nar(&self, manifest: &ManifestHash) -> Result<Option<HeldNar>, StoreError> {
        let inner = &self.inner;
        let key = Key::Manifest(*manifest);
        let manifest_hold = PinTable::hold(&inner.pins, vec![key]);
        if !matches!(inner.catalog.get(&key)?, Entry::Present(_)) {
            return Ok(None);
        }
        let manifest = match inner.read_manifest(manifest) {
            Ok(manifest) => manifest,
            Err(StoreError::ManifestAbsent { .. } | StoreError::CorruptManifest { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut chunks: Vec<ChunkHash> = manifest.chunks.iter().map(|chunk| chunk.hash).collect();
        let chunk_hold = self.hold(&chunks);
        let (entries, _) = inner.catalog.get_many(&chunk_keys(&chunks))?;
        let frame_lens: Vec<u32> = entries
            .iter()
            .map(|entry| match entry {
                Entry::Present(slot) => slot.frame_len,
                Entry::Absent | Entry::Damaged(_) => 0,
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        let mut lens = frame_lens.iter();
        chunks.retain(|chunk| lens.next() == Some(&0) && seen.insert(*chunk));
        Ok(Some(HeldNar {
            manifest,
            missing: chunks,
            frame_lens,
            _holds: [manifest_hold, chunk_hold],
        }))
    }
}
