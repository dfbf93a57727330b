//! The redb tables of the log.
//!
//! | table | key → value |
//! |---|---|
//! | `entries-1` | index (u64) → sealed entry (`TXLE`) |
//! | `log-1` | `"vote"` → sealed vote (`TXVO`); `"purged"` → sealed log id (`TXPU`); `"committed"` → sealed log id (`TXCO`) |
//!
//! What is known as committed is written along with other changes only, so it may be a little behind.

use std::ops::Range;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::data::DataBase;
use crate::error::ReplicaError;
use crate::records::{self, LogIdRecord, VoteRecord};
use crate::types::{Entry, LogId, Vote};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries-1");
const LOG: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("log-1");
const VOTE_KEY: &str = "vote";
const PURGED_KEY: &str = "purged";
const COMMITTED_KEY: &str = "committed";
const VOTE_KIND: [u8; 4] = *b"TXVO";
const PURGED_KIND: [u8; 4] = *b"TXPU";
const COMMITTED_KIND: [u8; 4] = *b"TXCO";
const SCHEMA: u16 = 1;

/// A change of the log on disk.
#[derive(Debug)]
pub(super) enum Write {
    Append(Vec<Entry>),
    Vote(Vote),
    /// Delete every entry from this index on.
    Truncate(u64),
    /// Delete every entry up to this one.
    Purge(LogId),
    /// Note that every entry up to this one is committed.
    Committed(LogId),
}

/// What the disk says when the log is opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
    /// The index of the first entry, and the last entry.
    pub(super) entries: Option<(u64, LogId)>,
}

/// Creates the tables if they do not exist, and reads the ends of the log.
pub(super) fn load(database: &DataBase) -> Result<Opened, ReplicaError> {
    const OPERATION: &str = "opening the log";
    let read = database
        .redb
        .begin_read()
        .map_err(ReplicaError::storage(OPERATION))?;
    if let Err(redb::TableError::TableDoesNotExist(_)) = read.open_table(ENTRIES) {
        let write = database.begin_write().map_err(ReplicaError::storage(OPERATION))?;
        write
            .open_table(ENTRIES)
            .map_err(ReplicaError::storage(OPERATION))?;
        write.open_table(LOG).map_err(ReplicaError::storage(OPERATION))?;
        write.commit().map_err(ReplicaError::storage(OPERATION))?;
        return Ok(Opened::default());
    }
    let log = read.open_table(LOG).map_err(ReplicaError::storage(OPERATION))?;
    let mut opened = Opened::default();
    if let Some(bytes) = log.get(VOTE_KEY).map_err(ReplicaError::storage(OPERATION))? {
        opened.vote = Some(records::open::<VoteRecord>(VOTE_KIND, SCHEMA, "the vote", bytes.value())?.into());
    }
    if let Some(bytes) = log.get(PURGED_KEY).map_err(ReplicaError::storage(OPERATION))? {
        let record =
            records::open::<LogIdRecord>(PURGED_KIND, SCHEMA, "the start of the log", bytes.value())?;
        opened.purged = Some(record.into());
    }
    if let Some(bytes) = log.get(COMMITTED_KEY).map_err(ReplicaError::storage(OPERATION))? {
        let record = records::open::<LogIdRecord>(COMMITTED_KIND, SCHEMA, "the commit index", bytes.value())?;
        opened.committed = Some(record.into());
    }
    let entries = read
        .open_table(ENTRIES)
        .map_err(ReplicaError::storage(OPERATION))?;
    let first = entries.first().map_err(ReplicaError::storage(OPERATION))?;
    let last = entries.last().map_err(ReplicaError::storage(OPERATION))?;
    if let (Some((first, _)), Some((_, last))) = (first, last) {
        opened.entries = Some((first.value(), records::decode_entry(last.value())?.log_id));
    }
    Ok(opened)
}

/// Carries out `writes` in order as one durable transaction.
pub(super) fn write(database: &DataBase, writes: &[Write]) -> Result<(), ReplicaError> {
    const OPERATION: &str = "writing the log";
    let transaction = database.begin_write().map_err(ReplicaError::storage(OPERATION))?;
    #[cfg(feature = "mutants")]
    let transaction = not_flushed(transaction, writes);
    for write in writes {
        apply(&transaction, write).map_err(ReplicaError::storage(OPERATION))?;
    }
    transaction.commit().map_err(ReplicaError::storage(OPERATION))
}

/// Entries are flushed with whatever is flushed next.
#[cfg(feature = "mutants")]
fn not_flushed(mut transaction: WriteTransaction, writes: &[Write]) -> WriteTransaction {
    let are_entries = writes
        .iter()
        .all(|write| matches!(write, Write::Append(_) | Write::Committed(_)));
    if are_entries && tetryx_environment::mutant::Mutant::AcknowledgeBeforeFlush.is_active() {
        let changed = transaction.set_durability(redb::Durability::None);
        changed.expect("no savepoint is made of the log");
        transaction.set_quick_repair(false);
    }
    transaction
}

fn apply(transaction: &WriteTransaction, write: &Write) -> Result<(), redb::Error> {
    match write {
        Write::Append(entries) => {
            let mut table = transaction.open_table(ENTRIES)?;
            for entry in entries {
                table.insert(entry.log_id.index, records::encode_entry(entry).as_slice())?;
            }
        }
        Write::Truncate(from) => {
            transaction
                .open_table(ENTRIES)?
                .retain_in::<u64, _>(*from.., |_, _| false)?;
        }
        Write::Purge(upto) => {
            transaction
                .open_table(ENTRIES)?
                .retain_in::<u64, _>(..=upto.index, |_, _| false)?;
            let sealed = records::seal(PURGED_KIND, SCHEMA, &LogIdRecord::from(upto));
            transaction
                .open_table(LOG)?
                .insert(PURGED_KEY, sealed.as_slice())?;
        }
        Write::Committed(upto) => {
            let sealed = records::seal(COMMITTED_KIND, SCHEMA, &LogIdRecord::from(upto));
            transaction
                .open_table(LOG)?
                .insert(COMMITTED_KEY, sealed.as_slice())?;
        }
        Write::Vote(vote) => {
            let sealed = records::seal(VOTE_KIND, SCHEMA, &VoteRecord::from(vote));
            transaction.open_table(LOG)?.insert(VOTE_KEY, sealed.as_slice())?;
        }
    }
    Ok(())
}

/// Reads the entries of `range` from the front until `bytes_max` encoded bytes are read, but at least one. All of
/// them must be there.
pub(super) fn read(
    transaction: &ReadTransaction,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<Entry>, ReplicaError> {
    const OPERATION: &str = "reading the log";
    let table = transaction
        .open_table(ENTRIES)
        .map_err(ReplicaError::storage(OPERATION))?;
    let mut entries = Vec::new();
    let mut bytes = 0;
    for (index, row) in range
        .clone()
        .zip(table.range(range).map_err(ReplicaError::storage(OPERATION))?)
    {
        let (key, value) = row.map_err(ReplicaError::storage(OPERATION))?;
        if key.value() != index {
            return Err(ReplicaError::damaged(
                "the log",
                format!("entry {index} is missing"),
            ));
        }
        bytes += value.value().len();
        if bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(records::decode_entry(value.value())?);
    }
    Ok(entries)
}
