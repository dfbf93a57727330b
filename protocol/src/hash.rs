//! The four hashes, which never become one another.
//!
//! | type | function | of | text |
//! |---|---|---|---|
//! | [`ChunkHash`] | BLAKE3-256 | a chunk's raw bytes | 64 hex digits |
//! | [`ManifestHash`] | BLAKE3-256 | an encoded [`crate::manifest::Manifest`] | 64 hex digits |
//! | [`NarHash`] | SHA-256 | a whole uncompressed NAR | `sha256:` and 52 nix32 characters |
//! | [`FileHash`] | SHA-256 | a NAR as it is served, compressed | `sha256:` and 52 nix32 characters |
//!
//! # Invariants
//! - There is no conversion between the types; only `from_bytes` and `as_bytes` cross over, in plain sight.
//! - Each prints one text only; the SHA-256 pair reads every form Nix reads.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

use crate::text::{quote, serde_as_text_or_bytes};
use crate::{ProtocolError, nix32};

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that are known to be this hash.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }

        serde_as_text_or_bytes!($name, 32, $what);
    };
}

macro_rules! blake3_text {
    ($name:ident, $what:literal) => {
        impl $name {
            /// The first ten hex digits, for logs.
            pub fn fmt_short(&self) -> String {
                HEXLOWER.encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = ProtocolError;

            fn from_str(text: &str) -> Result<Self, ProtocolError> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                bytes.map(Self).ok_or_else(|| ProtocolError::InvalidHash {
                    what: $what,
                    value: quote(text),
                    reason: "expected 64 hex digits".to_owned(),
                })
            }
        }
    };
}

macro_rules! sha256_text {
    ($name:ident, $hasher:ident, $what:literal) => {
        impl $name {
            /// The SHA-256 of a whole buffer.
            pub fn of(bytes: &[u8]) -> Self {
                Self(Sha256::digest(bytes).into())
            }

            /// A hasher for bytes that come piece by piece.
            pub fn hasher() -> $hasher {
                $hasher(Sha256::new())
            }

            /// The 52 nix32 characters, without `sha256:`.
            pub fn to_nix32(&self) -> String {
                nix32::encode(&self.0)
            }

            /// The SRI form, `sha256-` and base64, as newer Nix prints hashes in JSON.
            pub fn to_sri(&self) -> String {
                format!("sha256-{}", BASE64.encode(&self.0))
            }

            /// The first ten nix32 characters, for logs.
            pub fn fmt_short(&self) -> String {
                let mut text = self.to_nix32();
                text.truncate(10);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "sha256:{}", nix32::encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = ProtocolError;

            /// Reads 52 nix32 characters, 64 hex digits or 44 base64 characters, each with or without
            /// `sha256:`, and SRI.
            fn from_str(text: &str) -> Result<Self, ProtocolError> {
                parse_sha256($what, text).map(Self)
            }
        }

        #[doc = concat!("Computes a [`", stringify!($name), "`] from bytes that come piece by piece.")]
        #[derive(Clone, Debug)]
        pub struct $hasher(Sha256);

        impl $hasher {
            /// Adds the next bytes.
            pub fn update(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }

            /// The hash of everything added.
            pub fn finish(self) -> $name {
                $name(self.0.finalize().into())
            }
        }
    };
}

hash_type! {
    /// The BLAKE3-256 of a chunk's raw, uncompressed bytes: the chunk's name everywhere.
    ChunkHash, "chunk hash"
}
blake3_text!(ChunkHash, "chunk hash");

impl ChunkHash {
    /// The name of a chunk with these raw bytes.
    pub fn of(raw: &[u8]) -> Self {
        Self(*blake3::hash(raw).as_bytes())
    }
}

hash_type! {
    /// The BLAKE3-256 of an encoded manifest: the manifest's name everywhere.
    ManifestHash, "manifest hash"
}
blake3_text!(ManifestHash, "manifest hash");

impl ManifestHash {
    /// The name of a manifest with this encoding.
    pub fn of(encoded: &[u8]) -> Self {
        Self(*blake3::hash(encoded).as_bytes())
    }
}

hash_type! {
    /// The SHA-256 of a whole uncompressed NAR: what Nix signs.
    NarHash, "NAR hash"
}
sha256_text!(NarHash, NarHasher, "NAR hash");

hash_type! {
    /// The SHA-256 of a NAR as it is served, compressed.
    FileHash, "file hash"
}
sha256_text!(FileHash, FileHasher, "file hash");

/// Reads a SHA-256 in any form Nix reads; the length says which one it is (`Hash::parseAny` of Nix).
fn parse_sha256(what: &'static str, text: &str) -> Result<[u8; 32], ProtocolError> {
    let refused = |reason: &str| ProtocolError::InvalidHash {
        what,
        value: quote(text),
        reason: reason.to_owned(),
    };
    let base64 = |digits: &str| {
        let bytes = BASE64.decode(digits.as_bytes()).ok();
        bytes
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| refused("expected base64 of 32 bytes, 44 characters with padding"))
    };
    if let Some(digits) = text.strip_prefix("sha256-") {
        return base64(digits);
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    match digits.len() {
        52 => nix32::decode_array(digits)
            .map_err(|_| refused("its 52 characters are not the nix32 of 32 bytes")),
        64 => {
            let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
            bytes
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .ok_or_else(|| refused("its 64 characters are not hex digits"))
        }
        44 => base64(digits),
        _ => Err(refused(
            "expected sha256: and 52 nix32 characters, 64 hex digits, or sha256- and base64",
        )),
    }
}
