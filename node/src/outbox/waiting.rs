//! What waits, in memory: by order, by path, by NAR.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::{ClientId, ProposalId};
use tetryx_protocol::store_path::StorePathHash;
use tetryx_state::command::NewPath;

use super::entry::{Entry, EntryId};

/// Where a path stands: which entry, and which of its paths.
type Place = (EntryId, usize);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: BTreeMap<EntryId, Arc<Entry>>,
    by_path: BTreeMap<(CacheName, StorePathHash), BTreeSet<Place>>,
    by_nar: BTreeMap<(CacheName, NarHash), BTreeSet<Place>>,
    /// The ids under which some are proposed.
    proposed: BTreeSet<ProposalId>,
    paths: usize,
}

impl Waiting {
    /// Adds the entry, or puts it in the place of what is there under its id.
    pub(super) fn insert(&mut self, id: EntryId, entry: Entry) {
        self.remove(id);
        let entry = Arc::new(entry);
        for (at, path) in entry.paths.iter().enumerate() {
            let (cache, place) = (entry.cache.clone(), (id, at));
            let by_path = self.by_path.entry((cache.clone(), path.store_path.hash));
            by_path.or_default().insert(place);
            let by_nar = self.by_nar.entry((cache, path.nar_hash));
            by_nar.or_default().insert(place);
        }
        self.paths += entry.paths.len();
        self.proposed.extend(entry.proposal);
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<Arc<Entry>> {
        let entry = self.entries.remove(&id)?;
        for (at, path) in entry.paths.iter().enumerate() {
            let (cache, place) = (entry.cache.clone(), (id, at));
            forget(&mut self.by_path, (cache.clone(), path.store_path.hash), &place);
            forget(&mut self.by_nar, (cache, path.nar_hash), &place);
        }
        self.paths -= entry.paths.len();
        if let Some(proposal) = &entry.proposal {
            self.proposed.remove(proposal);
        }
        Some(entry)
    }

    pub(super) fn propose(&mut self, id: EntryId, proposal: ProposalId) {
        if let Some(entry) = self.remove(id) {
            let proposal = Some(proposal);
            let entry = Entry::clone(&entry);
            self.insert(id, Entry { proposal, ..entry });
        }
    }

    pub(super) fn split(&mut self, id: EntryId) {
        let Some(entry) = self.remove(id) else {
            return;
        };
        for (part, entry) in (0_u32..).zip(entry.split()) {
            let sequence = id.sequence;
            self.insert(EntryId { sequence, part }, entry);
        }
    }

    /// How many paths wait.
    pub(super) fn paths(&self) -> usize {
        self.paths
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&EntryId, &Arc<Entry>)> {
        self.entries.iter()
    }

    pub(super) fn first(&self) -> Option<(EntryId, Arc<Entry>)> {
        let (id, entry) = self.entries.first_key_value()?;
        Some((*id, Arc::clone(entry)))
    }

    /// The lowest serial of the client under which an entry is proposed.
    pub(super) fn lowest_serial(&self, client: ClientId) -> Option<u64> {
        let all = ProposalId { client, serial: 0 }..=ProposalId {
            client,
            serial: u64::MAX,
        };
        self.proposed.range(all).next().map(|proposal| proposal.serial)
    }

    /// The path, as it was pushed first.
    pub(super) fn path(&self, cache: &CacheName, hash: &StorePathHash) -> Option<(Arc<Entry>, NewPath)> {
        self.at(self.by_path.get(&(cache.clone(), *hash))?)
    }

    /// A path with this NAR.
    pub(super) fn nar(&self, cache: &CacheName, nar: &NarHash) -> Option<(Arc<Entry>, NewPath)> {
        self.at(self.by_nar.get(&(cache.clone(), *nar))?)
    }

    fn at(&self, places: &BTreeSet<Place>) -> Option<(Arc<Entry>, NewPath)> {
        let (id, at) = places.first()?;
        let entry = self.entries.get(id)?;
        Some((Arc::clone(entry), entry.paths.get(*at)?.clone()))
    }

    pub(super) fn nars(&self) -> Vec<(NarHash, ManifestHash)> {
        let paths = self.entries.values().flat_map(|entry| &entry.paths);
        paths.map(|path| (path.nar_hash, path.nar.manifest)).collect()
    }

    pub(super) fn manifests(&self) -> Vec<ManifestHash> {
        let entries = self.entries.values();
        entries
            .flat_map(|entry| entry.paths.iter().map(|path| path.nar.manifest))
            .collect()
    }
}

fn forget<K: Ord>(places: &mut BTreeMap<K, BTreeSet<Place>>, key: K, place: &Place) {
    if let std::collections::btree_map::Entry::Occupied(mut entry) = places.entry(key) {
        entry.get_mut().remove(place);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
