//! Writing the state: the tables of `tetryx-state` in one redb transaction.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Bound;

use redb::WriteTransaction;
use tetryx_state::tables::{ReadTables, Row, Table, Tables};

use crate::error::ReplicaError;
use crate::view::{definition, get, range};

type OpenTable<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

const READING: &str = "reading the replicated state";
const WRITING: &str = "writing the replicated state";

/// The tables of the state in a transaction that the caller commits or drops. Each is opened when it is first used: a
/// command touches a few of them.
pub(crate) struct WriteTables<'txn> {
    transaction: &'txn WriteTransaction,
    tables: [OnceCell<OpenTable<'txn>>; Table::ALL.len()],
}

impl fmt::Debug for WriteTables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTables").finish_non_exhaustive()
    }
}

impl<'txn> WriteTables<'txn> {
    pub(crate) fn new(transaction: &'txn WriteTransaction) -> Self {
        Self {
            transaction,
            tables: std::array::from_fn(|_| OnceCell::new()),
        }
    }

    /// Creates the tables that do not exist.
    pub(crate) fn create(&self) -> Result<(), ReplicaError> {
        for table in Table::ALL {
            self.table(table)?;
        }
        Ok(())
    }

    fn table(&self, table: Table) -> Result<&OpenTable<'txn>, ReplicaError> {
        let slot = &self.tables[usize::from(table.number()) - 1];
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let open = self
            .transaction
            .open_table(definition(table))
            .map_err(ReplicaError::storage(WRITING))?;
        Ok(slot.get_or_init(|| open))
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut OpenTable<'txn>, ReplicaError> {
        self.table(table)?;
        let slot = &mut self.tables[usize::from(table.number()) - 1];
        Ok(slot.get_mut().expect("it was opened"))
    }
}

impl ReadTables for WriteTables<'_> {
    type Error = ReplicaError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReplicaError> {
        get(self.table(table)?, key).map_err(ReplicaError::storage(READING))
    }

    fn range(
        &self,
        table: Table,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, ReplicaError> {
        range(self.table(table)?, start, end, limit).map_err(ReplicaError::storage(READING))
    }
}

impl Tables for WriteTables<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), ReplicaError> {
        self.table_mut(table)?
            .insert(key, value)
            .map_err(ReplicaError::storage(WRITING))?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), ReplicaError> {
        self.table_mut(table)?
            .remove(key)
            .map_err(ReplicaError::storage(WRITING))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::Database;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn the_durable_tables_keep_the_contract_of_tables() {
        tetryx_state::tables::contract::check_contract(|| {
            // Leaked: a value of the suite owns nothing that it could borrow from.
            let database = Database::builder()
                .create_with_backend(InMemoryBackend::new())
                .expect("memory works");
            let database: &'static Database = Box::leak(Box::new(database));
            let transaction = Box::leak(Box::new(database.begin_write().expect("nobody else writes")));
            WriteTables::new(transaction)
        });
    }
}
