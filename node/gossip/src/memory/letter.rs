//! A presence on its way, signed.

use std::sync::OnceLock;

use libp2p::identity::{Keypair, ed25519};
use tetryx_protocol::id::NodeId;

use crate::book::Content;

/// What a signature covers before the bytes themselves.
const SIGNED_PREFIX: &[u8] = b"tetryx/presence/memory:";

/// A message that cannot change any more: what it says, and whether it is genuine, is found out once for all.
#[derive(Debug)]
pub(super) struct Letter {
    /// Who is said to have signed it.
    pub(super) author: NodeId,
    /// Grows with every message of the mesh.
    pub(super) serial: u64,
    bytes: Vec<u8>,
    signature: Vec<u8>,
    genuine: OnceLock<bool>,
    content: OnceLock<Content>,
}

impl Letter {
    /// Signed with the key; genuine if that is the author's.
    pub(super) fn seal(key: &Keypair, author: NodeId, serial: u64, bytes: Vec<u8>) -> Self {
        let signature = key.sign(&signed(&bytes)).unwrap_or_default();
        Self {
            author,
            serial,
            bytes,
            signature,
            genuine: OnceLock::new(),
            content: OnceLock::new(),
        }
    }

    /// Whether the author signed it.
    pub(super) fn is_genuine(&self) -> bool {
        *self.genuine.get_or_init(|| {
            ed25519::PublicKey::try_from_bytes(self.author.as_bytes())
                .is_ok_and(|key| key.verify(&signed(&self.bytes), &self.signature))
        })
    }

    pub(super) fn read(&self) -> Content {
        self.content.get_or_init(|| Content::read(&self.bytes)).clone()
    }
}

fn signed(bytes: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, bytes].concat()
}
