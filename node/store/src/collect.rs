//! Collection: removes what no live manifest names and nothing protects, and gives the space back.
//!
//! # Why no live chunk is ever lost
//! Let `c` be a chunk that a manifest names which is, or will become, live: its record is applied
//! on this node at some moment A. Whoever made the record held a pin on `c` from before it was told
//! (or relied on) that `c` is here, and releases the pin only after A. A collection
//!
//! 1. *begins*: from here on, what is released stays protected until the collection ends;
//! 2. *marks*: asks for the manifests of a state applied no earlier than the beginning, and notes
//!    them and their chunks;
//! 3. *sweeps*: for each key not marked, under the lock that taking a pin needs as well, removes it
//!    unless a pin, a hold or a lingering release protects it;
//! 4. *reclaims* the space, and *ends*.
//!
//! If A lies before the marked state, `c` is marked. Otherwise the release, being after A, comes
//! after the beginning, so it lingers: from the taking of the pin to the end of the collection `c`
//! is protected. If the pin was taken before `c` was swept, the sweep sees it and leaves `c`. If it
//! was taken after, the pin's owner asks after that whether `c` is here, is told that it is not,
//! and sends it.
//!
//! The same holds for manifests, and for readers: a hold is taken before the look, so what a reader
//! was told of stays until it lets go. A live manifest that is corrupt stops the collection, since
//! its chunks cannot be told from dead ones.
//!
//! A crash ends a collection. What it had removed by then was dead, and comes back if the index was
//! not told; what it had not is swept by the next one. Two things have to outlive the crash: a pin
//! is durable before the record that needs it is proposed ([`ChunkStore::flush`] covers both), since
//! the record may be applied without the process that proposed it; and a state that a crash has set
//! back to before A must not be marked from once the pin is released. For the latter the caller
//! answers: it marks from no state older than one it has shown before.
//!
//! Each of these rules is needed: `tests/model.rs` takes every order of steps of two uploads, a
//! reader, deletions, two collections and a crash, and finds the loss as soon as one of them is
//! broken. That the store does what the model says, real orders of steps show
//! (`tests/interleavings.rs`, all of a small scene; `tests/properties.rs`, random ones with crashes).
//!
//! # How space comes back
//! A segment without a live record is removed when the sweep has ended, and the index is told. If there is no room to
//! tell it, the segments go all the same: after a crash the index's entries for them are found to point nowhere, and
//! dropped. What is garbage in other segments is bounded by rewriting those with the most of it ([`crate::rewrite`]).
//! After a collection and its rewriting no more than [`StoreConfig::garbage_max_percent`] of the packs is garbage (1 % when
//! the store has less room left than a segment), not counting segments that hold a corrupt live record.
//!
//! [`StoreConfig::garbage_max_percent`]: crate::StoreConfig::garbage_max_percent

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use tetryx_protocol::hash::ManifestHash;

use crate::catalog::{Entry, Position};
use crate::error::{MarkError, StoreError};
use crate::record::{Key, SEGMENT_HEADER_LEN, Slot, segment_name};
use crate::rewrite::{Fill, Plan};
use crate::store::{ChunkStore, Inner};

/// Index entries looked at between two moments at which the locks are free.
const PAGE: usize = 1 << 10;

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Manifests that were named live and are here.
    pub manifests_live: u64,
    /// Manifests that were named live and are not here: nothing of theirs was kept for their sake.
    pub manifests_absent: u64,
    /// Manifests removed.
    pub manifests_removed: u64,
    /// Chunks kept.
    pub chunks_live: u64,
    /// Chunks removed.
    pub chunks_removed: u64,
    /// Bytes by which the packs shrank, but for the headers of new segments.
    pub bytes_freed: u64,
    /// Bytes of live records that were copied to free the rest of their segments.
    pub bytes_copied: u64,
    /// Bytes of dead records that stay until there are more of them.
    pub garbage_left: u64,
    /// Segments removed because nothing in them was live.
    pub segments_removed: u64,
    /// Segments removed after their live records were copied.
    pub segments_rewritten: u64,
    /// Sparse segments left as they are: no room for the copies, or a live record is corrupt.
    pub segments_left: u64,
}

impl ChunkStore {
    /// Removes every chunk and manifest that is neither live nor protected, and gives their space
    /// back. `mark` is called once the collection has begun and must list the manifests of a state
    /// applied at or after that moment. Reads, puts and pins go on meanwhile; a second collection
    /// waits for the first.
    ///
    /// # Errors
    /// [`StoreError::Mark`] when `mark` fails, [`StoreError::CorruptManifest`] when a live manifest
    /// is damaged (in both cases nothing was removed), otherwise [`StoreError::Disk`] or
    /// [`StoreError::Index`]; what was removed until then was dead.
    pub fn collect<I>(&self, mark: impl FnOnce() -> Result<I, MarkError>) -> Result<CollectReport, StoreError>
    where
        I: IntoIterator<Item = Result<ManifestHash, MarkError>>,
    {
        let mut plan = self.inner.collecting.lock();
        let mut report = self.inner.sweep(&mut plan, mark)?;
        loop {
            let stretch = self.inner.rewrite(&mut plan, u64::MAX)?;
            report.add(&stretch);
            if stretch.is_done {
                return Ok(report);
            }
        }
    }

