//! Pins: what a collection must leave although no live manifest names it yet.
//!
//! An upload pins what it asks for before it is told what is present, and keeps the pin until the
//! record that refers to it is applied here. A read that lasts holds its chunks the same way, in
//! memory only. How pins and collection interlock is argued in [`crate::collect`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::time::UtcTime;

use crate::index::{PinChanges, StoredPin};
use crate::record::Key;

/// The name of a pin: the caller's upload or fetch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinId(pub [u8; 16]);

impl fmt::Debug for PinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinId({self})")
    }
}

impl fmt::Display for PinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is known of one pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinInfo {
    /// Its name.
    pub id: PinId,
    /// How many chunks it protects.
    pub chunks: u64,
    /// How many manifests it protects.
    pub manifests: u64,
    /// When its owner last said that it is alive; `None` when it never did.
    pub touched: Option<UtcTime>,
}

/// What one pin protects, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinContents {
    /// Its name.
    pub id: PinId,
    /// Another number for each pin of that name: one that was released and made again is another pin.
    pub made: u64,
    /// Chunks it protects, whether they are here or not.
    pub chunks: Vec<ChunkHash>,
    /// Manifests it protects.
    pub manifests: Vec<ManifestHash>,
}

/// Keeps chunks from collection while a read lasts; dropping it releases them.
#[derive(Debug)]
#[must_use = "the chunks are protected only while the hold lives"]
pub struct Hold {
    table: Arc<Mutex<PinTable>>,
    keys: Vec<Key>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        for key in &self.keys {
            table.release(key);
        }
    }
}

/// All pins and holds.
#[derive(Debug, Default)]
pub(crate) struct PinTable {
    pins: BTreeMap<PinId, Pin>,
    /// How many pins and holds protect a key.
    counts: HashMap<Key, u32>,
    /// Keys released since the running collection began; `None` when none runs.
    lingering: Option<HashSet<Key>>,
    dropped: Vec<PinId>,
    /// Grows whenever a pin protects something new.
    sequence: u64,
    /// Pins made so far.
    made: u64,
}

#[derive(Debug, Default)]
struct Pin {
    made: u64,
    keys: HashSet<Key>,
    /// The part of `keys` that the index does not hold yet.
    unsaved: Vec<Key>,
    /// Rows the index holds or will hold.
    rows: u32,
    touched: Option<UtcTime>,
    touch_unsaved: bool,
}

impl PinTable {
    /// The pins that a former run stored.
    pub(crate) fn restore(stored: BTreeMap<PinId, StoredPin>) -> Self {
        let mut table = Self::default();
        for (id, stored) in stored {
            let keys: HashSet<Key> = stored.keys.into_iter().collect();
            for key in &keys {
                *table.counts.entry(*key).or_default() += 1;
            }
            let touched = stored.touched.map(UtcTime::from_unix_ms);
            table.made += 1;
            let pin = Pin {
                made: table.made,
                keys,
                rows: stored.rows,
                touched,
                ..Pin::default()
            };
            table.pins.insert(id, pin);
        }
        table
    }

    pub(crate) fn pin(&mut self, id: &PinId, keys: impl Iterator<Item = Key>) {
        let pin = pin_of(&mut self.pins, &mut self.made, id);
        let before = pin.unsaved.len();
        for key in keys {
            if pin.keys.insert(key) {
                pin.unsaved.push(key);
                *self.counts.entry(key).or_default() += 1;
            }
        }
        if pin.unsaved.len() > before {
            self.sequence += 1;
        }
    }

    pub(crate) fn touch(&mut self, id: &PinId, now: UtcTime) {
        let pin = pin_of(&mut self.pins, &mut self.made, id);
        pin.touched = Some(now);
        pin.touch_unsaved = true;
    }

