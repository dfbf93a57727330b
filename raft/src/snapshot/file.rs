//! One snapshot file.
//!
//! Layout, little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | length of the file; 0 until everything else is on disk |
//! | 4 + n | length n, then the header sealed as `TXSH`: id, last log id, membership |
//! | 4 + n, repeated | length n, then rows sealed as `TXSB`: about [`BLOCK_BYTES`] of them, at least one row |
//! | 4 + n | length n, then the end sealed as `TXSE`: how many rows there are |
//!
//! # Invariants
//! - A file whose first 8 bytes are its length is whole, and so it is after a crash.
//! - Rows are in the order of [`Table::ALL`](tetryx_state::Table::ALL), and of their keys within a table.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use serde::{Deserialize, Serialize};
use tetryx_state::tables::Table;

use crate::data::DataFiles;
use crate::error::ReplicaError;
use crate::records::{self, Blob, LogIdRecord, StoredMembershipRecord};
use crate::types::SnapshotMeta;

const HEADER_KIND: [u8; 4] = *b"TXSH";
const BLOCK_KIND: [u8; 4] = *b"TXSB";
const END_KIND: [u8; 4] = *b"TXSE";
const SCHEMA: u16 = 1;

/// Bytes before the header: the mark of a whole file.
pub(crate) const MARK_LEN: u64 = 8;
/// Bytes of rows that go into one block.
const BLOCK_BYTES: usize = 64 << 10;
/// A longer part is refused before memory is taken for it.
const PART_BYTES_MAX: u32 = 64 << 20;
/// The file grows by so much at once while it is written.
const GROWTH_BYTES: u64 = 4 << 20;

const READING: &str = "reading a snapshot";
const WRITING: &str = "writing a snapshot";
const WHAT: &str = "a snapshot";

/// Names one snapshot, on every node that has it.
pub(crate) type SnapshotId = [u8; 16];

/// One row of the state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HeaderRecord {
    id: SnapshotId,
    log_id: Option<LogIdRecord>,
    members: StoredMembershipRecord,
}

#[derive(Debug, Serialize, Deserialize)]
struct RowRecord {
    table: u8,
    key: Blob,
    value: Blob,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndRecord {
    rows: u64,
}

/// A whole snapshot file, open for reading. Clones share it; it is removed with the last one once it is obsolete.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    id: SnapshotId,
    meta: SnapshotMeta,
    first_block: u64,
    len: u64,
    backend: Box<dyn StorageBackend>,
    files: Arc<dyn DataFiles>,
    obsolete: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.obsolete.load(Ordering::Relaxed)
            && let Err(error) = self.files.remove(&self.name)
        {
            tracing::warn!(file = self.name, %error, "an obsolete snapshot could not be removed");
        }
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("name", &self.inner.name)
            .field("len", &self.inner.len)
            .field("last_log_id", &self.inner.meta.last_log_id)
            .finish_non_exhaustive()
    }
}

impl SnapshotFile {
    /// Opens a snapshot file that is whole, as far as its mark and its header tell.
    pub(crate) fn open(files: Arc<dyn DataFiles>, name: String) -> Result<Self, ReplicaError> {
        let backend = files.open(&name).map_err(ReplicaError::open(&name))?;
        let len = backend.len().map_err(ReplicaError::storage(READING))?;
        let mut mark = [0; MARK_LEN as usize];
        if len >= MARK_LEN {
            backend
                .read(0, &mut mark)
                .map_err(ReplicaError::storage(READING))?;
        }
        if len < MARK_LEN || u64::from_le_bytes(mark) != len {
            return Err(ReplicaError::damaged(WHAT, "the file is not whole"));
        }
        let mut offset = MARK_LEN;
        let header = read_part(backend.as_ref(), &mut offset, len)?;
        let header: HeaderRecord = records::open(HEADER_KIND, SCHEMA, WHAT, &header)?;
        let meta = SnapshotMeta {
            last_log_id: header.log_id.map(Into::into),
            last_membership: header.members.try_into()?,
        };
        let obsolete = AtomicBool::new(false);
        let id = header.id;
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                id,
                meta,
                first_block: offset,
                len,
                backend,
                files,
                obsolete,
            }),
        })
    }

    pub(crate) fn id(&self) -> SnapshotId {
        self.inner.id
    }

    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.inner.meta
    }

    pub(crate) fn len(&self) -> u64 {
        self.inner.len
    }

    /// Has the file removed as soon as nobody reads it any more.
    pub(crate) fn retire(&self) {
        self.inner.obsolete.store(true, Ordering::Relaxed);
    }

    /// Up to `len` bytes of the file from `offset` on; fewer at its end.
    pub(crate) fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, ReplicaError> {
        let left = self.inner.len.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).map_or(len, |left| left.min(len))];
        self.inner
            .backend
            .read(offset, &mut bytes)
            .map_err(ReplicaError::storage(READING))?;
        Ok(bytes)
    }

    /// All rows, in order. A file that is damaged gives an error in place of the rest.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows {
            file: &self.inner,
            offset: self.inner.first_block,
            block: Vec::new().into_iter(),
            seen: 0,
            ended: false,
        }
    }

    /// Reads everything and checks it.
    pub(crate) fn verify(&self) -> Result<(), ReplicaError> {
        for row in self.rows() {
            row?;
        }
        Ok(())
    }
}

/// Iterates over the rows of a snapshot, a block in memory at a time.
pub(crate) struct Rows<'a> {
    file: &'a Inner,
    offset: u64,
    block: std::vec::IntoIter<RowRecord>,
    seen: u64,
    ended: bool,
}

