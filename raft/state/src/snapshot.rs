//! The whole state as rows: for snapshots, and for comparing replicas by a hash.
//!
//! The order is that of [`Table::ALL`], and of the bytes of the keys within a table. Equal states have equal dumps.

use std::fmt;
use std::ops::Bound;

use crate::access::Walk;
use crate::error::{StateError, hex};
use crate::tables::{ReadTables, Table, Tables};

/// One row of a dump: its table, key and value.
pub type TableRow = (Table, Vec<u8>, Vec<u8>);

/// What a state hash begins with, so that it is the hash of nothing else.
const HASH_CONTEXT: &[u8] = b"tetryx-state-1";
/// Rows deleted at once.
const PAGE: usize = 256;

/// Every row of the state, in order. Rows are read a few hundred at a time.
pub fn dump<T: ReadTables>(tables: &T) -> impl Iterator<Item = Result<TableRow, T::Error>> {
    Table::ALL.into_iter().flat_map(move |table| {
        Walk::table(tables, table).map(move |row| row.map(|(key, value)| (table, key, value)))
    })
}

/// Replaces whatever the tables hold by the rows of a dump. Gives the number of rows.
pub fn restore<T: Tables>(tables: &mut T, rows: impl IntoIterator<Item = TableRow>) -> Result<u64, T::Error> {
    clear(tables)?;
    let mut count = 0;
    for (table, key, value) in rows {
        tables.put(table, &key, &value)?;
        count += 1;
    }
    Ok(count)
}

/// Deletes every row. A restore from a source that can fail clears, and puts the rows itself.
pub fn clear<T: Tables>(tables: &mut T) -> Result<(), T::Error> {
    for table in Table::ALL {
        loop {
            let rows = tables.range(table, Bound::Unbounded, Bound::Unbounded, PAGE)?;
            if rows.is_empty() {
                break;
            }
            for (key, _) in rows {
                tables.delete(table, &key)?;
            }
        }
    }
    Ok(())
}

/// BLAKE3 over the dump. Replicas at the same log index have the same one, or one of them is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash([u8; 32]);

impl StateHash {
    /// A hash from its bytes, as another replica sent it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateHash({self})")
    }
}

/// Hashes the state: for each row the number of its table, then key and value, each after its length (u64, little
/// endian).
pub fn state_hash<T: ReadTables>(tables: &T) -> Result<StateHash, StateError<T::Error>> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(HASH_CONTEXT);
    for row in dump(tables) {
        let (table, key, value) = row.map_err(StateError::Tables)?;
        hasher.update(&[table.number()]);
        for part in [&key, &value] {
            let length = u64::try_from(part.len()).expect("a length fits 64 bits");
            hasher.update(&length.to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(StateHash(*hasher.finalize().as_bytes()))
}
