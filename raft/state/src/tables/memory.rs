//! Tables in memory: for tests, simulations, and whoever wants to look at a state without a disk.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use super::{ReadTables, Row, Table, Tables, is_empty_range};

/// Tables in memory. Two are equal exactly when they hold the same rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTables {
    // Tables without rows have no entry, or a state that lost its last row would differ from one that never had any.
    tables: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryTables {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }
}

impl ReadTables for MemoryTables {
    type Error = Infallible;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.tables.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn range(
        &self,
        table: Table,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, Infallible> {
        if is_empty_range(start, end) {
            return Ok(Vec::new());
        }
        let rows = self.tables.get(&table);
        let range = rows
            .into_iter()
            .flat_map(|rows| rows.range::<[u8], _>((start, end)));
        Ok(range
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }
}

impl Tables for MemoryTables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Infallible> {
        self.tables
            .entry(table)
            .or_default()
            .insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), Infallible> {
        if let Some(rows) = self.tables.get_mut(&table) {
            rows.remove(key);
            if rows.is_empty() {
                self.tables.remove(&table);
            }
        }
        Ok(())
    }
}
