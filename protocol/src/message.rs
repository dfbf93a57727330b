//! Messages between nodes: postcard in an envelope, each kind with a magic of its own.
//!
//! Fields and variants are append-only. A reader that meets what it does not know says so by
//! [`MessageError::NeedsUpgrade`] or [`MessageError::Payload`]; it never guesses.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{self, EnvelopeError};

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than any message of the kind.
    #[error("{what}: {len} bytes; expected at most {max}")]
    TooLong {
        /// The kind.
        what: &'static str,
        /// Its bytes.
        len: usize,
        /// The most it may have.
        max: usize,
    },
    /// Written by a newer version.
    #[error("{what} was written by a newer version; upgrade this node")]
    NeedsUpgrade {
        /// The kind.
        what: &'static str,
        /// What the envelope says.
        #[source]
        source: EnvelopeError,
    },
    /// Not an envelope of the kind, or a damaged one.
    #[error("{what} is damaged or something else")]
    Envelope {
        /// The kind.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: EnvelopeError,
    },
    /// The envelope is whole, but what is in it is no such message.
    #[error("{what}: {reason}")]
    Payload {
        /// The kind.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// What is sent between nodes in an envelope of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The kind, for people.
    const WHAT: &'static str;
    /// The first four bytes.
    const MAGIC: [u8; 4];
    /// The schema written and the newest one read.
    const SCHEMA: u16 = 1;
    /// The lowest schema a reader must know.
    const MIN_READER: u16 = 1;
    /// The most bytes of an encoded message.
    const LEN_MAX: usize;

    /// What the types alone do not promise about a message that came from elsewhere.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The bytes to send.
    fn encode(&self) -> Vec<u8> {
        let payload = postcard::to_allocvec(self).expect("no message has a serializer that fails");
        envelope::seal(Self::MAGIC, Self::SCHEMA, Self::MIN_READER, &payload)
    }

    /// Reads what was sent.
    ///
    /// # Errors
    /// [`MessageError`], in this order of precedence: too long, envelope, newer version, payload.
    fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let what = Self::WHAT;
        if bytes.len() > Self::LEN_MAX {
            return Err(MessageError::TooLong {
                what,
                len: bytes.len(),
                max: Self::LEN_MAX,
            });
        }
        let opened = envelope::open(Self::MAGIC, Self::SCHEMA, bytes);
        let (_schema, payload) = opened.map_err(|source| match source {
            EnvelopeError::NeedsUpgrade { .. } => MessageError::NeedsUpgrade { what, source },
            _ => MessageError::Envelope { what, source },
        })?;
        let refused = |reason: String| MessageError::Payload { what, reason };
        let (message, rest): (Self, _) =
            postcard::take_from_bytes(payload).map_err(|error| refused(error.to_string()))?;
        if !rest.is_empty() {
            return Err(refused(format!("{} bytes follow it", rest.len())));
        }
        message.check().map_err(refused)?;
        Ok(message)
    }
}
