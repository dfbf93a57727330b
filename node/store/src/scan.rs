//! Walks the records of one segment, past damage.

use std::io;
use std::ops::{ControlFlow, Range};

use crate::disk::DiskFile;
use crate::error::StoreError;
use crate::record::{RECORD_HEADER_LEN, RECORD_MAGIC, RecordHeader, Slot, checksum_matches, segment_name};

/// How much is read ahead.
const WINDOW: usize = 1 << 20;

/// What a scan meets, in the order of the file.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A record whose header and payload are intact.
    Record {
        header: RecordHeader,
        slot: Slot,
        /// The whole record.
        bytes: &'a [u8],
        /// Whether damage came before it in this scan. Then it may be a payload's bytes that look
        /// like a record, made by whoever sent that payload: its content must be checked.
        after_gap: bool,
    },
    /// A record whose header is intact and whose payload, wholly inside the file, is not.
    Damaged(RecordHeader, Slot),
    /// Bytes that belong to no record: a torn write, or damage to a header.
    Gap { offset: u64, len: u64 },
}

/// Walks `file` from `from` (the beginning of a record) to its end, telling `on` of everything.
pub(crate) fn scan(
    file: &dyn DiskFile,
    segment: u32,
    from: u64,
    mut on: impl FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let end = file
        .len()
        .map_err(|source| StoreError::disk("read", &segment_name(segment), source))?;
    scan_part(file, segment, from..end, |met| {
        on(met)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// As [`scan`], up to `part.end` (the end of a record, or of the file) or until `on` breaks off. Returns where what it
/// has told of ends.
pub(crate) fn scan_part(
    file: &dyn DiskFile,
    segment: u32,
    part: Range<u64>,
    mut on: impl FnMut(Found<'_>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<u64, StoreError> {
    let unreadable = |source| StoreError::disk("read", &segment_name(segment), source);
    let Range { start: from, end } = part;
    let mut window = Window {
        file,
        start: from,
        bytes: Vec::new(),
    };
    let mut at = from;
    let mut gap_from = None;
    let mut after_gap = false;
    while at < end {
        let Some((header, slot)) = header_at(&mut window, segment, at, end).map_err(unreadable)? else {
            gap_from.get_or_insert(at);
            after_gap = true;
            at = next_magic(&mut window, at + 1, end).map_err(unreadable)?;
            continue;
        };
        if let Some(offset) = gap_from.take() {
            let len = at - offset;
            if on(Found::Gap { offset, len })?.is_break() {
                return Ok(at);
            }
        }
        let bytes = window.read(at, slot.record_len()).map_err(unreadable)?;
        let told = if checksum_matches(bytes) {
            on(Found::Record {
                header,
                slot,
                bytes,
                after_gap,
            })?
        } else {
            on(Found::Damaged(header, slot))?
        };
        at = slot.end();
        if told.is_break() {
            return Ok(at);
        }
    }
    if let Some(offset) = gap_from {
        let len = end - offset;
        // The end of the part: there is nothing to break off.
        let _ = on(Found::Gap { offset, len })?;
    }
    Ok(end.max(from))
}

/// The intact header at a place, if its record ends inside the file.
fn header_at(
    window: &mut Window<'_>,
    segment: u32,
    at: u64,
    end: u64,
) -> io::Result<Option<(RecordHeader, Slot)>> {
    let Some(header) = RecordHeader::parse(window.read(at, u64::from(RECORD_HEADER_LEN))?) else {
        return Ok(None);
    };
    let Ok(offset) = u32::try_from(at) else {
        return Ok(None);
    };
    let slot = Slot {
        segment,
        offset,
        frame_len: header.frame_len,
        raw_len: header.raw_len,
    };
    Ok((slot.end() <= end).then_some((header, slot)))
}

/// Where the next record may begin, or the end of the file.
fn next_magic(window: &mut Window<'_>, from: u64, end: u64) -> io::Result<u64> {
    let mut at = from;
    while at < end {
        let bytes = window.read(at, WINDOW as u64)?;
        if let Some(found) = bytes
            .windows(RECORD_MAGIC.len())
            .position(|four| four == RECORD_MAGIC)
        {
            return Ok(at + found as u64);
        }
        if bytes.len() < RECORD_MAGIC.len() {
            break;
        }
        at += (bytes.len() - (RECORD_MAGIC.len() - 1)) as u64;
    }
    Ok(end)
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes from `at`; fewer only at the end of the file.
    fn read(&mut self, at: u64, len: u64) -> io::Result<&[u8]> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let held = self.start + self.bytes.len() as u64;
        if at < self.start || at + len as u64 > held {
            self.bytes.resize(len.max(WINDOW), 0);
            let read = self.file.read_at(at, &mut self.bytes)?;
            self.bytes.truncate(read);
            self.start = at;
        }
        let from = usize::try_from(at - self.start).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let to = self.bytes.len().min(from + len);
        Ok(&self.bytes[from.min(to)..to])
    }
}
