//! What can go wrong with blobs.

use std::io;
use std::path::PathBuf;

use tetryx_link::LinkError;
use tetryx_protocol::id::NodeId;

use crate::BlobHash;

/// Why an operation on blobs failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The blob store cannot be opened, read or written.
    #[error("cannot {operation} the blob store in {}: {reason}; check the disk and its permissions", dir.display())]
    Store {
        /// The operation in the infinitive, such as "open".
        operation: &'static str,
        /// The store's directory.
        dir: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// A file of ours cannot be read or written.
    #[error("cannot {operation} {}", file.display())]
    File {
        /// The operation in the infinitive, such as "sync".
        operation: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The other node cannot be reached, or refuses.
    #[error("blob {} cannot be asked for", hash.fmt_short())]
    Link {
        /// The blob.
        hash: BlobHash,
        /// What the link said.
        #[source]
        source: LinkError,
    },
    /// The transfer broke off. What arrived is kept: the next fetch asks for the rest.
    #[error(
        "blob {} from node {} broke off: {reason}; fetch it again, what arrived is kept",
        hash.fmt_short(),
        node.fmt_short()
    )]
    BrokenOff {
        /// The blob.
        hash: BlobHash,
        /// Who was asked.
        node: NodeId,
        /// What broke.
        reason: String,
    },
    /// What was put together is not the blob: bytes on this node's disk were lost or changed. It is thrown away.
    #[error("blob {}: what was kept of it on disk is damaged and was thrown away; fetch it again", hash.fmt_short())]
    Damaged {
        /// The blob.
        hash: BlobHash,
    },
    /// A thread that worked on a file was stopped: the program is shutting down, or there is a fault in it.
    #[error("work on a blob was interrupted ({0}); try again")]
    Interrupted(String),
}

impl BlobError {
    pub(crate) fn file(operation: &'static str, file: &std::path::Path, source: io::Error) -> Self {
        Self::File {
            operation,
            file: file.to_owned(),
            source,
        }
    }
}
