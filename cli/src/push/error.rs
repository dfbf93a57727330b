//! Why a path could not be pushed, and what that means for the rest of the push.

use tetryx_protocol::api::ErrorName;
use thiserror::Error;

use crate::api::ClientError;

/// A failed upload or commit.
#[derive(Debug, Error)]
pub(crate) enum PushError {
    /// The server said no, or could not be reached.
    #[error(transparent)]
    Client(ClientError),
    /// The local path could not be read, or is not what the Nix database says.
    #[error("{0}")]
    Local(String),
    /// The other half of the pipeline stopped and has the reason.
    #[error("the upload was stopped")]
    Stopped,
}

impl PushError {
    /// Whether sending the same NAR again may work. What arrived is not sent twice.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Client(error) => {
                error.is_transient()
                    // A chunk that was there is gone, or was damaged on the way: ask again, send again.
                    || matches!(error.name(), Some(ErrorName::MissingChunk | ErrorName::CorruptChunk))
            }
            Self::Local(_) | Self::Stopped => false,
        }
    }

    /// Whether only this path is concerned, so that the push goes on with the others.
    pub(crate) fn concerns_one_path(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Client(error) => matches!(
                error.name(),
                Some(
                    ErrorName::NarHashMismatch
                        | ErrorName::NarSizeMismatch
                        | ErrorName::MissingReferences
                        | ErrorName::PathConflict
                        | ErrorName::TooLarge
                        | ErrorName::BadRequest
                        | ErrorName::InvalidStorePath
                )
            ),
            Self::Stopped => false,
        }
    }

    /// Whether the upload session has ended, so that the push has to begin a new one.
    pub(crate) fn session_is_gone(&self) -> bool {
        matches!(self, Self::Client(error) if error.name() == Some(ErrorName::NoSuchUpload))
    }
}
