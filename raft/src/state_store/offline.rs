//! The state of a replica that does not run.

use redb::ReadableDatabase;
use tetryx_state::command::FEATURE_LEVEL;

use super::{APPLYING, Applied, OPENING, apply_entry, create_tables, read_applied};
use crate::data::{DataBase, DataFiles};
use crate::error::ReplicaError;
use crate::tables::WriteTables;
use crate::types::{Entry, StoredMembership};

/// The state on disk, for one who has it alone. Blocks.
#[derive(Debug)]
pub(crate) struct OfflineState {
    database: DataBase,
}

impl OfflineState {
    pub(crate) fn open(files: &dyn DataFiles) -> Result<Self, ReplicaError> {
        let database = DataBase::open_state(files)?;
        create_tables(&database)?;
        Ok(Self { database })
    }

    pub(crate) fn applied(&self) -> Result<Applied, ReplicaError> {
        let read = self
            .database
            .redb
            .begin_read()
            .map_err(ReplicaError::storage(OPENING))?;
        read_applied(&read)
    }

    /// Applies the entries that `entries` calls back with, reads the outcome, and forgets it all.
    pub(crate) fn as_if_applied<T>(
        &self,
        entries: impl FnOnce(&mut dyn FnMut(&Entry) -> Result<(), ReplicaError>) -> Result<(), ReplicaError>,
        read: impl FnOnce(&WriteTables<'_>) -> Result<T, ReplicaError>,
    ) -> Result<(StoredMembership, T), ReplicaError> {
        let mut applied = self.applied()?;
        let transaction = self
            .database
            .begin_write()
            .map_err(ReplicaError::storage(APPLYING))?;
        let value = {
            let mut tables = WriteTables::new(&transaction);
            entries(&mut |entry| apply_entry(&mut tables, entry, &mut applied, FEATURE_LEVEL).map(drop))?;
            read(&tables)?
        };
        transaction.abort().map_err(ReplicaError::storage(APPLYING))?;
        Ok((applied.membership, value))
    }
}
