//! The state: the tables of `tetryx-state`, and up to which entry they are applied.
//!
//! In redb, beside the tables of the state:
//!
//! | table | key → value |
//! |---|---|
//! | `replica-1` | `"applied"` → sealed log id (`TXAP`); `"members"` → sealed membership (`TXMB`) |
//!
//! # Invariants
//! - The rows, the applied index and the membership change together, in one transaction per batch.
//! - What is applied is in the durable log of a majority; here it becomes durable later, with many other entries. After
//!   a crash the state is as it was after some earlier entry, and the log brings it forward: see [`DURABLE_EVERY`].

mod offline;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::EntryPayload;
use parking_lot::Mutex;
use redb::{Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tetryx_state::tables::{Table, Tables};
use tetryx_state::{Command, CommandError, StateError};
use tokio::sync::watch;

pub(crate) use self::offline::OfflineState;
use crate::audit::Audit;
use crate::data::{DataBase, DataFiles};
use crate::error::ReplicaError;
use crate::log_store::InUse;
use crate::records::{self, LogIdRecord, StoredMembershipRecord};
use crate::snapshot::{SnapshotFile, SnapshotRow};
use crate::tables::WriteTables;
use crate::types::{Answer, Entry, LogId, SnapshotMeta, StoredMembership};
use crate::view::{LatestView, StateView, definition};

const REPLICA: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("replica-1");
const APPLIED_KEY: &str = "applied";
const MEMBERS_KEY: &str = "members";
const APPLIED_KIND: [u8; 4] = *b"TXAP";
const MEMBERS_KIND: [u8; 4] = *b"TXMB";
const SCHEMA: u16 = 1;

/// Entries after which what was applied is made durable, at the price of a flush. At most so many, and a batch, are
/// applied again after a crash.
const DURABLE_EVERY: u64 = 4_096;
/// Entries that are applied in some ten microseconds each, all in memory.
const QUICK_ENTRIES: usize = 16;

const OPENING: &str = "opening the replicated state";
const APPLYING: &str = "applying to the replicated state";
const INSTALLING: &str = "installing a snapshot";

/// Up to where the state is applied, and the last membership among it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    pub(crate) log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Applied {
    pub(crate) fn index(&self) -> u64 {
        self.log_id.map_or(0, |id| id.index)
    }
}

/// The state of one replica.
#[derive(Debug)]
pub(crate) struct StateStore {
    database: DataBase,
    applied: Mutex<Applied>,
    /// Index up to which what was applied is durable.
    durable: AtomicU64,
    /// Whether [`StateStore::make_durable`] has the database for as long as a flush takes.
    is_flushing: AtomicBool,
    latest: Arc<LatestView>,
    audit: Arc<Audit>,
    progress: watch::Sender<u64>,
    /// The newest commands that are understood.
    feature_level: u32,
    _in_use: InUse,
}

impl StateStore {
    /// Opens the state. `latest` and `progress` are kept up to date from now on.
    pub(crate) fn open(
        files: &dyn DataFiles,
        latest: Arc<LatestView>,
        audit: Arc<Audit>,
        progress: watch::Sender<u64>,
        feature_level: u32,
        in_use: InUse,
    ) -> Result<Self, ReplicaError> {
        let database = DataBase::open_state(files)?;
        create_tables(&database)?;
        let read = database
            .redb
            .begin_read()
            .map_err(ReplicaError::storage(OPENING))?;
        let applied = read_applied(&read)?;
        let store = Self {
            database,
            applied: Mutex::new(Applied::default()),
            durable: AtomicU64::new(applied.index()),
            is_flushing: AtomicBool::new(false),
            latest,
            audit,
            progress,
            feature_level,
            _in_use: in_use,
        };
        store.publish(applied)?;
        Ok(store)
    }

    pub(crate) fn applied(&self) -> Applied {
        self.applied.lock().clone()
    }

    /// What is applied, and a view of exactly that.
    pub(crate) fn applied_view(&self) -> Result<(Applied, StateView), ReplicaError> {
        let applied = self.applied.lock();
        let view = self.latest.get().ok_or(ReplicaError::Stopped)?;
        Ok((applied.clone(), view))
    }

