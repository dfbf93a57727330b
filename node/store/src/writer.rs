//! Appends records to the open segment.
//!
//! # Invariants
//! - Records are appended in one order, by (segment, offset); a segment that is not the open one
//!   never grows again.
//! - Bytes past the open segment's `end` belong to no record: a failed append leaves the end where
//!   it was, and the next one writes over what it left.
//! - The segment with the highest number is never removed, so numbers are never used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::Position;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StoreError;
use crate::record::{Key, SEGMENT_HEADER_LEN, Slot, segment_header, segment_name, write_record};

/// Records encoded back to back, ready to be appended.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: Vec<(Key, u32, u32)>,
}

impl Batch {
    pub(crate) fn push(&mut self, key: Key, raw_len: u32, payload: &[u8], payload_len: u32) {
        write_record(&mut self.bytes, &key, raw_len, payload, payload_len);
        self.records.push((key, raw_len, payload_len));
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.records.iter().map(|(key, _, _)| *key).collect()
    }

    fn record_len(&self, at: usize) -> u64 {
        self.slot(at, Position::default()).record_len()
    }

    fn slot(&self, at: usize, position: Position) -> Slot {
        let (_, raw_len, frame_len) = self.records[at];
        let offset = u32::try_from(position.offset).expect("a segment ends its growth at 1 GiB");
        Slot {
            segment: position.segment,
            offset,
            frame_len,
            raw_len,
        }
    }

    /// Bytes of the records to keep.
    pub(crate) fn kept_len(&self, keep: &[bool]) -> u64 {
        keep.iter()
            .enumerate()
            .filter(|(_, keep)| **keep)
            .map(|(at, _)| self.record_len(at))
            .sum()
    }
}

/// The state of appending; one lock guards it.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    open: Option<OpenSegment>,
    next_number: u32,
    /// Where the last append ended.
    position: Position,
    /// Segments with bytes that were never synced.
    dirty: BTreeMap<u32, Arc<dyn DiskFile>>,
    /// Whether a segment was created since the directory was last synced.
    directory_dirty: bool,
    /// Where the segments end that the index does not reflect to their end yet.
    pub(crate) ends: BTreeMap<u32, u64>,
    /// Segments whose sync failed: what they hold beyond the last good sync must be written again.
    pub(crate) suspects: BTreeSet<u32>,
    /// Segments that are gone and that the index still knows.
    pub(crate) unindexed_removals: Vec<u32>,
    /// Bytes of all segments together.
    pub(crate) used: u64,
    /// How many segments there are.
    pub(crate) segments: u64,
}

#[derive(Debug)]
struct OpenSegment {
    number: u32,
    file: Arc<dyn DiskFile>,
    end: u64,
}

/// What a flush has to sync.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) position: Position,
    pub(crate) files: BTreeMap<u32, Arc<dyn DiskFile>>,
    pub(crate) directory: bool,
    pub(crate) ends: BTreeMap<u32, u64>,
}

