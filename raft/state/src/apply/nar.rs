//! NARs: counted by the paths that have them, gone with the last.

use tetryx_protocol::hash::NarHash;

use crate::access::{Access, delete, get, put};
use crate::command::NewNar;
use crate::error::{CorruptRecord, StateError};
use crate::key;
use crate::records::NarRecord;
use crate::tables::{Table, Tables};

/// Counts one more path. What is known about a NAR stays as the first publisher told it: its chunks were stored
/// under that manifest.
pub(super) fn acquire<T: Tables>(tables: &mut T, nar: &NarHash, new: &NewNar) -> Access<T, ()> {
    let key = key::nar(nar);
    let existing: Option<NarRecord> = get(tables, &key)?;
    let mut record = existing.unwrap_or(NarRecord {
        nar_size: new.nar_size,
        manifest: new.manifest,
        file_size: new.file_size,
        file_hash: new.file_hash,
        references: 0,
        origin: new.origin,
    });
    record.references = record.references.saturating_add(1);
    put(tables, &key, &record)
}

/// Counts one path less. True when it was the last.
pub(super) fn release<T: Tables>(tables: &mut T, nar: &NarHash) -> Access<T, bool> {
    let key = key::nar(nar);
    let existing: Option<NarRecord> = get(tables, &key)?;
    let Some(mut record) = existing else {
        let reason = "a path has this NAR, but the NAR has no row".to_owned();
        return Err(StateError::Corrupt(CorruptRecord {
            table: Table::Nars,
            key,
            reason,
        }));
    };
    record.references = record.references.saturating_sub(1);
    if record.references == 0 {
        delete(tables, Table::Nars, &key)?;
        return Ok(true);
    }
    put(tables, &key, &record)?;
    Ok(false)
}