    /// Index up to which what was applied survives a crash without the log.
    pub(crate) fn durable_index(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Makes durable what is applied, and returns up to which index that is.
    pub(crate) fn make_durable(&self) -> Result<u64, ReplicaError> {
        self.is_flushing.store(true, Ordering::Relaxed);
        let durable = self.flush();
        self.is_flushing.store(false, Ordering::Relaxed);
        durable
    }

    fn flush(&self) -> Result<u64, ReplicaError> {
        // Begun first: what is applied now is in it, or in the transactions before it.
        let transaction = self
            .database
            .begin_write()
            .map_err(ReplicaError::storage(APPLYING))?;
        let applied = self.applied();
        if applied.index() > self.durable_index() {
            transaction.commit().map_err(ReplicaError::storage(APPLYING))?;
            self.durable.fetch_max(applied.index(), Ordering::AcqRel);
        }
        Ok(applied.index())
    }

    /// Whether [`StateStore::apply`] would be done in less time than it takes to have another thread do it.
    pub(crate) fn is_quick(&self, entries: &[Entry]) -> bool {
        entries.len() <= QUICK_ENTRIES
            && !self.is_flushing.load(Ordering::Relaxed)
            && !self.is_flush_due(entries)
    }

    /// Whether what is applied is to be made durable with these entries.
    fn is_flush_due(&self, entries: &[Entry]) -> bool {
        let last = entries.last().map_or(0, |entry| entry.log_id.index);
        last.saturating_sub(self.durable_index()) >= DURABLE_EVERY
    }

    /// Applies entries that follow the last applied one. When it returns they are visible.
    ///
    /// # Errors
    /// Nothing of the batch is applied, and the replica must stop: a later entry may depend on this one.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<Vec<Answer>, ReplicaError> {
        let mut applied = self.applied();
        let last = entries.last().map_or(applied.index(), |entry| entry.log_id.index);
        let is_durable = self.is_flush_due(entries);
        let mut transaction = self
            .database
            .begin_write()
            .map_err(ReplicaError::storage(APPLYING))?;
        if !is_durable {
            transaction
                .set_durability(Durability::None)
                .map_err(ReplicaError::storage(APPLYING))?;
            transaction.set_quick_repair(false);
        }
        let mut answers = Vec::with_capacity(entries.len());
        {
            let mut tables = WriteTables::new(&transaction);
            for entry in entries {
                answers.push(apply_entry(&mut tables, entry, &mut applied, self.feature_level)?);
            }
        }
        write_applied(&transaction, &applied)?;
        transaction.commit().map_err(ReplicaError::storage(APPLYING))?;
        if is_durable {
            self.durable.fetch_max(last, Ordering::AcqRel);
        }
        self.publish(applied)?;
        Ok(answers)
    }

