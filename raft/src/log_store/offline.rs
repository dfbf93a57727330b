//! The log of a replica that does not run.

use std::ops::Range;

use redb::ReadableDatabase;

use super::disk::{self, Opened, Write};
use crate::data::{DataBase, DataFiles};
use crate::error::ReplicaError;
use crate::types::{Entry, LogId, Vote};

/// Bytes of entries read at once.
const READ_BYTES: usize = 4 << 20;

/// The log on disk, for one who has it alone. Blocks.
#[derive(Debug)]
pub(crate) struct OfflineLog {
    database: DataBase,
    opened: Opened,
}

impl OfflineLog {
    pub(crate) fn open(files: &dyn DataFiles) -> Result<Self, ReplicaError> {
        let database = DataBase::open_log(files)?;
        let opened = disk::load(&database)?;
        Ok(Self { database, opened })
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.opened.vote
    }

    /// The last entry that there is or was.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.opened.entries.map(|(_, last)| last).or(self.opened.purged)
    }

    /// Index of the last entry that was cut off; 0 if there is none.
    pub(crate) fn purged_index(&self) -> u64 {
        self.opened.purged.map_or(0, |purged| purged.index)
    }

    /// Calls `each` with the entries behind `applied`, in order.
    pub(crate) fn behind(
        &self,
        applied: Option<LogId>,
        mut each: impl FnMut(&Entry) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let Some((first, last)) = self.opened.entries else {
            return Ok(());
        };
        let mut left: Range<u64> = applied.map_or(first, |applied| applied.index + 1)..last.index + 1;
        if left.start < first {
            return Err(ReplicaError::damaged(
                "the log",
                format!("entries {} to {} are missing", left.start, first - 1),
            ));
        }
        while !left.is_empty() {
            let read = self
                .database
                .redb
                .begin_read()
                .map_err(ReplicaError::storage("reading the log"))?;
            let entries = disk::read(&read, left.clone(), READ_BYTES)?;
            for entry in &entries {
                each(entry)?;
            }
            left.start += entries.len() as u64;
        }
        Ok(())
    }

    /// Adds `entries` and replaces the vote, as one durable step.
    pub(crate) fn append(&self, vote: Vote, entries: Vec<Entry>) -> Result<(), ReplicaError> {
        disk::write(&self.database, &[Write::Vote(vote), Write::Append(entries)])
    }
}
