//! Store directories and store paths, by Nix's own rules.
//!
//! A store path is `{store dir}/{hash}-{name}`: 20 bytes of hash as 32 nix32 characters, then the name. Source of
//! the rules: `src/libstore/path.cc` of Nix (`checkName`); where Nix does not look (the dash between hash and
//! name) we are strict, so that every value has exactly one text.
//!
//! # Invariants
//! - A [`StorePath`], [`StorePathName`] or [`StoreDir`] in hand is valid; there is no unchecked constructor.
//! - A base name contains no slash, so a store path cannot lead out of its store directory.
//! - `Ord` is the byte order of the base name: the order in which Nix sorts references and signs them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{quote, serde_as_text, serde_as_text_or_bytes};
use crate::{ProtocolError, nix32};

/// The most bytes a store path name may have (`StorePath::MaxPathLen` of Nix).
pub const NAME_LEN_MAX: usize = 211;

/// Characters of a store path hash.
const HASH_TEXT_LEN: usize = 32;

/// A directory of store paths, usually `/nix/store`.
///
/// Absolute and in its one normal form: no empty, `.` or `..` component, no trailing slash, no control
/// characters, and never the root itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreDir(String);

impl StoreDir {
    /// The directory as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StoreDir {
    fn default() -> Self {
        Self("/nix/store".to_owned())
    }
}

impl fmt::Display for StoreDir {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for StoreDir {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let refused = |reason: &str| ProtocolError::InvalidStoreDir {
            value: quote(text),
            reason: reason.to_owned(),
        };
        let Some(components) = text.strip_prefix('/') else {
            return Err(refused("expected an absolute path, such as /nix/store"));
        };
        if components.is_empty() {
            return Err(refused("the root directory cannot be a store"));
        }
        if components
            .split('/')
            .any(|component| matches!(component, "" | "." | ".."))
        {
            return Err(refused(
                "expected no trailing slash and no empty, . or .. component",
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(refused("expected no control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(StoreDir, "a store directory");

/// The hash part of a store path: 20 bytes, 32 nix32 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StorePathHash([u8; 20]);

impl StorePathHash {
    /// Wraps the 20 bytes of a hash part.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The first ten characters, for logs.
    pub fn fmt_short(&self) -> String {
        let mut text = nix32::encode(&self.0);
        text.truncate(10);
        text
    }
}

impl Ord for StorePathHash {
    /// The order of the texts: nix32 writes the last byte first, and its alphabet ascends.
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

impl PartialOrd for StorePathHash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for StorePathHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&nix32::encode(&self.0))
    }
}

impl fmt::Debug for StorePathHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StorePathHash({self})")
    }
}

impl FromStr for StorePathHash {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        nix32::decode_array(text)
            .map(Self)
            .map_err(|_| ProtocolError::InvalidStorePathHash {
                value: quote(text),
                reason: "expected 32 characters of 0123456789abcdfghijklmnpqrsvwxyz".to_owned(),
            })
    }
}

serde_as_text_or_bytes!(StorePathHash, 20, "a store path hash");

/// The name part of a store path, such as `hello-2.12.1`.
///
/// 1 to [`NAME_LEN_MAX`] characters of `0-9 a-z A-Z + - . _ ? =`; not `.` or `..`, nor either followed by a dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePathName(String);

impl StorePathName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StorePathName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for StorePathName {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let refused = |reason: String| ProtocolError::InvalidStorePathName {
            value: quote(text),
            reason,
        };
        if text.is_empty() {
            return Err(refused("a name has at least one character".to_owned()));
        }
        if text.len() > NAME_LEN_MAX {
            return Err(refused(format!(
                "a name has at most {NAME_LEN_MAX} characters, this has {}",
                text.len()
            )));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            return Err(refused(format!("{bad:?} is not one of 0-9 a-z A-Z + - . _ ? =")));
        }
        let first = text.split('-').next().unwrap_or(text);
        if matches!(first, "." | "..") {
            return Err(refused(format!(
                "the part before the first dash must not be {first:?}"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(StorePathName, "a store path name");

/// A store path without its store directory: `{hash}-{name}`.
///
/// Text: the base name. Postcard: the 20 bytes of the hash, then the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    /// The hash part, by which a cache finds the path.
    pub hash: StorePathHash,
    /// The name part.
    pub name: StorePathName,
}

impl StorePath {
    /// Puts hash and name together.
    pub const fn new(hash: StorePathHash, name: StorePathName) -> Self {
        Self { hash, name }
    }

    /// The full path within `store_dir`.
    pub fn to_absolute(&self, store_dir: &StoreDir) -> String {
        format!("{store_dir}/{self}")
    }

    /// Reads a full path that must lie directly in `store_dir`.
    ///
    /// # Errors
    /// [`ProtocolError::InvalidStorePath`] if it lies elsewhere, deeper, or has no valid base name.
    pub fn from_absolute(store_dir: &StoreDir, text: &str) -> Result<Self, ProtocolError> {
        let base = text
            .strip_prefix(store_dir.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        base.ok_or_else(|| ProtocolError::InvalidStorePath {
            value: quote(text),
            reason: format!("expected a path in {store_dir}"),
        })?
        .parse()
    }

    /// Whether this is a derivation, by its name.
    pub fn is_derivation(&self) -> bool {
        self.name.as_str().ends_with(".drv")
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.hash, self.name)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StorePath({self})")
    }
}

impl FromStr for StorePath {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let refused = |reason: String| ProtocolError::InvalidStorePath {
            value: quote(text),
            reason,
        };
        let Some((hash, rest)) = text.split_at_checked(HASH_TEXT_LEN) else {
            return Err(refused(
                "expected 32 characters of hash, a dash and a name".to_owned(),
            ));
        };
        let Some(name) = rest.strip_prefix('-') else {
            return Err(refused(
                "expected a dash after the 32 characters of hash".to_owned(),
            ));
        };
        let hash = hash
            .parse()
            .map_err(|error: ProtocolError| refused(error.to_string()))?;
        let name = name
            .parse()
            .map_err(|error: ProtocolError| refused(error.to_string()))?;
        Ok(Self { hash, name })
    }
}

impl Serialize for StorePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (&self.hash, &self.name).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for StorePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer
                .deserialize_str(crate::text::TextVisitor("a store path", std::marker::PhantomData));
        }
        let (hash, name) = Deserialize::deserialize(deserializer)?;
        Ok(Self { hash, name })
    }
}
