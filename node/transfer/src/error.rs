//! Why a fetch failed. Cheap to clone: everybody who waits for one fetch gets the same error.

use std::sync::Arc;

use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_store::StoreError;

/// Why a fetch failed. What had arrived is stored and flushed: the next fetch asks for the rest only.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// None of the providers has the manifest.
    #[error(
        "manifest {manifest}: none of the {asked} nodes asked has it; wait until a node that has it is back, or \
         push its path again"
    )]
    NoManifest {
        /// The manifest.
        manifest: ManifestHash,
        /// How many nodes were named.
        asked: usize,
    },
    /// None of the providers has a chunk.
    #[error(
        "chunk {chunk} of manifest {manifest}: none of the {asked} nodes asked has it intact; wait until a node \
         that has it is back, or push its path again"
    )]
    NoChunk {
        /// The manifest being fetched.
        manifest: ManifestHash,
        /// The first chunk that cannot be had.
        chunk: ChunkHash,
        /// How many nodes were named.
        asked: usize,
    },
    /// Nothing came for a while, from anybody.
    #[error(
        "manifest {manifest}: none of the {asked} nodes answers ({reason}); try again when one is reachable"
    )]
    Unreachable {
        /// The manifest being fetched.
        manifest: ManifestHash,
        /// How many nodes were named.
        asked: usize,
        /// What the last failure was.
        reason: String,
    },
    /// The store failed or is full.
    #[error("manifest {manifest}: what was fetched cannot be stored")]
    Store {
        /// The manifest being fetched.
        manifest: ManifestHash,
        /// What the store said.
        #[source]
        source: Arc<StoreError>,
    },
    /// The fetch was given up: the program is shutting down, or its task panicked.
    #[error("manifest {manifest}: the fetch was broken off; ask for it again")]
    BrokenOff {
        /// The manifest being fetched.
        manifest: ManifestHash,
    },
}

impl FetchError {
    pub(crate) fn store(manifest: ManifestHash, source: StoreError) -> Self {
        Self::Store {
            manifest,
            source: Arc::new(source),
        }
    }

    /// Whether the store has no room for what comes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_full())
    }
}
