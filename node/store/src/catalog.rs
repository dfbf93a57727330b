//! Where everything lies: the index on disk under an overlay in memory of what it does not hold yet.
//!
//! # Invariants
//! - A key's place is what the overlay says, else what the index says.
//! - An entry leaves the overlay only after a committed transaction holds it, so a reader that
//!   looks into the overlay first and into the index second never misses it.
//! - Only bytes that are durable are named by the index.

use std::collections::{HashMap, HashSet};

use parking_lot::RwLock;

use crate::error::StoreError;
use crate::index::{Changes, Index};
use crate::record::{Key, Slot, segment_name};

/// A place in the order in which bytes are appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Absent,
    Present(Slot),
    /// Its record is known to be corrupt.
    Damaged(Slot),
}

impl Entry {
    pub(crate) const fn slot(self) -> Option<Slot> {
        match self {
            Self::Absent => None,
            Self::Present(slot) | Self::Damaged(slot) => Some(slot),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) index: Index,
    overlay: RwLock<Overlay>,
}

#[derive(Debug, Default)]
struct Overlay {
    /// Places the index does not hold yet; `None` for keys it still holds and must forget.
    entries: HashMap<Key, Option<Slot>>,
    damaged: HashSet<Key>,
    damage_unsaved: HashMap<Key, bool>,
    /// Grows when entries move from here to the index.
    generation: u64,
    chunks: u64,
    manifests: u64,
}

impl Catalog {
    pub(crate) fn new(index: Index) -> Result<Self, StoreError> {
        let (chunks, manifests) = index.counts()?;
        let damaged = index.damaged()?;
        let places = index.get_many(&damaged)?;
        let damaged = damaged.into_iter().zip(places);
        let damaged = damaged.filter_map(|(key, place)| place.map(|_| key)).collect();
        let overlay = Overlay {
            damaged,
            chunks,
            manifests,
            ..Overlay::default()
        };
        Ok(Self {
            index,
            overlay: RwLock::new(overlay),
        })
    }