    /// Replaces the whole state by a snapshot, as one transaction.
    pub(crate) fn install(&self, meta: &SnapshotMeta, snapshot: &SnapshotFile) -> Result<(), ReplicaError> {
        let transaction = self
            .database
            .begin_write()
            .map_err(ReplicaError::storage(INSTALLING))?;
        for table in Table::ALL {
            transaction
                .delete_table(definition(table))
                .map_err(ReplicaError::storage(INSTALLING))?;
        }
        {
            let mut tables = WriteTables::new(&transaction);
            tables.create()?;
            for row in snapshot.rows() {
                let SnapshotRow { table, key, value } = row?;
                tables.put(table, &key, &value)?;
            }
        }
        let applied = Applied {
            log_id: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        write_applied(&transaction, &applied)?;
        transaction.commit().map_err(ReplicaError::storage(INSTALLING))?;
        self.durable.store(applied.index(), Ordering::Release);
        self.publish(applied)
    }

    /// Changes the state behind everybody's back.
    #[cfg(test)]
    pub(crate) fn corrupt(&self) {
        let transaction = self.database.begin_write().expect("the disk works");
        let mut tables = WriteTables::new(&transaction);
        let put = tables.put(Table::Holders, b"a row that nobody wrote", b"");
        put.expect("the disk works");
        drop(tables);
        transaction.commit().expect("the disk works");
        self.publish(self.applied()).expect("the disk works");
    }

    /// Shows what the last commit changed.
    fn publish(&self, applied: Applied) -> Result<(), ReplicaError> {
        let index = applied.index();
        let read = self
            .database
            .redb
            .begin_read()
            .map_err(ReplicaError::storage(APPLYING))?;
        {
            let mut current = self.applied.lock();
            *current = applied;
            let view = StateView::new(read, index);
            self.audit.take(&view);
            self.latest.replace(view);
        }
        self.progress.send_replace(index);
        Ok(())
    }
}

fn apply_entry(
    tables: &mut WriteTables<'_>,
    entry: &Entry,
    applied: &mut Applied,
    feature_level: u32,
) -> Result<Answer, ReplicaError> {
    let index = entry.log_id.index;
    applied.log_id = Some(entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => Ok(Answer(None)),
        EntryPayload::Membership(membership) => {
            applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            Ok(Answer(None))
        }
        EntryPayload::Normal(proposal) => {
            let what = || format!("entry {index} of the log");
            let command = Command::decode_at(feature_level, &proposal.0).map_err(|error| match error {
                CommandError::NeedsUpgrade(_) => ReplicaError::NeedsUpgrade { what: what() },
                other => ReplicaError::damaged(what(), other),
            })?;
            let reply = tetryx_state::apply(tables, index, &command).map_err(|error| match error {
                StateError::Tables(error) => error,
                other => ReplicaError::damaged("the replicated state", other),
            })?;
            Ok(Answer(Some(reply)))
        }
    }
}

fn create_tables(database: &DataBase) -> Result<(), ReplicaError> {
    let read = database
        .redb
        .begin_read()
        .map_err(ReplicaError::storage(OPENING))?;
    let tables = read
        .list_tables()
        .map_err(ReplicaError::storage(OPENING))?
        .count();
    if tables == Table::ALL.len() + 1 {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(ReplicaError::storage(OPENING))?;
    WriteTables::new(&transaction).create()?;
    transaction
        .open_table(REPLICA)
        .map_err(ReplicaError::storage(OPENING))?;
    transaction.commit().map_err(ReplicaError::storage(OPENING))
}

fn read_applied(read: &ReadTransaction) -> Result<Applied, ReplicaError> {
    let table = read.open_table(REPLICA).map_err(ReplicaError::storage(OPENING))?;
    let mut applied = Applied::default();
    if let Some(bytes) = table.get(APPLIED_KEY).map_err(ReplicaError::storage(OPENING))? {
        let record = records::open::<LogIdRecord>(APPLIED_KIND, SCHEMA, "the applied index", bytes.value())?;
        applied.log_id = Some(record.into());
    }
    if let Some(bytes) = table.get(MEMBERS_KEY).map_err(ReplicaError::storage(OPENING))? {
        let record =
            records::open::<StoredMembershipRecord>(MEMBERS_KIND, SCHEMA, "the membership", bytes.value())?;
        applied.membership = record.try_into()?;
    }
    Ok(applied)
}

fn write_applied(transaction: &WriteTransaction, applied: &Applied) -> Result<(), ReplicaError> {
    let mut table = transaction
        .open_table(REPLICA)
        .map_err(ReplicaError::storage(APPLYING))?;
    if let Some(log_id) = &applied.log_id {
        let sealed = records::seal(APPLIED_KIND, SCHEMA, &LogIdRecord::from(log_id));
        table
            .insert(APPLIED_KEY, sealed.as_slice())
            .map_err(ReplicaError::storage(APPLYING))?;
    }
    let sealed = records::seal(
        MEMBERS_KIND,
        SCHEMA,
        &StoredMembershipRecord::from(&applied.membership),
    );
    let unchanged = table
        .get(MEMBERS_KEY)
        .map_err(ReplicaError::storage(APPLYING))?
        .is_some_and(|old| old.value() == sealed);
    if !unchanged {
        table
            .insert(MEMBERS_KEY, sealed.as_slice())
            .map_err(ReplicaError::storage(APPLYING))?;
    }
    Ok(())
}
