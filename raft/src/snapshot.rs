//! Snapshots of the state as files: building them, keeping the newest, and taking them over after a restart.
//!
//! # Invariants
//! - There is one current snapshot at most. One that is replaced stays readable for those who are reading it.
//! - Building one never holds more than a block of it in memory, and delays neither reads nor applies.

mod file;

use std::sync::Arc;

use parking_lot::Mutex;
#[cfg(feature = "mutants")]
use tetryx_environment::mutant::Mutant;
#[cfg(feature = "mutants")]
use tetryx_state::Table;
use tetryx_state::snapshot::dump;

#[cfg(test)]
pub(crate) use self::file::write as write_file;
pub(crate) use self::file::{MARK_LEN, SnapshotFile, SnapshotId, SnapshotRow, complete};
use crate::data::DataFiles;
use crate::error::ReplicaError;
use crate::state_store::Applied;
use crate::types::SnapshotMeta;
use crate::view::StateView;
use tetryx_environment::Entropy;

const NAME_PREFIX: &str = "snapshot-";

/// The snapshots of one replica.
#[derive(Debug)]
pub(crate) struct Snapshots {
    files: Arc<dyn DataFiles>,
    entropy: Arc<dyn Entropy>,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    file: Option<SnapshotFile>,
    /// The one there was turned out to be damaged, and another must take its place.
    is_lost: bool,
}

impl Snapshots {
    /// Takes over the newest whole snapshot among `files`, and removes what else is there of snapshots.
    pub(crate) fn open(files: Arc<dyn DataFiles>, entropy: Arc<dyn Entropy>) -> Result<Self, ReplicaError> {
        let mut newest: Option<SnapshotFile> = None;
        for name in files
            .list()
            .map_err(ReplicaError::open("the list of snapshots"))?
        {
            if !is_name(&name) {
                continue;
            }
            match SnapshotFile::open(Arc::clone(&files), name.clone()) {
                Ok(file) => {
                    let is_newer = newest
                        .as_ref()
                        .is_none_or(|best| file.meta().last_log_id > best.meta().last_log_id);
                    let loser = if is_newer {
                        newest.replace(file)
                    } else {
                        Some(file)
                    };
                    if let Some(loser) = loser {
                        loser.retire();
                    }
                }
                Err(error) => {
                    tracing::info!(
                        file = name,
                        error = error.chain(),
                        "removing an unfinished snapshot"
                    );
                    files.remove(&name).map_err(ReplicaError::open(&name))?;
                }
            }
        }
        let current = Current {
            file: newest,
            is_lost: false,
        };
        Ok(Self {
            files,
            entropy,
            current: Mutex::new(current),
        })
    }

    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        self.current.lock().file.clone()
    }

    /// Makes `file` the current snapshot, unless there is a newer one.
    pub(crate) fn set_current(&self, file: &SnapshotFile) {
        let mut current = self.current.lock();
        if let Some(old) = &current.file
            && old.id() != file.id()
        {
            if old.meta().last_log_id > file.meta().last_log_id {
                file.retire();
                return;
            }
            old.retire();
        }
        current.file = Some(file.clone());
        current.is_lost = false;
    }

    /// Gives up the current snapshot if it is the damaged one named `id`.
    pub(crate) fn discard(&self, id: SnapshotId) {
        let mut current = self.current.lock();
        if let Some(file) = current.file.take_if(|file| file.id() == id) {
            file.retire();
            current.is_lost = true;
        }
    }

    /// Whether a damaged snapshot was given up and nothing has taken its place yet.
    pub(crate) fn is_lost(&self) -> bool {
        self.current.lock().is_lost
    }

    /// Writes what `view` shows, and makes it the current snapshot.
    pub(crate) fn build(&self, applied: &Applied, view: &StateView) -> Result<SnapshotFile, ReplicaError> {
        let meta = SnapshotMeta {
            last_log_id: applied.log_id,
            last_membership: applied.membership.clone(),
        };
        let mut id = SnapshotId::default();
        self.entropy.fill(&mut id);
        let rows = dump(view).map(|row| row.map(|(table, key, value)| SnapshotRow { table, key, value }));
        #[cfg(feature = "mutants")]
        let rows = rows.filter(|row| {
            let is_memory = matches!(row, Ok(row) if row.table == Table::Proposals);
            !(is_memory && Mutant::SnapshotForgetsDedup.is_active())
        });
        let name = name(id);
        let file = file::write(Arc::clone(&self.files), name.clone(), id, &meta, rows).inspect_err(|_| {
            if let Err(error) = self.files.remove(&name) {
                tracing::warn!(file = name, %error, "an unfinished snapshot could not be removed");
            }
        })?;
        self.set_current(&file);
        Ok(file)
    }

    pub(crate) fn files(&self) -> &Arc<dyn DataFiles> {
        &self.files
    }
}

/// The file for a snapshot of this id.
pub(crate) fn name(id: SnapshotId) -> String {
    id.iter()
        .fold(NAME_PREFIX.to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Whether a file of this name is a snapshot, or the beginning of one.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(NAME_PREFIX)
}
