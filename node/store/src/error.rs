//! What can go wrong between the store and its disk.

use std::io;

use tetryx_protocol::frame::FrameError;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};

/// What the caller of [`ChunkStore::collect`](crate::ChunkStore::collect) may fail with while it
/// lists what is live.
pub type MarkError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation of the store failed. Nothing half-written is ever visible after an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk refused an operation for a reason other than space.
    #[error("cannot {operation} {file}; check the disk and the permissions of the data directory")]
    Disk {
        /// The operation in the infinitive, such as "write".
        operation: &'static str,
        /// The file's name inside the store's directory.
        file: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No room: the disk or the quota is exhausted. Reads and collection still work.
    #[error(
        "the chunk store is full: {needed} bytes needed, {free} free; raise store.quota or give the node more \
         disk, run a collection with 'tetryx-node gc --once', or shorten the retention of caches, then try again"
    )]
    Full {
        /// Bytes the store may still use, after what it keeps back for collection.
        free: u64,
        /// Bytes the refused operation needs.
        needed: u64,
    },
    /// The index failed. It holds nothing that the packs do not hold.
    #[error(
        "cannot {operation} the chunk index; if it persists, stop the node and delete index.redb: it is \
         rebuilt from the packs at the next start"
    )]
    Index {
        /// The operation in the infinitive, such as "read".
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A stored chunk no longer matches its checksum or its name.
    #[error(
        "chunk {chunk} in {segment} at byte {offset} is corrupt; push a path that holds it again to heal it"
    )]
    Corrupt {
        /// The chunk.
        chunk: ChunkHash,
        /// The pack that holds it.
        segment: String,
        /// Where its record begins.
        offset: u64,
    },
    /// A stored manifest no longer matches its checksum or its name.
    #[error(
        "manifest {manifest} in {segment} at byte {offset} is corrupt; push its path again to heal it, or \
         delete the path"
    )]
    CorruptManifest {
        /// The manifest.
        manifest: ManifestHash,
        /// The pack that holds it.
        segment: String,
        /// Where its record begins.
        offset: u64,
    },
    /// The chunk is not in this store.
    #[error("chunk {chunk} is not in this store; fetch it from another node or push it again")]
    ChunkAbsent {
        /// The chunk.
        chunk: ChunkHash,
    },
    /// The manifest is not in this store.
    #[error("manifest {manifest} is not in this store; fetch it from another node or push its path again")]
    ManifestAbsent {
        /// The manifest.
        manifest: ManifestHash,
    },
    /// The caller handed in a frame or manifest that cannot be one.
    #[error("refusing to store {object}: {what}; this is a fault of the program that made it")]
    Invalid {
        /// The chunk or manifest.
        object: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A frame that passes its checksum does not open to the chunk it is named after.
    #[error("chunk {chunk} does not open; push a path that holds it again to heal it")]
    Frame {
        /// The chunk.
        chunk: ChunkHash,
        /// What the frame failed.
        #[source]
        source: FrameError,
    },
    /// A pack was written by a newer version.
    #[error("{segment} has format version {version}, this program reads up to {known}; upgrade it")]
    NewerFormat {
        /// The pack.
        segment: String,
        /// Its version.
        version: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// The disk dropped bytes it had accepted, so nothing put so far may be called durable.
    #[error(
        "the disk lost {lost} chunks it had accepted but not yet made durable; check the disk, restart \
         the node and push again"
    )]
    Lost {
        /// How many records are gone.
        lost: u64,
    },
    /// The caller could not list what is live, so nothing was collected.
    #[error("cannot list the live manifests; nothing was collected")]
    Mark {
        /// What the caller said.
        #[source]
        source: MarkError,
    },
}

impl StoreError {
    /// Wraps an error of the disk; running out of space becomes [`StoreError::Full`].
    pub(crate) fn disk(operation: &'static str, file: &str, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::Full { free: 0, needed: 1 };
        }
        Self::Disk {
            operation,
            file: file.to_owned(),
            source,
        }
    }

    /// Wraps an error of the index; running out of space becomes [`StoreError::Full`].
    pub(crate) fn index(operation: &'static str, source: impl Into<redb::Error>) -> Self {
        match source.into() {
            redb::Error::Io(source) if is_full(&source) => Self::Full { free: 0, needed: 1 },
            source => Self::Index {
                operation,
                source: Box::new(source),
            },
        }
    }

    /// Whether the disk or the quota has no room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// Whether the system refused for want of space.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
