//! Tables over a view of the state: what is written shows, and the state stays as it is.

use std::collections::BTreeMap;
use std::ops::Bound;

use tetryx_raft::{ReplicaError, StateView};
use tetryx_state::tables::{ReadTables, Row, Table, Tables, is_empty_range};

/// What differs from the state: values, and rows that are gone.
pub(super) type Changes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

#[derive(Debug)]
pub(super) struct Overlay<'a> {
    pub(super) view: &'a StateView,
    pub(super) changes: &'a mut Changes,
}

impl ReadTables for Overlay<'_> {
    type Error = ReplicaError;

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReplicaError> {
        match self.changes.get(&(table, key.to_vec())) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(table, key),
        }
    }

    fn range(
        &self,
        table: Table,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, ReplicaError> {
        if is_empty_range(start, end) {
            return Ok(Vec::new());
        }
        let from = match start {
            Bound::Included(key) => Bound::Included((table, key.to_vec())),
            Bound::Excluded(key) => Bound::Excluded((table, key.to_vec())),
            Bound::Unbounded => Bound::Included((table, Vec::new())),
        };
        let is_within = |key: &[u8]| match end {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        let changed: Vec<_> = self
            .changes
            .range((from, Bound::Unbounded))
            .take_while(|((of, key), _)| *of == table && is_within(key))
            .collect();
        // Each change takes away one row at most.
        let rows = self
            .view
            .range(table, start, end, limit.saturating_add(changed.len()))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
        for ((_, key), change) in changed {
            match change {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}

impl Tables for Overlay<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), ReplicaError> {
        self.changes.insert((table, key.to_vec()), Some(value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), ReplicaError> {
        self.changes.insert((table, key.to_vec()), None);
        Ok(())
    }
}
