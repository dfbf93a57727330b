//! What a state asks for: which NARs live, how many copies each should have, and who holds them.
//!
//! Worked out here again from what the state says, so that it does not follow the node in a mistake.

use std::collections::BTreeMap;

use tetryx_protocol::cache::{CacheName, Replication};
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::placement::{Copies, PlaceCandidate, place};
use tetryx_raft::StateView;
use tetryx_state::query;

/// NARs read at once.
const PAGE: usize = 1024;

/// A NAR that some path has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskedNar {
    pub(super) manifest: ManifestHash,
    /// The caches with a path of that content.
    pub(super) caches: Vec<CacheName>,
    /// The most that one of them asks for.
    pub(super) copies: Copies,
}

/// What a state asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// The last log entry that is in the state.
    pub(super) index: u64,
    pub(super) nars: BTreeMap<NarHash, AskedNar>,
    /// How many copies each cache asks for.
    pub(super) copies: BTreeMap<CacheName, Copies>,
    members: Vec<PlaceCandidate>,
}

impl Asked {
    #[cfg(test)]
    pub(super) fn new(
        index: u64,
        nars: BTreeMap<NarHash, AskedNar>,
        copies: BTreeMap<CacheName, Copies>,
        members: Vec<PlaceCandidate>,
    ) -> Self {
        Self {
            index,
            nars,
            copies,
            members,
        }
    }

    /// Reads it from a state. `default` is what a cache that says nothing asks for.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(super) fn read(view: &StateView, default: u8) -> Result<Self, String> {
        let mut asked = Self {
            index: view.applied_index(),
            members: query::placement_candidates(view).map_err(|error| error.to_string())?,
            ..Self::default()
        };
        let caches = query::caches(view).map_err(|error| error.to_string())?;
        for (name, cache) in caches {
            let copies = match cache.replication {
                Replication::Default => Copies::Exactly(default.max(1)),
                Replication::Copies(copies) => Copies::Exactly(copies.max(1)),
                Replication::All => Copies::All,
            };
            asked.copies.insert(name, copies);
        }
        let mut after = None;
        loop {
            let page = query::nars(view, after.as_ref(), PAGE).map_err(|error| error.to_string())?;
            let Some((last, _)) = page.last() else {
                return Ok(asked);
            };
            after = Some(*last);
            for (nar, record) in page {
                let mut caches = Vec::new();
                for name in asked.copies.keys() {
                    if query::holds(view, name, &nar).map_err(|error| error.to_string())? {
                        caches.push(name.clone());
                    }
                }
                let copies = caches.iter().map(|name| asked.copies[name]).max_by_key(rank);
                let row = AskedNar {
                    manifest: record.manifest,
                    copies: copies.unwrap_or(Copies::Exactly(default.max(1))),
                    caches,
                };
                asked.nars.insert(nar, row);
            }
        }
    }

    /// How many members may hold copies.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    /// Who must hold a NAR.
    pub(super) fn holders(&self, nar: &NarHash) -> Vec<NodeId> {
        match self.nars.get(nar) {
            Some(row) => place(nar, &self.members, row.copies),
            None => Vec::new(),
        }
    }
}

/// Orders by how many copies it asks for.
pub(super) fn rank(copies: &Copies) -> u16 {
    match copies {
        Copies::Exactly(copies) => u16::from(*copies),
        Copies::All => u16::MAX,
    }
}
