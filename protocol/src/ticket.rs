//! The ticket a new node joins with: one line of text that names the cluster, its members and a secret.
//!
//! Text: `txjoin1`, then lower-case base32 (RFC 4648, no padding) of an envelope (magic `TXJT`, schema 1) around
//! postcard. White space is ignored, so a ticket may be wrapped. The envelope's checksum tells a mistyped ticket
//! from a wrong one.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE, DecodeKind};
use serde::{Deserialize, Serialize};

use crate::envelope::EnvelopeError;
use crate::id::{ClusterId, InviteId, NodeId};
use crate::message::{Message, MessageError};
use crate::secret::Secret32;
use crate::time::UtcTime;

/// What every ticket begins with; the digit is the version of the text form.
pub const PREFIX: &str = "txjoin1";
/// What the tickets of every version begin with.
const PREFIX_ANY: &str = "txjoin";
/// The most characters of a ticket that are looked at.
pub const TICKET_LEN_MAX: usize = 16 * 1024;
/// Names the use of the hash that a ticket's secret is known by.
const SECRET_CONTEXT: &str = "tetryx-invite-1";

/// Lets one node join one cluster, once, until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTicket {
    /// The cluster it is for.
    pub cluster: ClusterId,
    /// The key that cluster signs tokens with: pins the cluster.
    pub token_public_key: [u8; 32],
    /// What proves the invitation.
    pub secret: Secret32,
    /// When it ends, by the cluster's log clock.
    pub expires: UtcTime,
    /// Members to ask, best first.
    pub members: Vec<TicketMember>,
}

/// A member named in a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketMember {
    /// Its key, by which it is authenticated.
    pub node: NodeId,
    /// Where its data and control endpoint is, `host:port`, best first.
    pub addresses: Vec<String>,
}

impl Message for JoinTicket {
    const WHAT: &'static str = "a join ticket";
    const MAGIC: [u8; 4] = *b"TXJT";
    const LEN_MAX: usize = TICKET_LEN_MAX;
}

impl JoinTicket {
    /// What the cluster knows the ticket by, without knowing its secret.
    pub fn secret_hash(&self) -> InviteId {
        secret_hash(&self.secret)
    }
}

/// What the cluster knows a ticket with this secret by.
pub fn secret_hash(secret: &Secret32) -> InviteId {
    InviteId::from_bytes(blake3::derive_key(SECRET_CONTEXT, secret.as_bytes()))
}

/// Why a text is not a ticket. The text is never repeated: it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Something else altogether.
    #[error(
        "this is not a join ticket: it does not begin with {PREFIX}; copy the whole line that 'node invite' printed"
    )]
    NotATicket,
    /// A ticket of a newer or older program.
    #[error(
        "this ticket is of another version (it begins with {found}, expected {PREFIX}); run the same version of tetryx-node here as the cluster does"
    )]
    Version {
        /// What it begins with.
        found: String,
    },
    /// The end is missing.
    #[error("the ticket is cut off; copy the whole line")]
    CutOff,
    /// A character is wrong, missing or too many.
    #[error("the ticket was mistyped: {reason}; copy it again")]
    Mistyped {
        /// Where, as far as it can be told.
        reason: String,
    },
    /// Longer than any ticket.
    #[error("the ticket has {len} characters, expected at most {TICKET_LEN_MAX}; copy only its line")]
    TooLong {
        /// Its characters.
        len: usize,
    },
}

impl fmt::Display for JoinTicket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        formatter.write_str(&BASE32_NOPAD.encode(&self.encode()).to_ascii_lowercase())
    }
}

impl FromStr for JoinTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        if text.len() > TICKET_LEN_MAX {
            return Err(TicketError::TooLong { len: text.len() });
        }
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let lower = text.to_ascii_lowercase();
        let Some(digits) = lower.strip_prefix(PREFIX) else {
            if PREFIX.starts_with(&lower) && !lower.is_empty() {
                return Err(TicketError::CutOff);
            }
            let version = lower
                .strip_prefix(PREFIX_ANY)
                .and_then(|rest| rest.chars().next());
            return Err(match version {
                Some(version) if version.is_ascii_digit() => TicketError::Version {
                    found: format!("{PREFIX_ANY}{version}"),
                },
                _ => TicketError::NotATicket,
            });
        };
        let bytes = BASE32_NOPAD_NOCASE.decode(digits.as_bytes());
        let bytes = bytes.map_err(|error| match error.kind {
            DecodeKind::Symbol => TicketError::Mistyped {
                reason: format!(
                    "character {} is none of a-z and 2-7",
                    PREFIX.len() + error.position + 1
                ),
            },
            DecodeKind::Length | DecodeKind::Trailing | DecodeKind::Padding => TicketError::CutOff,
        })?;
        Self::decode(&bytes).map_err(|error| match error {
            MessageError::Envelope {
                source: EnvelopeError::Length { len, expected, .. },
                ..
            } if len < expected => TicketError::CutOff,
            MessageError::Envelope {
                source: EnvelopeError::Length { .. },
                ..
            } => TicketError::Mistyped {
                reason: "something follows its end".to_owned(),
            },
            MessageError::NeedsUpgrade { .. } => TicketError::Version {
                found: format!("{PREFIX} and a newer content"),
            },
            MessageError::Envelope { .. } | MessageError::Payload { .. } | MessageError::TooLong { .. } => {
                TicketError::Mistyped {
                    reason: "its checksum does not match".to_owned(),
                }
            }
        })
    }
}