impl Writer {
    /// A writer that goes on after `segments` (number to length); it appends to the last one if
    /// `reopen` says so.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        segments: &BTreeMap<u32, u64>,
        highest: u32,
        reopen: Option<Arc<dyn DiskFile>>,
    ) -> Self {
        let last = segments.last_key_value().map(|(number, len)| (*number, *len));
        let open = last
            .zip(reopen)
            .map(|((number, end), file)| OpenSegment { number, file, end });
        let position = last.map_or_else(Position::default, |(segment, offset)| Position {
            segment,
            offset,
        });
        Self {
            disk,
            segment_bytes,
            open,
            next_number: highest + 1,
            position,
            dirty: BTreeMap::new(),
            directory_dirty: false,
            ends: BTreeMap::new(),
            suspects: BTreeSet::new(),
            unindexed_removals: Vec::new(),
            used: segments.values().sum(),
            segments: segments.len() as u64,
        }
    }

    /// Where the last append ended.
    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    /// The segment being appended to.
    pub(crate) fn open_number(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.number)
    }

    /// Bytes the index does not reflect yet, roughly.
    pub(crate) fn unindexed(&self) -> u64 {
        let earlier = self.ends.len().saturating_sub(1) as u64 * self.segment_bytes;
        earlier + self.ends.last_key_value().map_or(0, |(_, end)| *end)
    }

    /// Appends the records to keep, telling `publish` of each run as soon as it is readable. On
    /// failure the runs published so far stay.
    pub(crate) fn append(
        &mut self,
        batch: &Batch,
        keep: &[bool],
        mut publish: impl FnMut(&[(usize, Key, Slot)]),
    ) -> Result<(), StoreError> {
        let mut start = 0;
        let mut at = 0;
        while at < batch.records.len() {
            let mut run = Vec::new();
            let mut len = 0;
            if keep[at] {
                self.make_room(batch.record_len(at))?;
            }
            while at < batch.records.len() && keep[at] {
                let record_len = batch.record_len(at);
                let position = Position {
                    segment: self.position.segment,
                    offset: self.position.offset + len,
                };
                if !run.is_empty() && position.offset + record_len > self.segment_bytes {
                    break;
                }
                run.push((at, batch.records[at].0, batch.slot(at, position)));
                len += record_len;
                at += 1;
            }
            let end = start + usize::try_from(len).expect("the run lies in the batch's buffer");
            if !run.is_empty() {
                self.write(&batch.bytes[start..end])?;
                publish(&run);
            }
            start = end;
            while at < batch.records.len() && !keep[at] {
                start +=
                    usize::try_from(batch.record_len(at)).expect("the record lies in the batch's buffer");
                at += 1;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let open = self.open.as_mut().expect("make_room has opened a segment");
        if let Err(source) = open.file.write_at(open.end, bytes) {
            let name = segment_name(open.number);
            if let Err(error) = open.file.set_len(open.end) {
                tracing::warn!(%error, segment = name, "cannot cut off a failed append; the next one overwrites it");
            }
            return Err(StoreError::disk("append to", &name, source));
        }
        open.end += bytes.len() as u64;
        self.used += bytes.len() as u64;
        self.position = Position {
            segment: open.number,
            offset: open.end,
        };
        self.dirty.insert(open.number, Arc::clone(&open.file));
        self.ends.insert(open.number, open.end);
        Ok(())
    }

    /// Opens the next segment unless the open one has room for a record.
    fn make_room(&mut self, record_len: u64) -> Result<(), StoreError> {
        let fits = self.open.as_ref().is_some_and(|open| {
            open.end == u64::from(SEGMENT_HEADER_LEN) || open.end + record_len <= self.segment_bytes
        });
        if fits { Ok(()) } else { self.roll() }
    }

    /// Ends the open segment and begins the next one.
    pub(crate) fn roll(&mut self) -> Result<(), StoreError> {
        let number = self.next_number;
        let name = segment_name(number);
        let created = self.disk.open(&name, OpenMode::Create).and_then(|file| {
            file.set_len(0)?;
            file.write_at(0, &segment_header(number))?;
            Ok(file)
        });
        let file = match created {
            Ok(file) => file,
            Err(source) => {
                // Its number is free again only if it is gone for good: take the next one.
                self.next_number += 1;
                if let Err(error) = self.disk.remove(&name) {
                    tracing::warn!(%error, segment = name, "cannot remove a segment that could not be begun");
                }
                return Err(StoreError::disk("create", &name, source));
            }
        };
        self.next_number += 1;
        self.directory_dirty = true;
        self.dirty.insert(number, Arc::clone(&file));
        let end = u64::from(SEGMENT_HEADER_LEN);
        self.ends.insert(number, end);
        self.used += end;
        self.segments += 1;
        self.position = Position {
            segment: number,
            offset: end,
        };
        self.open = Some(OpenSegment { number, file, end });
        Ok(())
    }

    /// Ends the open segment without beginning another: the next append begins one.
    pub(crate) fn seal(&mut self) {
        self.open = None;
    }

    /// Takes what has to be synced. If that fails, [`Writer::put_back`] must follow.
    pub(crate) fn take_unsynced(&mut self) -> Unsynced {
        Unsynced {
            position: self.position,
            files: std::mem::take(&mut self.dirty),
            directory: std::mem::take(&mut self.directory_dirty),
            ends: self.ends.clone(),
        }
    }

    /// What was taken and not synced has to be synced still.
    pub(crate) fn put_back(&mut self, files: BTreeMap<u32, Arc<dyn DiskFile>>, directory: bool) {
        for (number, file) in files {
            self.dirty.entry(number).or_insert(file);
        }
        self.directory_dirty |= directory;
    }

    /// The index reflects these ends now.
    pub(crate) fn indexed(&mut self, ends: &BTreeMap<u32, u64>) {
        self.ends.retain(|number, end| ends.get(number) != Some(end));
    }

    /// Bytes at the end of a segment have been cut off.
    pub(crate) fn cut(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// A segment has been removed.
    pub(crate) fn removed(&mut self, number: u32, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
        self.segments = self.segments.saturating_sub(1);
        self.ends.remove(&number);
        self.dirty.remove(&number);
    }
}
