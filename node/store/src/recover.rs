//! Opens the store: brings the index up to the packs after a crash, a deletion or damage.
//!
//! # What a crash can leave
//! - Bytes of an append that were not yet synced: all, some or none. Whole records among them are
//!   kept (they are content-addressed, so nobody can tell); a torn tail of the last segment is cut
//!   off, elsewhere it is skipped and goes when its segment is collected.
//! - A segment file without its header, or without its directory entry: nothing in it was ever
//!   acknowledged. An empty one is removed.
//! - A segment that the index names and that a collection has removed: its live records were copied
//!   and synced before, so the scan finds the copies; what still points at it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tetryx_protocol::frame::FrameOpener;
use tetryx_protocol::hash::ManifestHash;
use tracing::{info, warn};

use crate::catalog::{Catalog, Position};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StoreError;
use crate::flush::Progress;
use crate::index::{CHECKED_BYTES_MAX, Changes, Index};
use crate::pins::PinTable;
use crate::record::{
    Key, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SEGMENT_VERSION, SegmentHeader, Slot,
    parse_segment_header, segment_name, segment_number,
};
use crate::scan::{Found, scan};
use crate::segments::Segments;
use crate::store::{Inner, StoreConfig};
use crate::writer::Writer;

/// Index entries written in one transaction while packs are scanned.
const COMMIT_ENTRIES: usize = 16 << 10;
/// Index entries read at once.
const PAGE: usize = 4 << 10;

impl Inner {
    /// Opens everything and repairs what needs it.
    pub(crate) fn recover(disk: Arc<dyn Disk>, config: StoreConfig) -> Result<Self, StoreError> {
        let (index, is_new) = Index::open(Arc::clone(&disk), config.index_cache_bytes, CHECKED_BYTES_MAX)?;
        let mut recovery = Recovery {
            disk: disk.as_ref(),
            index: &index,
            files: BTreeMap::new(),
            changes: Changes::default(),
            is_rebuild: is_new,
            found: 0,
        };
        recovery.open_segments()?;
        let ends = index.ends()?;
        let highest = recovery.highest(&ends);
        let ahead = ends
            .iter()
            .find(|(number, end)| recovery.len(**number).is_some_and(|len| len < **end));
        if let Some((number, end)) = ahead {
            warn!(
                segment = segment_name(*number),
                end, "a pack is shorter than the index says; rebuilding the index"
            );
            index.reset()?;
            recovery.is_rebuild = true;
        }
        recovery.scan_segments(&index.ends()?)?;
        recovery.forget_absent_segments(&index.ends()?)?;
        if recovery.is_rebuild && !recovery.files.is_empty() {
            info!(
                records = recovery.found,
                segments = recovery.files.len(),
                "rebuilt the chunk index from the packs"
            );
        }
        let (segments, reopen) = recovery.finish(config.segment_bytes);
        let position = segments
            .last_key_value()
            .map_or_else(Position::default, |(segment, offset)| Position {
                segment: *segment,
                offset: *offset,
            });
        let writer = Writer::new(
            Arc::clone(&disk),
            config.segment_bytes,
            &segments,
            highest,
            reopen,
        );
        let pins = PinTable::restore(index.pins()?);
        Ok(Self {
            segments: Segments::new(Arc::clone(&disk)),
            disk,
            config,
            catalog: Catalog::new(index)?,
            progress: Mutex::new(Progress::at(position, pins.sequence())),
            writer: Mutex::new(writer),
            pins: Arc::new(Mutex::new(pins)),
            flushed: Condvar::new(),
            collecting: Mutex::default(),
        })
    }
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    index: &'a Index,
    files: BTreeMap<u32, Segment>,
    /// What the index is told next.
    changes: Changes,
    /// Whether the index was lost, so that even old segments are read.
    is_rebuild: bool,
    /// Records found by scanning.
    found: u64,
}

struct Segment {
    file: Arc<dyn DiskFile>,
    len: u64,
    /// Whether the header is intact, so that the segment may grow.
    is_whole: bool,
}