    pub(crate) fn unpin(&mut self, id: &PinId) {
        let Some(pin) = self.pins.remove(id) else {
            return;
        };
        self.dropped.push(*id);
        for key in &pin.keys {
            self.release(key);
        }
    }

    pub(crate) fn hold(table: &Arc<Mutex<Self>>, keys: Vec<Key>) -> Hold {
        let mut locked = table.lock();
        for key in &keys {
            *locked.counts.entry(*key).or_default() += 1;
        }
        drop(locked);
        Hold {
            table: Arc::clone(table),
            keys,
        }
    }

    fn release(&mut self, key: &Key) {
        let Some(count) = self.counts.get_mut(key) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(key);
            if let Some(lingering) = &mut self.lingering {
                lingering.insert(*key);
            }
        }
    }

    /// Whether a collection must leave the key alone.
    pub(crate) fn protects(&self, key: &Key) -> bool {
        self.counts.contains_key(key) || self.lingering.as_ref().is_some_and(|keys| keys.contains(key))
    }

    /// From now on what is released stays protected, until [`PinTable::end_collection`].
    pub(crate) fn begin_collection(&mut self) {
        self.lingering = Some(HashSet::new());
    }

    pub(crate) fn end_collection(&mut self) {
        self.lingering = None;
    }

    pub(crate) fn infos(&self) -> Vec<PinInfo> {
        self.pins
            .iter()
            .map(|(id, pin)| {
                let chunks = pin.keys.iter().filter(|key| matches!(key, Key::Chunk(_))).count() as u64;
                PinInfo {
                    id: *id,
                    chunks,
                    manifests: pin.keys.len() as u64 - chunks,
                    touched: pin.touched,
                }
            })
            .collect()
    }

    pub(crate) fn contents(&self) -> Vec<PinContents> {
        let contents = self.pins.iter().map(|(id, pin)| {
            let (mut chunks, mut manifests) = (Vec::new(), Vec::new());
            for key in &pin.keys {
                match key {
                    Key::Chunk(chunk) => chunks.push(*chunk),
                    Key::Manifest(manifest) => manifests.push(*manifest),
                }
            }
            chunks.sort_unstable();
            manifests.sort_unstable();
            PinContents {
                id: *id,
                made: pin.made,
                chunks,
                manifests,
            }
        });
        contents.collect()
    }

    /// The count of pins, and of the keys that pins and holds protect.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.pins.len() as u64, self.counts.len() as u64)
    }

    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the index does not hold yet. If storing it fails, [`PinTable::put_back`] must follow.
    pub(crate) fn take_changes(&mut self) -> PinChanges {
        let mut changes = PinChanges {
            dropped: std::mem::take(&mut self.dropped),
            ..PinChanges::default()
        };
        for (id, pin) in &mut self.pins {
            if !pin.unsaved.is_empty() {
                changes
                    .rows
                    .push((*id, pin.rows, std::mem::take(&mut pin.unsaved)));
                pin.rows += 1;
            }
            if let Some(touched) = pin.touched.filter(|_| pin.touch_unsaved) {
                changes.touches.push((*id, touched.unix_ms()));
                pin.touch_unsaved = false;
            }
        }
        changes
    }

    pub(crate) fn put_back(&mut self, changes: PinChanges) {
        for (id, _, keys) in changes.rows {
            if let Some(pin) = self.pins.get_mut(&id) {
                pin.unsaved.extend(keys);
            }
        }
        for (id, _) in changes.touches {
            if let Some(pin) = self.pins.get_mut(&id) {
                pin.touch_unsaved = true;
            }
        }
        self.dropped.extend(changes.dropped);
    }
}

/// The pin of that name, made if there is none.
fn pin_of<'a>(pins: &'a mut BTreeMap<PinId, Pin>, made: &mut u64, id: &PinId) -> &'a mut Pin {
    pins.entry(*id).or_insert_with(|| {
        *made += 1;
        Pin {
            made: *made,
            ..Pin::default()
        }
    })
}
