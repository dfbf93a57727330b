//! What waits, as clients of this node see it.

use http::{HeaderName, HeaderValue};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_state::command::NewPath;
use tetryx_state::records::{NarRecord, PathRecord};

use super::Outbox;
use super::entry::Entry;

/// The header of an answer about a path that only this node knows, until it reaches the cluster.
pub(crate) const PROVISIONAL: (HeaderName, HeaderValue) = (
    HeaderName::from_static("tetryx-provisional"),
    HeaderValue::from_static("1"),
);

/// A path that waits, as the state would describe it.
#[derive(Clone, Debug)]
pub(crate) struct Provisional {
    pub(crate) path: PathRecord,
    pub(crate) nar: NarRecord,
}

impl Outbox {
    /// The path, if it waits.
    pub(crate) fn path(&self, cache: &CacheName, hash: &StorePathHash) -> Option<Provisional> {
        let found = self.inner.state.lock().waiting.path(cache, hash)?;
        Some(describe(&found.0, found.1))
    }

    /// The NAR, if a path of the cache that waits has it.
    pub(crate) fn nar(&self, cache: &CacheName, nar: &NarHash) -> Option<NarRecord> {
        let found = self.inner.state.lock().waiting.nar(cache, nar)?;
        Some(describe(&found.0, found.1).nar)
    }
}

fn describe(entry: &Entry, path: NewPath) -> Provisional {
    let mut references = path.references;
    references.sort();
    references.dedup();
    let nar = NarRecord {
        nar_size: path.nar.nar_size,
        manifest: path.nar.manifest,
        file_size: path.nar.file_size,
        file_hash: path.nar.file_hash,
        references: 1,
        origin: path.nar.origin,
    };
    let path = PathRecord {
        store_path: path.store_path,
        nar_hash: path.nar_hash,
        absent_references: Vec::new(),
        references,
        deriver: path.deriver,
        system: path.system,
        ca: path.ca,
        signatures: path.signatures,
        created: entry.accepted,
        created_by: entry.by.clone(),
        last_access_day: entry.accepted.unix_day(),
        pinned: None,
    };
    Provisional { path, nar }
}