impl Recovery<'_> {
    fn open_segments(&mut self) -> Result<(), StoreError> {
        let names = self
            .disk
            .list()
            .map_err(|source| StoreError::disk("list", ".", source))?;
        for name in names {
            let Some(number) = segment_number(&name) else {
                continue;
            };
            let opened = self.disk.open(&name, OpenMode::Existing).and_then(|file| {
                let mut header = [0; SEGMENT_HEADER_LEN as usize];
                let read = file.read_at(0, &mut header)?;
                let len = file.len()?;
                Ok((file, len, parse_segment_header(&header[..read])))
            });
            let (file, len, header) = opened.map_err(|source| StoreError::disk("open", &name, source))?;
            if let SegmentHeader::Newer(version) = header {
                return Err(StoreError::NewerFormat {
                    segment: name,
                    version,
                    known: SEGMENT_VERSION,
                });
            }
            let is_whole = header == SegmentHeader::Intact(number);
            if !is_whole && len > u64::from(SEGMENT_HEADER_LEN) {
                warn!(
                    segment = name,
                    "damaged segment header; its records are read nevertheless"
                );
            }
            self.files.insert(number, Segment { file, len, is_whole });
        }
        Ok(())
    }

    fn len(&self, number: u32) -> Option<u64> {
        self.files.get(&number).map(|segment| segment.len)
    }

    /// The highest segment number in use, on the disk or in the index.
    fn highest(&self, ends: &BTreeMap<u32, u64>) -> u32 {
        let on_disk = self.files.last_key_value().map_or(0, |(number, _)| *number);
        let in_index = ends.last_key_value().map_or(0, |(number, _)| *number);
        on_disk.max(in_index)
    }

    /// Reads what the index does not reflect yet.
    fn scan_segments(&mut self, ends: &BTreeMap<u32, u64>) -> Result<(), StoreError> {
        let last = self.files.last_key_value().map(|(number, _)| *number);
        let numbers: Vec<u32> = self.files.keys().copied().collect();
        for number in numbers {
            let header_end = u64::from(SEGMENT_HEADER_LEN);
            let from = ends.get(&number).copied().unwrap_or(0).max(header_end);
            let segment = &self.files[&number];
            let (file, is_whole, mut len) = (Arc::clone(&segment.file), segment.is_whole, segment.len);
            if len > from {
                let valid_end = self.scan_segment(number, file.as_ref(), from, Some(number) == last)?;
                if Some(number) == last && valid_end < len {
                    self.cut(number, file.as_ref(), valid_end)?;
                    len = valid_end;
                }
            }
            if !is_whole && len <= header_end && Some(number) == last {
                self.remove_unbegun(number)?;
            } else if ends.get(&number) != Some(&len) {
                self.changes.ends.insert(number, len);
            }
        }
        self.index.commit(&std::mem::take(&mut self.changes))
    }

    /// Indexes the records of one segment from an offset on; returns where the last one ends.
    fn scan_segment(
        &mut self,
        number: u32,
        file: &dyn DiskFile,
        from: u64,
        is_last: bool,
    ) -> Result<u64, StoreError> {
        // What the index will name has to be durable first.
        file.sync()
            .map_err(|source| StoreError::disk("sync", &segment_name(number), source))?;
        let mut valid_end = from;
        let mut damaged = Vec::new();
        let mut opener = None;
        scan(file, number, from, |met| {
            match met {
                Found::Record {
                    header,
                    slot,
                    bytes,
                    after_gap,
                } => {
                    if after_gap && !is_genuine(&header, bytes, opener.get_or_insert_default()) {
                        return Ok(());
                    }
                    self.settle(&mut damaged)?;
                    self.changes.entries.push((header.key, Some(slot)));
                    self.changes.damaged.push((header.key, false));
                    self.found += 1;
                    valid_end = slot.end();
                }
                Found::Damaged(header, slot) => damaged.push((header.key, slot)),
                Found::Gap { offset, len } => {
                    warn!(
                        segment = segment_name(number),
                        offset, len, "bytes that are no record"
                    );
                }
            }
            if self.changes.entries.len() >= COMMIT_ENTRIES {
                self.index.commit(&std::mem::take(&mut self.changes))?;
            }
            Ok(())
        })?;
        if !is_last {
            self.settle(&mut damaged)?;
        }
        Ok(valid_end)
    }

    /// In a rebuild, gives damaged records that others follow a place in the index: they may have
    /// been promised and gone bad. Keys that have another record keep it. Otherwise such a record
    /// lies beyond what the index reflects: a crash has torn it, and it never was.
    fn settle(&mut self, damaged: &mut Vec<(Key, Slot)>) -> Result<(), StoreError> {
        if !self.is_rebuild {
            damaged.clear();
        }
        for (key, slot) in damaged.drain(..) {
            let is_known = self.changes.entries.iter().any(|(known, _)| *known == key)
                || self.index.get_many(&[key])?.iter().any(Option::is_some);
            if !is_known {
                warn!(object = ?key, segment = slot.segment, offset = slot.offset, "corrupt record");
                self.changes.entries.push((key, Some(slot)));
                self.changes.damaged.push((key, true));
            }
        }
        Ok(())
    }

    /// Cuts off what a crash left of an append.
    fn cut(&mut self, number: u32, file: &dyn DiskFile, end: u64) -> Result<(), StoreError> {
        let name = segment_name(number);
        let segment = self
            .files
            .get_mut(&number)
            .expect("the caller found the segment in the list");
        info!(
            segment = name,
            from = end,
            bytes = segment.len - end,
            "cutting off a torn append"
        );
        file.set_len(end)
            .and_then(|()| file.sync())
            .map_err(|source| StoreError::disk("cut off the torn end of", &name, source))?;
        segment.len = end;
        Ok(())
    }

    /// Removes the last segment, which a crash has left without a header and without records.
    fn remove_unbegun(&mut self, number: u32) -> Result<(), StoreError> {
        let name = segment_name(number);
        self.files.remove(&number);
        self.disk
            .remove(&name)
            .and_then(|()| self.disk.sync_dir())
            .map_err(|source| StoreError::disk("remove", &name, source))
    }

    /// Drops index entries that point into segments that are not there.
    fn forget_absent_segments(&self, ends: &BTreeMap<u32, u64>) -> Result<(), StoreError> {
        let absent: BTreeSet<u32> = ends
            .keys()
            .filter(|number| !self.files.contains_key(number))
            .copied()
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.index.page(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = Some(*last);
            let gone = page.iter().filter(|(_, slot)| absent.contains(&slot.segment));
            let entries: Vec<_> = gone.map(|(key, _)| (*key, None)).collect();
            if !entries.is_empty() {
                warn!(
                    entries = entries.len(),
                    "the index named records in segments that are gone"
                );
                let damaged = entries.iter().map(|(key, _)| (*key, false)).collect();
                self.index.commit(&Changes {
                    entries,
                    damaged,
                    ..Changes::default()
                })?;
            }
        }
        self.index.commit(&Changes {
            removed: absent.into_iter().collect(),
            ..Changes::default()
        })
    }

    /// The lengths of the segments, and the last one's file if it may grow further.
    fn finish(self, segment_bytes: u64) -> (BTreeMap<u32, u64>, Option<Arc<dyn DiskFile>>) {
        let lens = self
            .files
            .iter()
            .map(|(number, segment)| (*number, segment.len))
            .collect();
        let last = self.files.into_values().next_back();
        let reopen = last.filter(|last| {
            last.is_whole && last.len >= u64::from(SEGMENT_HEADER_LEN) && last.len < segment_bytes
        });
        (lens, reopen.map(|last| last.file))
    }
}

/// Whether a record's payload really is what the record is named after. Asked only of records found
/// beyond damage, which may be the inside of a payload that somebody made to look like a record.
fn is_genuine(header: &RecordHeader, record: &[u8], opener: &mut FrameOpener) -> bool {
    let payload = &record[RECORD_HEADER_LEN as usize..];
    match header.key {
        Key::Chunk(chunk) => opener.open(payload, chunk, header.raw_len).is_ok(),
        Key::Manifest(manifest) => ManifestHash::of(payload) == manifest,
    }
}
