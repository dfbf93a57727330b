//! The journal: one file of records, each durable before what it says is true.
//!
//! A record is an envelope (`tetryx_protocol::envelope`, kind `TXOB`, schema 1) around postcard; records follow one
//! another. The file is named `journal-` and its generation, 16 digits. A new generation begins with records that
//! repeat what still counts, then [`Record::Begun`].
//!
//! # Invariants
//! - A record is appended only behind records that are durable, so only the last one can be torn. It is cut off.
//! - A file without [`Record::Begun`] was never finished: the one before it still counts.
//! - An old file is removed only when the new one is durable.

use std::sync::Arc;

use tetryx_protocol::envelope::{self, EnvelopeError, HEADER_LEN};
use tetryx_store::disk::{Disk, DiskFile, OpenMode};

use super::entry::Record;
use super::error::OutboxError;

const KIND: [u8; 4] = *b"TXOB";
const SCHEMA: u16 = 1;
const PREFIX: &str = "journal-";

const OPENING: &str = "opening";
const READING: &str = "reading";
const WRITING: &str = "writing";

#[derive(Debug)]
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    generation: u64,
    len: u64,
    len_when_begun: u64,
    /// A write failed and could not be undone.
    is_broken: bool,
}

fn name(generation: u64) -> String {
    format!("{PREFIX}{generation:016}")
}

impl Journal {
    /// Opens the newest finished file, or begins one.
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<(Self, Vec<Record>), OutboxError> {
        let names = disk.list().map_err(OutboxError::io(OPENING))?;
        let number = |name: &String| name.strip_prefix(PREFIX)?.parse::<u64>().ok();
        let mut generations: Vec<u64> = names.iter().filter_map(number).collect();
        generations.sort_unstable();
        let newest = generations.last().copied().unwrap_or(0);
        while let Some(generation) = generations.pop() {
            let is_only = generations.is_empty();
            let Some((journal, records)) = Self::read(&disk, generation, is_only)? else {
                disk.remove(&name(generation)).map_err(OutboxError::io(OPENING))?;
                continue;
            };
            for old in generations {
                disk.remove(&name(old)).map_err(OutboxError::io(OPENING))?;
            }
            disk.sync_dir().map_err(OutboxError::io(OPENING))?;
            return Ok((journal, records));
        }
        let journal = Self::begin(disk, newest + 1, &[])?;
        Ok((journal, Vec::new()))
    }

    /// Reads a file. `None` when it was never finished.
    fn read(
        disk: &Arc<dyn Disk>,
        generation: u64,
        is_only: bool,
    ) -> Result<Option<(Self, Vec<Record>)>, OutboxError> {
        let file = disk
            .open(&name(generation), OpenMode::Existing)
            .map_err(OutboxError::io(OPENING))?;
        let len = file.len().map_err(OutboxError::io(READING))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let read = file.read_at(0, &mut bytes).map_err(OutboxError::io(READING))?;
        bytes.truncate(read);
        let damaged = |offset: usize| OutboxError::Damaged {
            file: name(generation),
            offset: offset as u64,
        };
        let (mut records, mut at, mut begun) = (Vec::new(), 0, None);
        while at < bytes.len() {
            match record_at(&bytes[at..]) {
                Ok((record, len)) => {
                    at += len;
                    if record == Record::Begun {
                        begun = Some(at);
                    }
                    records.push(record);
                }
                Err(Unreadable::Newer) => {
                    return Err(OutboxError::NeedsUpgrade {
                        file: name(generation),
                    });
                }
                Err(Unreadable::Bad) if another_follows(&bytes[at..]) && (begun.is_some() || is_only) => {
                    return Err(damaged(at));
                }
                Err(Unreadable::Bad) => break,
            }
        }
        let Some(begun) = begun else {
            return Ok(None);
        };
        if at < bytes.len() {
            tracing::info!(
                bytes = bytes.len() - at,
                "cutting off what a crash left of the last record of the outbox"
            );
            file.set_len(at as u64).map_err(OutboxError::io(WRITING))?;
            file.sync().map_err(OutboxError::io(WRITING))?;
        }
        let journal = Self {
            disk: Arc::clone(disk),
            file,
            generation,
            len: at as u64,
            len_when_begun: begun as u64,
            is_broken: false,
        };
        Ok(Some((journal, records)))
    }

