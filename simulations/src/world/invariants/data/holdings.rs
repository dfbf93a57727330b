//! What a station has, and what keeps it: seen in one moment, and compared after a restart.

use std::collections::BTreeSet;

use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_store::ChunkStore;

use super::asked::Asked;
use super::collected::{Besides, Between, Holdings, judge};
use super::stock::Stock;
use super::{Running, Seen, report_of};
use crate::world::{Promise, World};

impl Seen {
    /// What a station has now. `None` if it cannot say: its disk fails, or it is about to go down.
    pub(super) fn holdings(&self, each: &Running) -> Option<Holdings> {
        let store = each.node.store();
        let view = each.node.replica().view().ok()?;
        let asked = Asked::read(&view, each.node.config().replication.copies).ok()?;
        let mut found = Holdings::default();
        for (nar, row) in &asked.nars {
            found.live.insert(*nar);
            // Want of room is a reason to give up a copy for those only that come after so many others.
            let kept_by = usize::from(each.node.config().replication.write_replicas);
            if asked
                .holders(nar)
                .iter()
                .take(kept_by)
                .any(|holder| *holder == each.station.node_id())
            {
                found.owed.insert(*nar);
            }
            if is_whole(store, &row.manifest)? && self.stock.is_whole(each.number(), &row.manifest) {
                found.whole.insert(*nar);
            }
        }
        for pin in store.pinned() {
            let places = store.locate(&pin.chunks).ok()?;
            let mut here = BTreeSet::new();
            for (chunk, place) in pin.chunks.iter().zip(places) {
                match place {
                    Some(_) => here.insert(*chunk),
                    None => found.absent.insert(*chunk),
                };
            }
            found.pinned.insert((pin.id, pin.made), here);
        }
        for manifest in each.node.outbox().manifests() {
            found.waiting.insert(manifest, is_whole(store, &manifest)?);
        }
        Some(found)
    }

    /// Judges two looks at one station.
    pub(super) fn compare(
        &self,
        world: &World,
        each: &Running,
        (before, after): (&Holdings, &Holdings),
        between: Between,
    ) {
        let besides = Others {
            stock: &self.stock,
            asked: &self.asked,
            number: each.number(),
        };
        let judged = judge(before, after, between, &besides);
        report_of(world, Promise::NothingLiveCollected, &each.station, judged);
    }

    /// Remembers what a station has, for when it is started again.
    pub(super) fn note_holdings(&mut self, each: &Running) {
        if let Some(found) = self.holdings(each) {
            self.holdings.insert(each.number(), (each.run, found));
        }
    }

    /// Compares a station that was started again with what it had.
    pub(super) fn note_restart(&mut self, world: &World, each: &Running) {
        let Some((run, before)) = self.holdings.get(&each.number()) else {
            return;
        };
        if *run == each.run {
            return;
        }
        let Some(mut after) = self.holdings(each) else {
            return;
        };
        // It may have been further than what it finds on its disk.
        after.live.retain(|nar| self.asked.nars.contains_key(nar));
        world.count("restart compared");
        self.compare(world, each, (before, &after), Between::Restart);
        self.holdings.insert(each.number(), (each.run, after));
    }
}

/// Whether the store has a NAR whole, as far as it knows.
pub(super) fn is_whole(store: &ChunkStore, manifest: &ManifestHash) -> Option<bool> {
    let held = store.hold_nar(manifest).ok()?;
    Some(held.is_some_and(|held| held.is_complete()))
}

/// The other machines, and what happened to this one's disk.
struct Others<'a> {
    stock: &'a Stock,
    asked: &'a Asked,
    number: usize,
}

impl Others<'_> {
    fn manifest(&self, nar: &NarHash) -> Option<ManifestHash> {
        self.asked.nars.get(nar).map(|row| row.manifest)
    }
}

impl Besides for Others<'_> {
    fn was_hit(&self, nar: &NarHash) -> bool {
        let manifest = self.manifest(nar);
        manifest.is_some_and(|manifest| self.was_manifest_hit(&manifest))
    }

    fn was_manifest_hit(&self, manifest: &ManifestHash) -> bool {
        let objects = self.stock.objects(manifest).unwrap_or_default();
        objects
            .iter()
            .any(|object| self.stock.was_hit_on(self.number, object))
    }

    fn is_elsewhere(&self, nar: &NarHash) -> bool {
        let Some(manifest) = self.manifest(nar) else {
            // Nobody's state names it any more.
            return true;
        };
        let mut whole = self.stock.whereabouts(&manifest).whole;
        whole.remove(&self.number);
        !whole.is_empty()
    }
}
