//! Reading the applied state.

use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use tetryx_state::tables::{ReadTables, Row, Table, is_empty_range};

use crate::error::ReplicaError;

pub(crate) type RawTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The redb table that holds a table of the state.
pub(crate) fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// The state as it was after one entry of the log: whatever is applied later does not show.
///
/// Taking one costs a reference count, and a read one lookup in a B-tree: requests take their own and drop it. One
/// that is held for long keeps the file from reusing the space of what it shows.
#[derive(Clone)]
pub struct StateView {
    shared: Arc<Shared>,
}

struct Shared {
    transaction: ReadTransaction,
    tables: [OnceLock<RawTable>; Table::ALL.len()],
    applied_index: u64,
}

impl StateView {
    pub(crate) fn new(transaction: ReadTransaction, applied_index: u64) -> Self {
        let tables = std::array::from_fn(|_| OnceLock::new());
        Self {
            shared: Arc::new(Shared {
                transaction,
                tables,
                applied_index,
            }),
        }
    }

    /// The index of the last entry whose effects are in this view; 0 if there is none.
    pub fn applied_index(&self) -> u64 {
        self.shared.applied_index
    }

    /// The number of rows of a table.
    ///
    /// # Errors
    /// [`ReplicaError::Storage`].
    pub fn len(&self, table: Table) -> Result<u64, ReplicaError> {
        self.table(table)?.len().map_err(ReplicaError::storage(READING))
    }

    fn table(&self, table: Table) -> Result<&RawTable, ReplicaError> {
        let slot = &self.shared.tables[usize::from(table.number()) - 1];
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let open = self
            .shared
            .transaction
            .open_table(definition(table))
            .map_err(ReplicaError::storage(READING))?;
        Ok(slot.get_or_init(|| open))
    }
}

const READING: &str = "reading the replicated state";

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView")
            .field("applied_index", &self.shared.applied_index)
            .finish_non_exhaustive()
    }
}

impl ReadTables for StateView {
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

/// `ReadTables::get` over any redb table.
pub(crate) fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, redb::StorageError> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

/// `ReadTables::range` over any redb table.
pub(crate) fn range(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    start: Bound<&[u8]>,
    end: Bound<&[u8]>,
    limit: usize,
) -> Result<Vec<Row>, redb::StorageError> {
    if is_empty_range(start, end) {
        return Ok(Vec::new());
    }
    let rows = table.range::<&[u8]>((start, end))?;
    rows.take(limit)
        .map(|row| row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
        .collect()
}

/// The newest view, shared between the state machine that replaces it and the requests that read it.
#[derive(Debug, Default)]
pub(crate) struct LatestView {
    view: RwLock<Option<StateView>>,
}

impl LatestView {
    pub(crate) fn replace(&self, view: StateView) {
        *self.view.write() = Some(view);
    }

    pub(crate) fn clear(&self) {
        *self.view.write() = None;
    }

    pub(crate) fn get(&self) -> Option<StateView> {
        self.view.read().clone()
    }
}