impl Rows<'_> {
    /// Reads the next block; false after the last one.
    fn read_block(&mut self) -> Result<bool, ReplicaError> {
        let part = read_part(self.file.backend.as_ref(), &mut self.offset, self.file.len)?;
        if part.starts_with(&END_KIND) {
            let end: EndRecord = records::open(END_KIND, SCHEMA, WHAT, &part)?;
            if end.rows != self.seen || self.offset != self.file.len {
                return Err(ReplicaError::damaged(
                    WHAT,
                    format!("{} rows instead of {}", self.seen, end.rows),
                ));
            }
            return Ok(false);
        }
        let rows: Vec<RowRecord> = records::open(BLOCK_KIND, SCHEMA, WHAT, &part)?;
        self.seen += rows.len() as u64;
        self.block = rows.into_iter();
        Ok(true)
    }

    fn next_row(&mut self) -> Result<Option<SnapshotRow>, ReplicaError> {
        loop {
            if let Some(RowRecord {
                table: number,
                key,
                value,
            }) = self.block.next()
            {
                let table = Table::from_number(number).ok_or_else(|| ReplicaError::NeedsUpgrade {
                    what: format!("table {number} of a snapshot"),
                })?;
                return Ok(Some(SnapshotRow {
                    table,
                    key: key.0.to_vec(),
                    value: value.0.to_vec(),
                }));
            }
            if !self.read_block()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<SnapshotRow, ReplicaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.next_row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// Reads a length and so many bytes, and moves `offset` behind them.
fn read_part(backend: &dyn StorageBackend, offset: &mut u64, file_len: u64) -> Result<Vec<u8>, ReplicaError> {
    let mut length = [0; 4];
    let ends_early = || ReplicaError::damaged(WHAT, "it ends early");
    if *offset + 4 > file_len {
        return Err(ends_early());
    }
    backend
        .read(*offset, &mut length)
        .map_err(ReplicaError::storage(READING))?;
    let length = u32::from_le_bytes(length);
    if length > PART_BYTES_MAX {
        return Err(ReplicaError::damaged(WHAT, format!("a part of {length} bytes")));
    }
    let end = *offset + 4 + u64::from(length);
    if end > file_len {
        return Err(ends_early());
    }
    let mut part = vec![0; length as usize];
    backend
        .read(*offset + 4, &mut part)
        .map_err(ReplicaError::storage(READING))?;
    *offset = end;
    Ok(part)
}

/// Writes a snapshot of `rows` as file `name`, durable when it returns.
pub(crate) fn write(
    files: Arc<dyn DataFiles>,
    name: String,
    id: SnapshotId,
    meta: &SnapshotMeta,
    rows: impl Iterator<Item = Result<SnapshotRow, ReplicaError>>,
) -> Result<SnapshotFile, ReplicaError> {
    let backend = files.open(&name).map_err(ReplicaError::open(&name))?;
    let mut writer = Writer {
        backend: backend.as_ref(),
        offset: MARK_LEN,
        len: 0,
    };
    let header = HeaderRecord {
        id,
        log_id: meta.last_log_id.as_ref().map(LogIdRecord::from),
        members: (&meta.last_membership).into(),
    };
    writer.part(&records::seal(HEADER_KIND, SCHEMA, &header))?;
    let mut block = Vec::new();
    let mut block_bytes = 0;
    let mut count: u64 = 0;
    for row in rows {
        let SnapshotRow { table, key, value } = row?;
        block_bytes += key.len() + value.len();
        count += 1;
        block.push(RowRecord {
            table: table.number(),
            key: Blob(key.into()),
            value: Blob(value.into()),
        });
        if block_bytes >= BLOCK_BYTES {
            writer.part(&records::seal(BLOCK_KIND, SCHEMA, &block))?;
            block.clear();
            block_bytes = 0;
        }
    }
    if !block.is_empty() {
        writer.part(&records::seal(BLOCK_KIND, SCHEMA, &block))?;
    }
    writer.part(&records::seal(END_KIND, SCHEMA, &EndRecord { rows: count }))?;
    let len = writer.offset;
    complete(backend.as_ref(), len, len.to_le_bytes())?;
    drop(backend);
    SnapshotFile::open(files, name)
}

/// Makes durable what is written, and then marks the file as whole.
pub(crate) fn complete(
    backend: &dyn StorageBackend,
    len: u64,
    mark: [u8; MARK_LEN as usize],
) -> Result<(), ReplicaError> {
    backend.set_len(len).map_err(ReplicaError::storage(WRITING))?;
    backend.sync_data().map_err(ReplicaError::storage(WRITING))?;
    backend.write(0, &mark).map_err(ReplicaError::storage(WRITING))?;
    backend.sync_data().map_err(ReplicaError::storage(WRITING))
}

struct Writer<'a> {
    backend: &'a dyn StorageBackend,
    offset: u64,
    len: u64,
}

impl Writer<'_> {
    fn part(&mut self, bytes: &[u8]) -> Result<(), ReplicaError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= PART_BYTES_MAX);
        let length = length
            .ok_or_else(|| ReplicaError::damaged("the replicated state", "a row of more than 64 MiB"))?;
        let end = self.offset + 4 + u64::from(length);
        if end > self.len {
            self.len = end.next_multiple_of(GROWTH_BYTES);
            self.backend
                .set_len(self.len)
                .map_err(ReplicaError::storage(WRITING))?;
        }
        self.backend
            .write(self.offset, &length.to_le_bytes())
            .map_err(ReplicaError::storage(WRITING))?;
        self.backend
            .write(self.offset + 4, bytes)
            .map_err(ReplicaError::storage(WRITING))?;
        self.offset = end;
        Ok(())
    }
}