    /// As [`ChunkStore::collect`], but gives back only what takes no copying. The rest is up to
    /// [`ChunkStore::rewrite`].
    ///
    /// # Errors
    /// As [`ChunkStore::collect`].
    pub fn sweep<I>(&self, mark: impl FnOnce() -> Result<I, MarkError>) -> Result<CollectReport, StoreError>
    where
        I: IntoIterator<Item = Result<ManifestHash, MarkError>>,
    {
        self.inner.sweep(&mut self.inner.collecting.lock(), mark)
    }
}

/// A running collection; dropping it ends it. The steps must be taken in the order of the methods.
#[derive(Debug)]
pub(crate) struct Collection<'a> {
    store: &'a Inner,
    live_chunks: Vec<u64>,
    live_manifests: Vec<u64>,
    /// What the sweep has still to look at: first the entries that wait for the index, then the
    /// index after a key.
    pending: Vec<(Key, Slot)>,
    after: Option<Key>,
    /// The segment that was appended to when the collection began. Only it and those after it gain
    /// records meanwhile.
    newest: Position,
    live_bytes: BTreeMap<u32, u64>,
    /// What was looked at before it came into the index.
    counted: HashSet<Key>,
    pub(crate) report: CollectReport,
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        self.store.pins.lock().end_collection();
    }
}

impl<'a> Collection<'a> {
    /// From here on what is released lingers.
    pub(crate) fn begin(store: &'a Inner) -> Result<Self, StoreError> {
        store.pins.lock().begin_collection();
        let collection = Self {
            store,
            live_chunks: Vec::new(),
            live_manifests: Vec::new(),
            pending: Vec::new(),
            after: None,
            newest: store.writer.lock().position(),
            live_bytes: BTreeMap::new(),
            counted: HashSet::new(),
            report: CollectReport::default(),
        };
        allow_full(store.flush(true))?;
        Ok(collection)
    }

    /// Notes the live manifests and their chunks. Eight bytes of a hash stand for it: a collision
    /// keeps garbage, and removes nothing.
    pub(crate) fn mark(
        &mut self,
        manifests: impl IntoIterator<Item = Result<ManifestHash, MarkError>>,
    ) -> Result<(), StoreError> {
        for manifest in manifests {
            let hash = manifest.map_err(|source| StoreError::Mark { source })?;
            let key = Key::Manifest(hash);
            if self.store.catalog.get(&key)? == Entry::Absent {
                self.report.manifests_absent += 1;
                continue;
            }
            let manifest = self.store.read_manifest(&hash)?;
            self.report.manifests_live += 1;
            self.live_manifests.push(short(&key));
            self.live_chunks
                .extend(manifest.chunks.iter().map(|chunk| short(&Key::Chunk(chunk.hash))));
        }
        for live in [&mut self.live_chunks, &mut self.live_manifests] {
            live.sort_unstable();
            live.dedup();
        }
        self.pending = self.store.catalog.pending();
        Ok(())
    }

    /// Looks at up to `limit` entries and removes the dead among them; whether there may be more.
    pub(crate) fn sweep(&mut self, limit: usize) -> Result<bool, StoreError> {
        let page = if self.pending.is_empty() {
            let mut page = self.store.catalog.index.page(self.after, limit)?;
            let Some((last, _)) = page.last() else {
                return Ok(false);
            };
            self.after = Some(*last);
            page.retain(|(key, _)| !self.counted.contains(key));
            page
        } else {
            let page = self.pending.split_off(self.pending.len().saturating_sub(limit));
            self.counted.extend(page.iter().map(|(key, _)| *key));
            page
        };
        let (live, unmarked): (Vec<Key>, Vec<Key>) = page
            .into_iter()
            .map(|(key, _)| key)
            .partition(|key| self.is_live(key));
        let (known, _) = self.store.catalog.get_many(&live)?;
        self.keep(live.iter().zip(known));
        // Removing happens under the pins' lock: a pin is either seen here, or is taken after the
        // removal and finds the chunk gone.
        let pins = self.store.pins.lock();
        let (known, _) = self.store.catalog.get_many(&unmarked)?;
        let (protected, dead): (Vec<_>, Vec<_>) = unmarked
            .iter()
            .zip(known)
            .filter(|(_, entry)| *entry != Entry::Absent)
            .partition(|(key, _)| pins.protects(key));
        let dead: Vec<Key> = dead.into_iter().map(|(key, _)| *key).collect();
        self.store.catalog.remove(&dead);
        drop(pins);
        self.keep(protected);
        let chunks = dead.iter().filter(|key| matches!(key, Key::Chunk(_))).count() as u64;
        self.report.chunks_removed += chunks;
        self.report.manifests_removed += dead.len() as u64 - chunks;
        if self.store.catalog.pending_len() >= PAGE {
            allow_full(self.store.flush(true))?;
        }
        Ok(true)
    }

