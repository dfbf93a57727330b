//! Commands as bytes.

use tetryx_protocol::envelope::{self, EnvelopeError};
use tetryx_protocol::id::ProposalId;

use super::{Command, FEATURE_LEVEL, MAGIC};

/// Why bytes from the log are not a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A newer build wrote it.
    #[error(
        "this log entry was written for a newer version; upgrade this node, it keeps serving what it has"
    )]
    NeedsUpgrade(#[source] EnvelopeError),
    /// The envelope is damaged.
    #[error("this log entry is damaged; rebuild this replica from a snapshot of another one")]
    Envelope(#[source] EnvelopeError),
    /// The envelope is whole, but what is in it is no command.
    #[error("this log entry holds no command; rebuild this replica from a snapshot of another one")]
    Payload(#[source] postcard::Error),
    /// More bytes than the command.
    #[error(
        "{excess} bytes follow the command of this log entry; rebuild this replica from a snapshot of another one"
    )]
    Trailing {
        /// How many.
        excess: usize,
    },
}

impl Command {
    /// The bytes of the log entry.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_for(0)
    }

    /// The bytes of the log entry, which readers of a lower level than `level` are to leave alone. A command that
    /// needs a higher one by itself says so.
    pub fn encode_for(&self, level: u32) -> Vec<u8> {
        let payload = postcard::to_allocvec(self).expect("no command has a serializer that fails");
        // A command is written as the first build that knew it wrote it: the schema it needs is the one it has.
        let schema = self.body.min_reader().max(schema_of(level));
        envelope::seal(MAGIC, schema, schema, &payload)
    }

    /// The proposal that a log entry carries out, whatever level it was written for.
    pub fn proposal_of(bytes: &[u8]) -> Result<ProposalId, CommandError> {
        let (_schema, payload) = envelope::open(MAGIC, u16::MAX, bytes).map_err(CommandError::Envelope)?;
        let (proposal, _rest) = postcard::take_from_bytes(payload).map_err(CommandError::Payload)?;
        Ok(proposal)
    }

    /// Reads a log entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        Self::decode_at(FEATURE_LEVEL, bytes)
    }

    /// Reads a log entry as a node of this feature level does: what needs a higher one is
    /// [`CommandError::NeedsUpgrade`].
    pub fn decode_at(level: u32, bytes: &[u8]) -> Result<Self, CommandError> {
        let (_schema, payload) =
            envelope::open(MAGIC, schema_of(level), bytes).map_err(|error| match error {
                EnvelopeError::NeedsUpgrade { .. } => CommandError::NeedsUpgrade(error),
                _ => CommandError::Envelope(error),
            })?;
        let (command, rest) = postcard::take_from_bytes(payload).map_err(CommandError::Payload)?;
        if !rest.is_empty() {
            return Err(CommandError::Trailing { excess: rest.len() });
        }
        Ok(command)
    }
}

/// The newest schema that a node of this feature level reads and writes.
fn schema_of(level: u32) -> u16 {
    u16::try_from(level).unwrap_or(u16::MAX)
}
