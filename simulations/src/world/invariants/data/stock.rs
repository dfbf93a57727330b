//! What all machines' disks hold together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::manifest::Manifest;
use tetryx_store::Object;
use tetryx_store::disk::MemoryDisk;

use super::shelf::{Shelf, objects};

/// The disks, by the numbers of their machines.
#[derive(Debug, Default)]
pub(super) struct Stock {
    shelves: Vec<Shelf>,
    /// Manifests that were seen on some disk.
    manifests: BTreeMap<ManifestHash, Arc<Manifest>>,
}

/// What changed on all disks.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Whether anything did.
    pub(super) any: bool,
    /// Objects that one disk or another has no intact record of any more.
    pub(super) gone: BTreeSet<Object>,
    /// Machines, and what their stores took for something else than it is.
    pub(super) lies: Vec<(usize, Object)>,
}

/// Where a NAR lies whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// Machines that have all of it, intact and durable.
    pub(super) whole: BTreeSet<usize>,
    /// Machines that would, had their disks not damaged some of it.
    pub(super) hit: BTreeSet<usize>,
}

impl Whereabouts {
    /// Machines that have it, or had it before their disks failed.
    pub(super) fn count(&self) -> usize {
        self.whole.len() + self.hit.len()
    }
}

impl Stock {
    /// Looks at all disks, and says which are lost. A machine keeps its number.
    pub(super) fn look<'a>(&mut self, disks: impl Iterator<Item = (&'a MemoryDisk, bool)>) -> Changes {
        let mut changes = Changes::default();
        for (number, (disk, is_lost)) in disks.enumerate() {
            if self.shelves.len() == number {
                self.shelves.push(Shelf::default());
            }
            let shelf = &mut self.shelves[number];
            let news = if is_lost { shelf.lose() } else { shelf.look(disk) };
            changes.any |= news.changed;
            changes.gone.extend(news.gone);
            changes
                .lies
                .extend(news.lies.into_iter().map(|object| (number, object)));
            if news.changed {
                let manifests = shelf
                    .manifests()
                    .map(|(hash, manifest)| (*hash, Arc::clone(manifest)));
                self.manifests.extend(manifests);
            }
        }
        changes
    }

    /// Forgets manifests that no disk has and nobody needs.
    pub(super) fn forget(&mut self, is_needed: impl Fn(&ManifestHash) -> bool) {
        let shelves = &self.shelves;
        self.manifests
            .retain(|hash, _| is_needed(hash) || shelves.iter().any(|shelf| shelf.manifest(hash).is_some()));
    }

    /// The manifests that were seen.
    pub(super) fn manifests(&self) -> impl Iterator<Item = &ManifestHash> {
        self.manifests.keys()
    }

    /// A manifest and its chunks, if some disk ever had the manifest.
    pub(super) fn objects(&self, hash: &ManifestHash) -> Option<BTreeSet<Object>> {
        Some(objects(hash, self.manifests.get(hash)?))
    }

    /// Where a NAR lies whole.
    pub(super) fn whereabouts(&self, hash: &ManifestHash) -> Whereabouts {
        let mut found = Whereabouts::default();
        let Some(objects) = self.objects(hash) else {
            return found;
        };
        for (number, shelf) in self.shelves.iter().enumerate() {
            let lacking: Vec<&Object> = objects.iter().filter(|object| !shelf.has(object)).collect();
            if lacking.is_empty() {
                found.whole.insert(number);
            } else if lacking.iter().all(|object| shelf.was_hit(object)) {
                found.hit.insert(number);
            }
        }
        found
    }

    /// Whether a machine's disk holds a NAR whole.
    pub(super) fn is_whole(&self, number: usize, hash: &ManifestHash) -> bool {
        self.whereabouts(hash).whole.contains(&number)
    }

    /// Whether some disk has an intact record of it.
    pub(super) fn has(&self, object: &Object) -> bool {
        self.shelves.iter().any(|shelf| shelf.has(object))
    }

    /// Whether some disk damaged it.
    pub(super) fn was_hit(&self, object: &Object) -> bool {
        self.shelves.iter().any(|shelf| shelf.was_hit(object))
    }

    /// Whether a machine's disk damaged it.
    pub(super) fn was_hit_on(&self, number: usize, object: &Object) -> bool {
        self.shelves
            .get(number)
            .is_some_and(|shelf| shelf.was_hit(object))
    }

    /// What a machine's disk damaged and has no intact record of.
    pub(super) fn damaged_on(&self, number: usize) -> Vec<Object> {
        let shelf = self.shelves.get(number);
        shelf.map_or_else(Vec::new, Shelf::damaged)
    }

    /// The chunks that a machine's disk damaged.
    pub(super) fn hit_on(&self, number: usize) -> Vec<ChunkHash> {
        let shelf = self.shelves.get(number);
        shelf.map_or_else(Vec::new, Shelf::hit_chunks)
    }
}