    fn begin(disk: Arc<dyn Disk>, generation: u64, records: &[Record]) -> Result<Self, OutboxError> {
        let mut bytes: Vec<u8> = records.iter().flat_map(sealed).collect();
        bytes.extend(sealed(&Record::Begun));
        let file = disk
            .open(&name(generation), OpenMode::Create)
            .map_err(OutboxError::io(OPENING))?;
        file.set_len(0).map_err(OutboxError::io(WRITING))?;
        file.write_at(0, &bytes).map_err(OutboxError::io(WRITING))?;
        file.sync().map_err(OutboxError::io(WRITING))?;
        disk.sync_dir().map_err(OutboxError::io(WRITING))?;
        let len = bytes.len() as u64;
        Ok(Self {
            disk,
            file,
            generation,
            len,
            len_when_begun: len,
            is_broken: false,
        })
    }

    /// Whether a write failed and could not be undone: nothing more is taken until the journal is opened anew.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes it had when it was begun.
    pub(super) fn len_when_begun(&self) -> u64 {
        self.len_when_begun
    }

    /// Appends records. They are durable when this returns; on failure none of them counts.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), OutboxError> {
        if self.is_broken {
            return Err(OutboxError::Broken);
        }
        let bytes: Vec<u8> = records.iter().flat_map(sealed).collect();
        let written = self
            .file
            .write_at(self.len, &bytes)
            .and_then(|()| self.file.sync());
        if let Err(source) = written {
            // What half of it may be there must not stand before the next record.
            let undone = self.file.set_len(self.len).and_then(|()| self.file.sync());
            self.is_broken = undone.is_err();
            return Err(OutboxError::Io {
                action: WRITING,
                source,
            });
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Begins a new file that says no more than these records.
    pub(super) fn rewrite(&mut self, records: &[Record]) -> Result<(), OutboxError> {
        let newer = Self::begin(Arc::clone(&self.disk), self.generation + 1, records)?;
        let old = std::mem::replace(self, newer);
        // Should it come back after a crash, the newer one counts.
        self.disk
            .remove(&name(old.generation))
            .map_err(OutboxError::io(WRITING))
    }
}

fn sealed(record: &Record) -> Vec<u8> {
    let payload = postcard::to_allocvec(record).expect("no record has a serializer that fails");
    envelope::seal(KIND, SCHEMA, SCHEMA, &payload)
}

enum Unreadable {
    /// Torn, damaged, or no record at all.
    Bad,
    /// Written by a newer version.
    Newer,
}

/// The record at the beginning of the bytes, and its length.
fn record_at(bytes: &[u8]) -> Result<(Record, usize), Unreadable> {
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or(Unreadable::Bad)?;
    let [_, _, _, _, _, _, _, _, l0, l1, l2, l3, ..] = *header;
    let len = HEADER_LEN.saturating_add(u32::from_le_bytes([l0, l1, l2, l3]) as usize);
    let sealed = bytes.get(..len).ok_or(Unreadable::Bad)?;
    let (_schema, payload) = envelope::open(KIND, SCHEMA, sealed).map_err(|error| match error {
        EnvelopeError::NeedsUpgrade { .. } => Unreadable::Newer,
        _ => Unreadable::Bad,
    })?;
    // The checksum holds, so whoever wrote it knows records that this version does not.
    let (record, rest) = postcard::take_from_bytes(payload).map_err(|_| Unreadable::Newer)?;
    if rest.is_empty() {
        Ok((record, len))
    } else {
        Err(Unreadable::Newer)
    }
}

/// Whether a whole record stands anywhere behind the first byte. Behind a torn one there is none.
fn another_follows(bytes: &[u8]) -> bool {
    let starts = bytes.windows(KIND.len()).enumerate().skip(1);
    starts
        .filter(|(_, window)| *window == KIND)
        .any(|(at, _)| !matches!(record_at(&bytes[at..]), Err(Unreadable::Bad)))
}
