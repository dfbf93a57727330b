//! Rewrites sparse segments: their live records are copied to the end of the packs, and their bytes go back to the disk.
//!
//! A collection measures how much of each segment is garbage and makes a [`Plan`]. The emptiest segments are rewritten
//! first, until of all that the packs take no more is garbage than the configuration allows, and no segment is less
//! than half live. A segment is emptied from its end towards its beginning, a stretch at a time:
//!
//! 1. the live records of its last stretch are copied to the end of the packs, and synced;
//! 2. one transaction tells the index where they are now, and that the segment ends before the stretch;
//! 3. the stretch is cut off. With the last one the segment is removed.
//!
//! A crash before the transaction leaves copies without a purpose, or, if the scan at the next start finds them,
//! originals without one. A crash between transaction and cut leaves a segment that is longer than the index says: the
//! next start reads the stretch again, and what it finds there is named by its hash and as good as the copies. Either
//! way the dead among them go with the next collection.
//!
//! # Invariants
//! - A rewrite takes the room of one stretch in advance: an eighth of a segment, and no more than half of what the disk
//!   has free, unless a single record is larger. What ingest leaves free is twice that, so a full store can be
//!   rewritten; that it has no room for more than a stretch only makes it take more of them.
//! - No byte is cut off that the index, as it lies on the disk, names.
//! - Nothing is rewritten while a collection sweeps: what it removes stays removed.
//!
//! # Non-goals
//! - Pace: whoever calls [`ChunkStore::rewrite`] waits between two stretches as long as is polite.

use std::io;

use crate::catalog::{Entry, Position};
use crate::collect::CollectReport;
use crate::disk::DiskFile;
use crate::error::StoreError;
use crate::ingest::Purpose;
use crate::record::{Key, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, Slot, segment_name};
use crate::store::{ChunkStore, Inner};

/// The share of the packs that may be garbage while there is little room, in percent.
const SCARCE_GARBAGE_MAX_PERCENT: u8 = 1;

/// How full a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) number: u32,
    /// Bytes of its records.
    pub(crate) records: u64,
    /// Bytes of those among them that are live or protected.
    pub(crate) live: u64,
}

impl Fill {
    const fn garbage(&self) -> u64 {
        self.records.saturating_sub(self.live)
    }
}

/// What is to be rewritten. The lock around it lets one collection, or one stretch, happen at a time.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Sparse segments, the emptiest last.
    sparse: Vec<u32>,
    emptying: Option<Emptying>,
    /// Bytes of garbage that the plan leaves where they are.
    pub(crate) garbage_left: u64,
}

/// A segment that is being emptied.
#[derive(Debug)]
struct Emptying {
    number: u32,
    /// What of it was live when it was looked through and has not been copied yet, in the order of the file.
    live: Vec<(Key, Slot)>,
    /// Whether anything was copied.
    copied: bool,
}

impl Plan {
    /// Chooses from all segments those to rewrite. `newest` is the one being appended to: if it is chosen it comes first,
    /// so that nothing is copied into it that has to be copied again.
    pub(crate) fn new(mut segments: Vec<Fill>, newest: u32, garbage_max_percent: u8) -> Self {
        let mut total: u64 = segments.iter().map(|fill| fill.records).sum();
        let mut garbage: u64 = segments.iter().map(Fill::garbage).sum();
        segments.retain(|fill| fill.garbage() > 0);
        // The emptiest first: it frees the most for what has to be copied.
        segments.sort_unstable_by_key(|fill| {
            let live_share = u128::from(fill.live) * u128::from(u64::MAX) / u128::from(fill.records);
            (live_share, fill.number)
        });
        let mut sparse = Vec::new();
        for fill in segments {
            let is_sparse = fill.live < fill.garbage();
            let is_too_much = u128::from(garbage) * 100 > u128::from(total) * u128::from(garbage_max_percent);
            if !is_sparse && !is_too_much {
                break;
            }
            sparse.push(fill.number);
            total -= fill.garbage();
            garbage -= fill.garbage();
        }
        sparse.reverse();
        if let Some(at) = sparse.iter().position(|number| *number == newest) {
            let newest = sparse.remove(at);
            sparse.push(newest);
        }
        Self {
            sparse,
            emptying: None,
            garbage_left: garbage,
        }
    }

    #[cfg(test)]
    pub(crate) fn segments(&self) -> Vec<u32> {
        self.sparse.iter().rev().copied().collect()
    }
}

/// What one stretch of rewriting did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriteReport {
    /// Bytes of the records that were copied.
    pub bytes_copied: u64,
    /// Bytes by which the packs shrank, the copies taken into account.
    pub bytes_freed: u64,
    /// Segments removed in which nothing was live any more.
    pub segments_removed: u64,
    /// Segments removed after their live records were copied.
    pub segments_rewritten: u64,
    /// Segments left as they are: no room for the copies, or a live record is corrupt.
    pub segments_left: u64,
    /// Whether nothing is left to rewrite until the next collection.
    pub is_done: bool,
}

