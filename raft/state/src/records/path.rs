//! The record of a path.

use serde::{Deserialize, Serialize};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::signature::NixSignature;
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_protocol::time::UtcTime;

use super::{Record, whole};
use crate::tables::Table;

/// A store path in a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord {
    /// The path.
    pub store_path: StorePath,
    /// Its content: the key of its [`NarRecord`].
    pub nar_hash: NarHash,
    /// The paths it refers to, in Nix's order, each once; possibly itself.
    pub references: Vec<StorePath>,
    /// Those of `references` that this cache was told to do without, in order: an upstream cache has them, or an
    /// operator deleted them by force. One that was published later stays listed.
    pub absent_references: Vec<StorePath>,
    /// The derivation that built it.
    pub deriver: Option<StorePath>,
    /// The system it was built for.
    pub system: Option<String>,
    /// Its content address, if it has one.
    pub ca: Option<String>,
    /// Signatures it was pushed with, in order, each once. The cache's own is made on read.
    pub signatures: Vec<NixSignature>,
    /// When it was published.
    pub created: UtcTime,
    /// By whom: the subject of the token.
    pub created_by: String,
    /// The last day it was pulled on, in days since the Unix epoch (UTC). Starts with the day of publication.
    pub last_access_day: u32,
    /// Kept whatever the retention says, until it is unpinned or the pin ends.
    pub pinned: Option<PathPin>,
}

/// Who pinned a path, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPin {
    /// The subject of the token.
    pub by: String,
    /// When.
    pub at: UtcTime,
    /// When it ends; never by itself if there is no end.
    pub until: Option<UtcTime>,
}

/// [`PathRecord`] before pins could end: the same fields, but for the end.
type PathRecordV1 = (
    StorePath,
    NarHash,
    Vec<StorePath>,
    Vec<StorePath>,
    Option<StorePath>,
    Option<String>,
    Option<String>,
    Vec<NixSignature>,
    UtcTime,
    String,
    u32,
    Option<(String, UtcTime)>,
);

/// What version 1 could say is still written as version 1: a log that an older build applied leads this build to the
/// same bytes, so that their state hashes agree.
impl Record for PathRecord {
    const TABLE: Table = Table::Paths;
    const VERSION: u8 = 2;

    fn encode(&self) -> Vec<u8> {
        let pin = self.pinned.as_ref();
        let bytes = if pin.is_some_and(|pin| pin.until.is_some()) {
            postcard::to_extend(self, vec![Self::VERSION])
        } else {
            let version_1 = (
                &self.store_path,
                &self.nar_hash,
                &self.references,
                &self.absent_references,
                &self.deriver,
                &self.system,
                &self.ca,
                &self.signatures,
                self.created,
                &self.created_by,
                self.last_access_day,
                pin.map(|pin| (&pin.by, pin.at)),
            );
            postcard::to_extend(&version_1, vec![1])
        };
        bytes.expect("no record has a serializer that fails")
    }

    fn upgrade(version: u8, payload: &[u8]) -> Option<Result<Self, String>> {
        (version == 1).then(|| {
            let old: PathRecordV1 = whole(payload)?;
            let pinned = old.11.map(|(by, at)| PathPin { by, at, until: None });
            Ok(Self {
                store_path: old.0,
                nar_hash: old.1,
                references: old.2,
                absent_references: old.3,
                deriver: old.4,
                system: old.5,
                ca: old.6,
                signatures: old.7,
                created: old.8,
                created_by: old.9,
                last_access_day: old.10,
                pinned,
            })
        })
    }
}

impl PathRecord {
    /// The part of the store path it is found by.
    pub fn hash(&self) -> StorePathHash {
        self.store_path.hash
    }

    /// True when `reference` may be missing from the cache.
    pub fn may_miss(&self, reference: &StorePath) -> bool {
        *reference == self.store_path || self.absent_references.binary_search(reference).is_ok()
    }
}

impl PathPin {
    /// Whether it keeps the path at this time of the log clock.
    pub fn holds(&self, now: UtcTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it keeps the path at least as long as the other.
    pub fn reaches(&self, other: &Self) -> bool {
        match (self.until, other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(until), Some(other)) => until >= other,
        }
    }
}
