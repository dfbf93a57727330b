//! What can go wrong with the outbox.

use std::io;

/// Why the outbox cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    #[error("{action} the outbox failed; check that the disk of the data directory has space and works")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the outbox file {file} is damaged at byte {offset}, and pushes that were taken stand behind it; restore it \
         from a backup, or remove it and push again what was taken"
    )]
    Damaged { file: String, offset: u64 },
    #[error("the outbox file {file} was written by a newer version; upgrade this node")]
    NeedsUpgrade { file: String },
    #[error(
        "the outbox could not be brought back in order after a failed write; check the disk, then start the node again: \
         what was taken before is kept"
    )]
    Broken,
    #[error("{max} paths wait for the cluster already; push again when it can be reached")]
    Full { max: usize },
}

impl OutboxError {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            Self::Full { .. } => true,
            Self::Damaged { .. } | Self::NeedsUpgrade { .. } | Self::Broken => false,
        }
    }
}
