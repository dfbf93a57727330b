//! Typed access to the rows, for apply, queries and checks alike.

use std::ops::Bound;

use crate::error::StateError;
use crate::records::Record;
use crate::tables::{ReadTables, Row, Table, Tables};

/// Rows read from the storage at once.
const PAGE: usize = 256;

/// The result of reading or writing state.
pub(crate) type Access<T, V> = Result<V, StateError<<T as ReadTables>::Error>>;

pub(crate) fn get<R: Record, T: ReadTables>(tables: &T, key: &[u8]) -> Access<T, Option<R>> {
    let value = tables.get(R::TABLE, key).map_err(StateError::Tables)?;
    value
        .map(|value| R::decode(key, &value))
        .transpose()
        .map_err(StateError::Corrupt)
}

pub(crate) fn contains<T: ReadTables>(tables: &T, table: Table, key: &[u8]) -> Access<T, bool> {
    Ok(tables.get(table, key).map_err(StateError::Tables)?.is_some())
}

pub(crate) fn put<R: Record, T: Tables>(tables: &mut T, key: &[u8], record: &R) -> Access<T, ()> {
    tables
        .put(R::TABLE, key, &record.encode())
        .map_err(StateError::Tables)
}

pub(crate) fn put_empty<T: Tables>(tables: &mut T, table: Table, key: &[u8]) -> Access<T, ()> {
    tables.put(table, key, &[]).map_err(StateError::Tables)
}

pub(crate) fn delete<T: Tables>(tables: &mut T, table: Table, key: &[u8]) -> Access<T, ()> {
    tables.delete(table, key).map_err(StateError::Tables)
}

/// Deletes all rows between two bounds.
pub(crate) fn delete_range<T: Tables>(
    tables: &mut T,
    table: Table,
    start: Bound<&[u8]>,
    end: Bound<&[u8]>,
) -> Access<T, ()> {
    loop {
        let rows = tables
            .range(table, start, end, PAGE)
            .map_err(StateError::Tables)?;
        for (key, _) in &rows {
            delete(tables, table, key)?;
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

/// Deletes all rows whose keys begin with `prefix`.
pub(crate) fn delete_prefix<T: Tables>(tables: &mut T, table: Table, prefix: &[u8]) -> Access<T, ()> {
    let end = after_prefix(prefix);
    delete_range(tables, table, Bound::Included(prefix), borrowed(&end))
}

/// The first few rows whose keys begin with `prefix`: for loops that change what they walk over.
pub(crate) fn first_of_prefix<T: ReadTables>(tables: &T, table: Table, prefix: &[u8]) -> Access<T, Vec<Row>> {
    let end = after_prefix(prefix);
    tables
        .range(table, Bound::Included(prefix), borrowed(&end), PAGE)
        .map_err(StateError::Tables)
}

/// Walks rows in pages: of a table, of a prefix, or from a key on. A page is read when it is needed, so the walk
/// sees what was written before.
#[derive(Debug)]
pub(crate) struct Walk<'a, T: ReadTables> {
    tables: &'a T,
    table: Table,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    page: std::vec::IntoIter<Row>,
    last_page: bool,
}

impl<'a, T: ReadTables> Walk<'a, T> {
    pub(crate) fn new(tables: &'a T, table: Table, start: Bound<Vec<u8>>, end: Bound<Vec<u8>>) -> Self {
        Self {
            tables,
            table,
            start,
            end,
            page: Vec::new().into_iter(),
            last_page: false,
        }
    }

    pub(crate) fn table(tables: &'a T, table: Table) -> Self {
        Self::new(tables, table, Bound::Unbounded, Bound::Unbounded)
    }

    pub(crate) fn prefix(tables: &'a T, table: Table, prefix: Vec<u8>) -> Self {
        let end = after_prefix(&prefix);
        Self::new(tables, table, Bound::Included(prefix), end)
    }

    /// The rows of a prefix whose keys lie above `after`.
    pub(crate) fn prefix_after(tables: &'a T, table: Table, prefix: &[u8], after: Vec<u8>) -> Self {
        Self::new(tables, table, Bound::Excluded(after), after_prefix(prefix))
    }

    fn read_page(&mut self) -> Result<(), T::Error> {
        let rows = self
            .tables
            .range(self.table, borrowed(&self.start), borrowed(&self.end), PAGE)?;
        self.last_page = rows.len() < PAGE;
        if let Some((last, _)) = rows.last() {
            self.start = Bound::Excluded(last.clone());
        }
        self.page = rows.into_iter();
        Ok(())
    }
}

impl<T: ReadTables> Iterator for Walk<'_, T> {
    type Item = Result<Row, T::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0
            && !self.last_page
            && let Err(error) = self.read_page()
        {
            self.last_page = true;
            return Some(Err(error));
        }
        self.page.next().map(Ok)
    }
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// The first key that no longer begins with `prefix`.
fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else {
        return Bound::Unbounded;
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::MemoryTables;

    #[test]
    fn the_end_of_a_prefix_is_the_next_one_of_its_length_or_shorter() {
        assert_eq!(after_prefix(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), Bound::Unbounded);
        assert_eq!(after_prefix(b""), Bound::Unbounded);
    }

    #[test]
    fn a_walk_gives_every_row_once_whatever_the_page() {
        for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
            let mut tables = MemoryTables::new();
            for number in 0..count {
                tables
                    .put(
                        Table::Nars,
                        &u32::try_from(number).expect("small").to_be_bytes(),
                        b"",
                    )
                    .expect("put");
            }
            assert_eq!(Walk::table(&tables, Table::Nars).count(), count);
        }
    }
}