    fn is_live(&self, key: &Key) -> bool {
        let live = match key {
            Key::Chunk(_) => &self.live_chunks,
            Key::Manifest(_) => &self.live_manifests,
        };
        live.binary_search(&short(key)).is_ok()
    }

    fn keep<'k>(&mut self, entries: impl IntoIterator<Item = (&'k Key, Entry)>) {
        for (key, entry) in entries {
            let Some(slot) = entry.slot() else { continue };
            self.report.chunks_live += u64::from(matches!(key, Key::Chunk(_)));
            let position = Position {
                segment: slot.segment,
                offset: u64::from(slot.offset),
            };
            if position < self.newest {
                *self.live_bytes.entry(slot.segment).or_default() += slot.record_len();
            }
        }
    }

    /// Removes segments without live records, and tells which of the others to rewrite.
    pub(crate) fn reclaim(&mut self) -> Result<Plan, StoreError> {
        allow_full(self.store.flush(true))?;
        let header = u64::from(SEGMENT_HEADER_LEN);
        let mut fills = Vec::new();
        let mut removed = Vec::new();
        for number in self.store.segment_numbers()? {
            let live = self.live_bytes.get(&number).copied().unwrap_or(0);
            let len = match number.cmp(&self.newest.segment) {
                Ordering::Less => self.store.segment_len(number)?,
                // What was appended since the beginning is not counted as live: leave it out.
                Ordering::Equal => self.newest.offset,
                Ordering::Greater => break,
            };
            if number < self.newest.segment && live == 0 {
                self.report.bytes_freed += self.store.remove_segment(number)?;
                self.report.segments_removed += 1;
                removed.push(number);
            } else {
                fills.push(Fill {
                    number,
                    records: len.saturating_sub(header),
                    live,
                });
            }
        }
        self.store.forget_removed(&mut removed)?;
        allow_full(self.store.flush(true))?;
        let plan = Plan::new(fills, self.newest.segment, self.store.garbage_max_percent()?);
        self.report.garbage_left = plan.garbage_left;
        Ok(plan)
    }
}

impl Inner {
    /// As [`ChunkStore::sweep`].
    fn sweep<I>(
        &self,
        plan: &mut Plan,
        mark: impl FnOnce() -> Result<I, MarkError>,
    ) -> Result<CollectReport, StoreError>
    where
        I: IntoIterator<Item = Result<ManifestHash, MarkError>>,
    {
        let mut collection = Collection::begin(self)?;
        collection.mark(mark().map_err(|source| StoreError::Mark { source })?)?;
        while collection.sweep(PAGE)? {}
        *plan = collection.reclaim()?;
        Ok(collection.report)
    }

    /// Everything the catalog has in a segment, in the order of the file. Reads the whole index.
    pub(crate) fn named_in(&self, number: u32) -> Result<Vec<(Key, Slot)>, StoreError> {
        let mut named = self.catalog.pending_in(number, 0);
        let mut after = None;
        loop {
            let page = self.catalog.index.page(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = Some(*last);
            let keys: Vec<Key> = page
                .iter()
                .filter(|(_, slot)| slot.segment == number)
                .map(|(key, _)| *key)
                .collect();
            let (current, _) = self.catalog.get_many(&keys)?;
            let here = keys
                .into_iter()
                .zip(current)
                .filter_map(|(key, entry)| Some((key, entry.slot()?)));
            named.extend(here.filter(|(_, slot)| slot.segment == number));
        }
        named.sort_unstable_by_key(|(key, slot)| (slot.offset, *key));
        named.dedup();
        Ok(named)
    }

    /// The numbers of all segments on the disk, ascending.
    pub(crate) fn segment_numbers(&self) -> Result<Vec<u32>, StoreError> {
        let names = self
            .disk
            .list()
            .map_err(|source| StoreError::disk("list", ".", source))?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| crate::record::segment_number(name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(crate) fn segment_len(&self, number: u32) -> Result<u64, StoreError> {
        self.segments
            .file(number)
            .and_then(|file| file.len())
            .map_err(|source| StoreError::disk("measure", &segment_name(number), source))
    }
}

/// The first eight bytes of a key's hash.
fn short(key: &Key) -> u64 {
    let hash = key.hash();
    u64::from_be_bytes([
        hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
    ])
}

/// A collection goes on when the index cannot be written for want of space: it is what makes room.
fn allow_full(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "collecting although the index cannot be brought up to date yet");
            Ok(())
        }
        other => other,
    }
}
