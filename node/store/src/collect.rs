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
//! and sends it. A pin taken *after* the answer would leave a gap exactly here; the tests hold a
//! mutant that does so, and catch it.
//!
//! The same holds for manifests. A crash ends a collection; what it had removed by then was dead,
//! and what it had not is swept by the next one. A live manifest that is corrupt stops the
//! collection, since its chunks cannot be told from dead ones.
//!
//! # How space comes back
//! A segment without a live record is removed; one less than half live is emptied by appending
//! copies of its live records, and removed once these are durable. The index is told between. If
//! there is no room to tell it, segments without live records go first: after a crash the index's
//! entries for them are found to point nowhere, and dropped.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use tetryx_protocol::hash::ManifestHash;

use crate::catalog::{Entry, Position};
use crate::error::{MarkError, StoreError};
use crate::ingest::Purpose;
use crate::record::{Key, SEGMENT_HEADER_LEN, Slot, segment_name};
use crate::scan::{Found, scan};
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
        let inner = &*self.inner;
        let _one_at_a_time = inner.collecting.lock();
        let mut collection = Collection::begin(inner)?;
        collection.mark(mark().map_err(|source| StoreError::Mark { source })?)?;
        while collection.sweep(PAGE)? {}
        collection.reclaim()?;
        Ok(collection.report)
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
    /// Segments removed, in a directory that was not synced since.
    unlinked: Vec<u32>,
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
            unlinked: Vec::new(),
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
            let page = self.store.catalog.index.page(self.after, limit)?;
            let Some((last, _)) = page.last() else {
                return Ok(false);
            };
            self.after = Some(*last);
            page
        } else {
            self.pending.split_off(self.pending.len().saturating_sub(limit))
        };
        let (live, unmarked): (Vec<_>, Vec<_>) = page.into_iter().partition(|(key, _)| self.is_live(key));
        self.keep(&live);
        let keys: Vec<Key> = unmarked.iter().map(|(key, _)| *key).collect();
        // Removing happens under the pins' lock: a pin is either seen here, or is taken after the
        // removal and finds the chunk gone.
        let pins = self.store.pins.lock();
        let (known, _) = self.store.catalog.get_many(&keys)?;
        let mut dead = Vec::new();
        let mut protected = Vec::new();
        for ((key, _), entry) in unmarked.iter().zip(known) {
            match entry.slot() {
                None => {}
                Some(slot) if pins.protects(key) => protected.push((*key, slot)),
                Some(_) => dead.push(*key),
            }
        }
        self.store.catalog.remove(&dead);
        drop(pins);
        self.keep(&protected);
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

    fn keep(&mut self, entries: &[(Key, Slot)]) {
        for (key, slot) in entries {
            *self.live_bytes.entry(slot.segment).or_default() += slot.record_len();
            self.report.chunks_live += u64::from(matches!(key, Key::Chunk(_)));
        }
    }

    /// Removes segments without live records and empties sparse ones.
    pub(crate) fn reclaim(&mut self) -> Result<(), StoreError> {
        allow_full(self.store.flush(true))?;
        let mut sparse = Vec::new();
        for number in self.store.segment_numbers()? {
            let live = self.live_bytes.get(&number).copied().unwrap_or(0);
            let len = match number.cmp(&self.newest.segment) {
                Ordering::Less => self.store.segment_len(number)?,
                // What was appended since the beginning is not counted as live: leave it out.
                Ordering::Equal => self.newest.offset,
                Ordering::Greater => break,
            };
            if number < self.newest.segment && live == 0 {
                self.report.bytes_freed += self.remove(number)?;
                self.report.segments_removed += 1;
            } else if len > u64::from(SEGMENT_HEADER_LEN) && live * 2 < len {
                sparse.push((live, number));
            }
        }
        self.forget_unlinked()?;
        // The emptiest first: it frees the most for the room it takes.
        sparse.sort_unstable();
        for (_, number) in sparse {
            match self.store.empty_segment(number) {
                Ok(Some(copied)) => {
                    let removed = self.remove(number)?;
                    self.report.bytes_freed += removed.saturating_sub(copied);
                    if copied == 0 {
                        self.report.segments_removed += 1;
                    } else {
                        self.report.segments_rewritten += 1;
                    }
                }
                Ok(None) => self.report.segments_left += 1,
                Err(error) if error.is_full() => {
                    tracing::warn!(%error, segment = segment_name(number), "no room to rewrite a sparse segment");
                    self.report.segments_left += 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.forget_unlinked()
    }

    /// Removes a segment that nothing points into; returns its length.
    fn remove(&mut self, number: u32) -> Result<u64, StoreError> {
        let len = self.store.segment_len(number)?;
        self.store
            .segments
            .remove(number)
            .map_err(|source| StoreError::disk("remove", &segment_name(number), source))?;
        self.store.writer.lock().removed(number, len);
        self.unlinked.push(number);
        Ok(len)
    }

    /// Tells the index of the removed segments, once they stay removed whatever happens.
    fn forget_unlinked(&mut self) -> Result<(), StoreError> {
        if self.unlinked.is_empty() {
            return Ok(());
        }
        self.store
            .disk
            .sync_dir()
            .map_err(|source| StoreError::disk("sync", ".", source))?;
        self.store
            .writer
            .lock()
            .unindexed_removals
            .append(&mut self.unlinked);
        allow_full(self.store.flush(true))
    }
}

impl Inner {
    /// Moves all live records out of a segment. Returns the bytes it copied once nothing points
    /// into the segment any more, `None` when something has to.
    fn empty_segment(&self, number: u32) -> Result<Option<u64>, StoreError> {
        {
            let mut writer = self.writer.lock();
            if writer.position().segment == number {
                writer
                    .roll()
                    .map_err(|error| self.with_numbers(error, u64::from(SEGMENT_HEADER_LEN)))?;
            }
        }
        let live = self.live_records(number)?;
        let bad = self.relocate(&live, Purpose::Collection)?;
        for (key, slot) in &bad {
            self.catalog.damage(key, slot);
        }
        // The copies are durable and the index names them before the originals go.
        self.flush(true)?;
        let keys: Vec<Key> = live.iter().map(|(key, _)| *key).collect();
        let (current, _) = self.catalog.get_many(&keys)?;
        if current
            .iter()
            .filter_map(|entry| entry.slot())
            .any(|slot| slot.segment == number)
        {
            return Ok(None);
        }
        Ok(Some(live.iter().map(|(_, slot)| slot.record_len()).sum()))
    }

    /// The records of a segment that the catalog names.
    fn live_records(&self, number: u32) -> Result<Vec<(Key, Slot)>, StoreError> {
        let file = self
            .segments
            .file(number)
            .map_err(|source| StoreError::disk("open", &segment_name(number), source))?;
        let mut records = Vec::new();
        let mut has_gap = false;
        scan(file.as_ref(), number, u64::from(SEGMENT_HEADER_LEN), |met| {
            match met {
                Found::Record { header, slot, .. } | Found::Damaged(header, slot) => {
                    records.push((header.key, slot));
                }
                Found::Gap { .. } => has_gap = true,
            }
            Ok(())
        })?;
        if has_gap {
            // A header may be damaged: only the catalog knows all that should be here.
            return self.named_in(number);
        }
        let keys: Vec<Key> = records.iter().map(|(key, _)| *key).collect();
        let (current, _) = self.catalog.get_many(&keys)?;
        let live = records
            .into_iter()
            .zip(current)
            .filter(|((_, slot), now)| now.slot() == Some(*slot));
        Ok(live.map(|(record, _)| record).collect())
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