impl CollectReport {
    /// Adds what a stretch of rewriting did.
    pub fn add(&mut self, stretch: &RewriteReport) {
        self.bytes_freed += stretch.bytes_freed;
        self.bytes_copied += stretch.bytes_copied;
        self.segments_removed += stretch.segments_removed;
        self.segments_rewritten += stretch.segments_rewritten;
        self.segments_left += stretch.segments_left;
    }
}

impl ChunkStore {
    /// Rewrites the next stretch of what the last collection found sparse: copies live records of about `bytes_max`
    /// bytes, at least one of them, and cuts off the place where they were. Reads and puts go on meanwhile; a
    /// collection waits.
    ///
    /// # Errors
    /// [`StoreError::Disk`], [`StoreError::Index`] or [`StoreError::Lost`]. That there is no room for a copy is no
    /// error but in the report.
    pub fn rewrite(&self, bytes_max: u64) -> Result<RewriteReport, StoreError> {
        let mut plan = self.inner.collecting.lock();
        self.inner.rewrite(&mut plan, bytes_max)
    }
}

impl Inner {
    /// The share of the packs that may stay garbage, in percent.
    pub(crate) fn garbage_max_percent(&self) -> Result<u8, StoreError> {
        let writer = self.writer.lock();
        let is_scarce = self.room(&writer)? < self.config.segment_bytes;
        Ok(match is_scarce {
            true => self.config.garbage_max_percent.min(SCARCE_GARBAGE_MAX_PERCENT),
            false => self.config.garbage_max_percent,
        })
    }

    /// As [`ChunkStore::rewrite`].
    pub(crate) fn rewrite(&self, plan: &mut Plan, bytes_max: u64) -> Result<RewriteReport, StoreError> {
        let mut report = RewriteReport::default();
        let emptying = match plan.emptying.take() {
            Some(emptying) => Some(emptying),
            None => match plan.sparse.pop() {
                Some(number) => self.begin_emptying(number, &mut report)?,
                None => None,
            },
        };
        if let Some(mut emptying) = emptying {
            match self.empty_further(&mut emptying, bytes_max, &mut report) {
                Ok(true) => plan.emptying = Some(emptying),
                Ok(false) => {}
                Err(error) if error.is_full() => {
                    let segment = segment_name(emptying.number);
                    tracing::warn!(%error, segment, "no room to rewrite a sparse segment");
                    report.segments_left += 1;
                }
                Err(error) => return Err(error),
            }
        }
        report.is_done = plan.emptying.is_none() && plan.sparse.is_empty();
        Ok(report)
    }