    /// What is known of each key, and the generation at which it was known.
    pub(crate) fn get_many(&self, keys: &[Key]) -> Result<(Vec<Entry>, u64), StoreError> {
        let mut slots = vec![None; keys.len()];
        let mut elsewhere = Vec::new();
        let overlay = self.overlay.read();
        let generation = overlay.generation;
        for (at, key) in keys.iter().enumerate() {
            match overlay.entries.get(key) {
                Some(slot) => slots[at] = *slot,
                None => elsewhere.push((at, *key)),
            }
        }
        drop(overlay);
        let wanted: Vec<Key> = elsewhere.iter().map(|(_, key)| *key).collect();
        for ((at, _), slot) in elsewhere.iter().zip(self.index.get_many(&wanted)?) {
            slots[*at] = slot;
        }
        let overlay = self.overlay.read();
        let entries = keys.iter().zip(slots).map(|(key, slot)| match slot {
            None => Entry::Absent,
            Some(slot) if overlay.damaged.contains(key) => Entry::Damaged(slot),
            Some(slot) => Entry::Present(slot),
        });
        Ok((entries.collect(), generation))
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Entry, StoreError> {
        let (entries, _) = self.get_many(std::slice::from_ref(key))?;
        Ok(entries.first().copied().unwrap_or(Entry::Absent))
    }

    /// As [`Catalog::get_many`], given an earlier answer that only appends may have outdated. The
    /// caller keeps appends from happening.
    pub(crate) fn refresh(
        &self,
        keys: &[Key],
        mut known: Vec<Entry>,
        generation: u64,
    ) -> Result<Vec<Entry>, StoreError> {
        let overlay = self.overlay.read();
        if overlay.generation != generation {
            drop(overlay);
            return Ok(self.get_many(keys)?.0);
        }
        for (key, entry) in keys.iter().zip(&mut known) {
            let slot = overlay.entries.get(key).copied().unwrap_or_else(|| entry.slot());
            *entry = match slot {
                None => Entry::Absent,
                Some(slot) if overlay.damaged.contains(key) => Entry::Damaged(slot),
                Some(slot) => Entry::Present(slot),
            };
        }
        Ok(known)
    }

    /// Makes freshly appended, intact records visible. `true` marks keys that had no place before.
    pub(crate) fn insert(&self, placed: &[(Key, Slot, bool)]) {
        let mut overlay = self.overlay.write();
        for (key, slot, is_new) in placed {
            overlay.entries.insert(*key, Some(*slot));
            if overlay.damaged.remove(key) {
                overlay.damage_unsaved.insert(*key, false);
            }
            if *is_new {
                *overlay.count_of(key) += 1;
            }
        }
    }

    /// Forgets keys that have a place.
    pub(crate) fn remove(&self, keys: &[Key]) {
        let mut overlay = self.overlay.write();
        for key in keys {
            if overlay.entries.insert(*key, None) == Some(None) {
                continue;
            }
            if overlay.damaged.remove(key) {
                overlay.damage_unsaved.insert(*key, false);
            }
            let count = overlay.count_of(key);
            *count = count.saturating_sub(1);
        }
    }

    /// Notes that the record at this place is corrupt, unless the key has moved meanwhile, and
    /// returns the error that says so.
    pub(crate) fn damage(&self, key: &Key, slot: &Slot) -> StoreError {
        let is_elsewhere = self.get(key).is_ok_and(|entry| entry.slot() != Some(*slot));
        if !is_elsewhere {
            tracing::error!(object = ?key, segment = slot.segment, offset = slot.offset, "corrupt record");
            let mut overlay = self.overlay.write();
            if overlay.damaged.insert(*key) {
                overlay.damage_unsaved.insert(*key, true);
            }
        }
        corrupt(key, slot)
    }

    /// The keys whose record is known to be corrupt, in order.
    pub(crate) fn damaged(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.overlay.read().damaged.iter().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Whether the index does not know of all damage yet.
    pub(crate) fn has_unsaved_damage(&self) -> bool {
        !self.overlay.read().damage_unsaved.is_empty()
    }

    /// The entries of the overlay that lie in a segment, at or after an offset.
    pub(crate) fn pending_in(&self, segment: u32, from: u64) -> Vec<(Key, Slot)> {
        let overlay = self.overlay.read();
        let pending = overlay
            .entries
            .iter()
            .filter_map(|(key, slot)| slot.map(|slot| (*key, slot)));
        pending
            .filter(|(_, slot)| slot.segment == segment && u64::from(slot.offset) >= from)
            .collect()
    }

    /// All keys the overlay has a place for.
    pub(crate) fn pending(&self) -> Vec<(Key, Slot)> {
        let overlay = self.overlay.read();
        overlay
            .entries
            .iter()
            .filter_map(|(key, slot)| slot.map(|slot| (*key, slot)))
            .collect()
    }

    /// How many entries wait for the index.
    pub(crate) fn pending_len(&self) -> usize {
        self.overlay.read().entries.len()
    }

    /// The counts of chunks, manifests and damaged keys.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let overlay = self.overlay.read();
        (overlay.chunks, overlay.manifests, overlay.damaged.len() as u64)
    }

    /// What the index does not hold yet of all that is durable up to `synced`.
    pub(crate) fn changes(&self, synced: Position) -> Changes {
        let is_durable = |slot: &Slot| {
            Position {
                segment: slot.segment,
                offset: slot.end(),
            } <= synced
        };
        let overlay = self.overlay.read();
        let durable = overlay
            .entries
            .iter()
            .filter(|(_, slot)| slot.as_ref().is_none_or(is_durable));
        let mut entries: Vec<_> = durable.map(|(key, slot)| (*key, *slot)).collect();
        let damaged = overlay
            .damage_unsaved
            .iter()
            .map(|(key, damaged)| (*key, *damaged))
            .collect();
        drop(overlay);
        // In key order neighbouring entries share the pages they dirty.
        entries.sort_unstable_by_key(|(key, _)| *key);
        Changes {
            entries,
            damaged,
            ..Changes::default()
        }
    }

    /// Moves changes into the index, and out of the overlay what has not changed again meanwhile.
    pub(crate) fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        self.index.commit(changes)?;
        let mut overlay = self.overlay.write();
        overlay.generation += 1;
        for (key, slot) in &changes.entries {
            if overlay.entries.get(key) == Some(slot) {
                overlay.entries.remove(key);
            }
        }
        for (key, damaged) in &changes.damaged {
            if overlay.damage_unsaved.get(key) == Some(damaged) {
                overlay.damage_unsaved.remove(key);
            }
        }
        if overlay.entries.capacity() > 1024 && overlay.entries.len() * 4 < overlay.entries.capacity() {
            overlay.entries.shrink_to_fit();
        }
        Ok(())
    }
}

impl Overlay {
    const fn count_of(&mut self, key: &Key) -> &mut u64 {
        match key {
            Key::Chunk(_) => &mut self.chunks,
            Key::Manifest(_) => &mut self.manifests,
        }
    }
}

/// The error that names a corrupt record.
pub(crate) fn corrupt(key: &Key, slot: &Slot) -> StoreError {
    let (segment, offset) = (segment_name(slot.segment), u64::from(slot.offset));
    match key {
        Key::Chunk(chunk) => StoreError::Corrupt {
            chunk: *chunk,
            segment,
            offset,
        },
        Key::Manifest(manifest) => StoreError::CorruptManifest {
            manifest: *manifest,
            segment,
            offset,
        },
    }
}

/// The error that names what is not here.
pub(crate) fn absent(key: &Key) -> StoreError {
    match key {
        Key::Chunk(chunk) => StoreError::ChunkAbsent { chunk: *chunk },
        Key::Manifest(manifest) => StoreError::ManifestAbsent { manifest: *manifest },
    }
}
