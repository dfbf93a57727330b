//! The ids of nodes, clusters, tokens, uploads, holds, invites, clients and proposals.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::ProtocolError;
use crate::text::{quote, serde_as_text_or_bytes};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Wraps the bytes of an id.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first ten hex digits, for logs and tables.
            pub fn fmt_short(&self) -> String {
                HEXLOWER.encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ProtocolError;

            fn from_str(text: &str) -> Result<Self, ProtocolError> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| <[u8; $len]>::try_from(bytes).ok());
                bytes.map(Self).ok_or_else(|| ProtocolError::InvalidId {
                    what: $what,
                    value: quote(text),
                    reason: $expected.to_owned(),
                })
            }
        }

        serde_as_text_or_bytes!($name, $len, $what);
    };
}

id_type! {
    /// A node: its ed25519 public key, in hex. The identity behind gossip, data and control alike.
    NodeId, 32, "node id", "expected 64 hex digits"
}
id_type! {
    /// A cluster: drawn at random when its first node starts.
    ClusterId, 16, "cluster id", "expected 32 hex digits"
}
id_type! {
    /// A token, by which it is listed and revoked.
    TokenId, 16, "token id", "expected 32 hex digits"
}
id_type! {
    /// An upload session.
    UploadId, 16, "upload id", "expected 32 hex digits"
}
id_type! {
    /// Chunks one node holds for another until their record is applied: drawn by who asks for it.
    HoldId, 16, "hold id", "expected 32 hex digits"
}
id_type! {
    /// An invitation: the hash of its ticket's secret ([`JoinTicket::secret_hash`](crate::ticket::JoinTicket)).
    InviteId, 32, "invite id", "expected 64 hex digits"
}
id_type! {
    /// A proposer of commands, for the duration of one process.
    ClientId, 16, "client id", "expected 32 hex digits"
}

/// What makes a proposal applied at most once: whose it is, and its number among that client's.
///
/// Text: the client in hex, a slash, the serial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProposalId {
    /// Who proposes.
    pub client: ClientId,
    /// Which of the client's proposals this is. A retry keeps it, a new proposal takes a higher one.
    pub serial: u64,
}

impl fmt::Display for ProposalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.client, self.serial)
    }
}

impl FromStr for ProposalId {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let parts = text.split_once('/');
        let parsed = parts.and_then(|(client, serial)| {
            Some(Self {
                client: client.parse().ok()?,
                serial: serial.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| ProtocolError::InvalidId {
            what: "proposal id",
            value: quote(text),
            reason: "expected 32 hex digits, a slash and a number".to_owned(),
        })
    }
}