    /// Looks through a segment; `None` when it is gone or has to stay.
    fn begin_emptying(
        &self,
        number: u32,
        report: &mut RewriteReport,
    ) -> Result<Option<Emptying>, StoreError> {
        let file = match self.segments.file(number) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::disk("open", &segment_name(number), source)),
        };
        {
            let mut writer = self.writer.lock();
            if writer.position().segment == number
                && let Err(error) = writer.roll()
            {
                let error = self.with_numbers(error, u64::from(SEGMENT_HEADER_LEN));
                if !error.is_full() {
                    return Err(error);
                }
                tracing::warn!(%error, segment = segment_name(number), "no room to begin a segment");
                report.segments_left += 1;
                return Ok(None);
            }
        }
        Ok(Some(Emptying {
            number,
            live: self.live_records(number, file.as_ref())?,
            copied: false,
        }))
    }

    /// Empties a segment by one stretch; whether there is more of it.
    fn empty_further(
        &self,
        emptying: &mut Emptying,
        bytes_max: u64,
        report: &mut RewriteReport,
    ) -> Result<bool, StoreError> {
        let number = emptying.number;
        let taken = emptying.take_stretch(self.stretch_max(bytes_max)?);
        let relocated = self.relocate(&taken, Purpose::Collection)?;
        for (key, slot) in &relocated.bad {
            self.catalog.damage(key, slot);
        }
        if !relocated.bad.is_empty() {
            report.segments_left += 1;
            return Ok(false);
        }
        let end = emptying.end();
        if !emptying.live.is_empty() {
            self.writer.lock().ends.insert(number, end);
        }
        if !taken.is_empty() {
            // The copies are durable and the index names them before the originals go.
            self.flush(true)?;
        }
        let keys: Vec<Key> = taken.iter().map(|(key, _)| *key).collect();
        let (current, _) = self.catalog.get_many(&keys)?;
        let is_here = |entry: &Entry| {
            entry
                .slot()
                .is_some_and(|slot| slot.segment == number && u64::from(slot.offset) >= end)
        };
        if current.iter().any(is_here) {
            report.segments_left += 1;
            return Ok(false);
        }
        emptying.copied |= relocated.bytes > 0;
        let freed = match emptying.live.is_empty() {
            true => {
                let freed = self.remove_segment(number)?;
                self.forget_removed(&mut vec![number])?;
                match emptying.copied {
                    true => report.segments_rewritten += 1,
                    false => report.segments_removed += 1,
                }
                freed
            }
            false => self.cut_segment(number, end)?,
        };
        report.bytes_copied += relocated.bytes;
        report.bytes_freed += freed.saturating_sub(relocated.bytes);
        Ok(!emptying.live.is_empty())
    }

    /// How many bytes of records to copy at once.
    fn stretch_max(&self, wanted: u64) -> Result<u64, StoreError> {
        let free = self
            .disk
            .free()
            .map_err(|source| StoreError::disk("measure", ".", source))?;
        Ok(wanted.min(self.config.segment_bytes / 8).min(free / 2))
    }

    /// The records of a segment that the catalog names, in the order of the file. Reads their headers only.
    fn live_records(&self, number: u32, file: &dyn DiskFile) -> Result<Vec<(Key, Slot)>, StoreError> {
        let Some(records) = headers(file, number)
            .map_err(|source| StoreError::disk("read", &segment_name(number), source))?
        else {
            // A header is damaged: only the catalog knows all that should be here.
            return self.named_in(number);
        };
        let keys: Vec<Key> = records.iter().map(|(key, _)| *key).collect();
        let (current, _) = self.catalog.get_many(&keys)?;
        let live = records
            .into_iter()
            .zip(current)
            .filter(|((_, slot), now)| now.slot() == Some(*slot));
        Ok(live.map(|(record, _)| record).collect())
    }

    fn cut_segment(&self, number: u32, end: u64) -> Result<u64, StoreError> {
        let len = self.segment_len(number)?;
        self.segments
            .file(number)
            .and_then(|file| file.set_len(end).and_then(|()| file.sync()))
            .map_err(|source| StoreError::disk("cut", &segment_name(number), source))?;
        let freed = len.saturating_sub(end);
        self.writer.lock().cut(freed);
        Ok(freed)
    }

    /// Removes a segment that nothing points into; returns its length.
    pub(crate) fn remove_segment(&self, number: u32) -> Result<u64, StoreError> {
        let len = self.segment_len(number)?;
        self.segments
            .remove(number)
            .map_err(|source| StoreError::disk("remove", &segment_name(number), source))?;
        self.writer.lock().removed(number, len);
        Ok(len)
    }

    /// Has the index forget removed segments with its next transaction, now that they stay removed whatever happens.
    pub(crate) fn forget_removed(&self, numbers: &mut Vec<u32>) -> Result<(), StoreError> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.disk
            .sync_dir()
            .map_err(|source| StoreError::disk("sync", ".", source))?;
        self.writer.lock().unindexed_removals.append(numbers);
        Ok(())
    }
}

impl Emptying {
    /// Takes live records from the end, of `bytes_max` bytes together or a single one.
    fn take_stretch(&mut self, bytes_max: u64) -> Vec<(Key, Slot)> {
        let mut bytes = 0;
        let mut taken = 0;
        for (_, slot) in self.live.iter().rev() {
            bytes += slot.record_len();
            if taken > 0 && bytes > bytes_max {
                break;
            }
            taken += 1;
        }
        self.live.split_off(self.live.len() - taken)
    }

    /// Where what is left of the segment ends.
    fn end(&self) -> u64 {
        self.live
            .last()
            .map_or(u64::from(SEGMENT_HEADER_LEN), |(_, slot)| slot.end())
    }
}

/// The records of a segment by their headers; `None` if one of them is damaged.
fn headers(file: &dyn DiskFile, segment: u32) -> io::Result<Option<Vec<(Key, Slot)>>> {
    let end = file.len()?;
    let mut position = Position {
        segment,
        offset: u64::from(SEGMENT_HEADER_LEN),
    };
    let mut records = Vec::new();
    while position.offset < end {
        let mut bytes = [0; RECORD_HEADER_LEN as usize];
        let read = file.read_at(position.offset, &mut bytes)?;
        let Some(header) = RecordHeader::parse(&bytes[..read]) else {
            return Ok(None);
        };
        let Ok(offset) = u32::try_from(position.offset) else {
            return Ok(None);
        };
        let slot = Slot {
            segment,
            offset,
            frame_len: header.frame_len,
            raw_len: header.raw_len,
        };
        if slot.end() > end {
            return Ok(None);
        }
        records.push((header.key, slot));
        position.offset = slot.end();
    }
    Ok(Some(records))
}
