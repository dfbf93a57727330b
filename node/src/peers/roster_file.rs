//! `roster.json`: the members as last known, so that a node finds the others again before it hears from any.
//!
//! Its presence says that the node belongs to a cluster it must not found anew. JSON with a version; written whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::member::RosterEntry;

use crate::{NodeError, files};

const VERSION: u32 = 1;

/// Who the members are, as of one index of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    version: u32,
    pub(crate) cluster: ClusterId,
    /// How often the cluster was recovered, plus one.
    pub(crate) epoch: u64,
    /// The index of the log that the members are known as of.
    pub(crate) index: u64,
    /// Whether this node ever had the cluster's state. If so, its log must not be missing.
    pub(crate) has_state: bool,
    /// The round trip of the slowest link to a member, in milliseconds, as last measured.
    #[serde(default)]
    pub(crate) slowest_rtt_ms: Option<u64>,
    pub(crate) members: Vec<RosterEntry>,
}

impl Snapshot {
    pub(crate) fn new(
        cluster: ClusterId,
        epoch: u64,
        index: u64,
        has_state: bool,
        slowest_rtt_ms: Option<u64>,
        members: Vec<RosterEntry>,
    ) -> Self {
        Self {
            version: VERSION,
            cluster,
            epoch,
            index,
            has_state,
            slowest_rtt_ms,
            members,
        }
    }
}

/// The file in a data directory.
#[derive(Clone, Debug)]
pub(crate) struct RosterFile {
    path: PathBuf,
}

impl RosterFile {
    pub(crate) fn in_dir(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join("roster.json"),
        }
    }

    /// What the file says; nothing when there is none.
    pub(crate) fn load(&self) -> Result<Option<Snapshot>, NodeError> {
        let Some(contents) = files::read_if_present(&self.path)? else {
            return Ok(None);
        };
        let unusable = |reason: String| NodeError::BadRoster {
            path: self.path.clone(),
            reason,
        };
        let snapshot: Snapshot =
            serde_json::from_slice(&contents).map_err(|error| unusable(error.to_string()))?;
        if snapshot.version != VERSION {
            return Err(unusable(format!(
                "its version is {}, expected {VERSION}",
                snapshot.version
            )));
        }
        Ok(Some(snapshot))
    }

    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<(), NodeError> {
        let mut text = serde_json::to_vec_pretty(snapshot).expect("a roster has text keys only");
        text.push(b'\n');
        files::write_whole(&self.path, &text, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = RosterFile::in_dir(dir.path());
        assert_eq!(file.load().unwrap(), None);
        let snapshot = Snapshot::new(ClusterId::from_bytes([1; 16]), 2, 3, true, Some(4), Vec::new());
        file.save(&snapshot).unwrap();
        assert_eq!(file.load().unwrap(), Some(snapshot));
    }

    #[test]
    fn a_damaged_roster_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("roster.json"), "{").unwrap();
        let error = RosterFile::in_dir(dir.path()).load().unwrap_err();
        assert!(error.to_string().contains("roster.json"), "{error}");
    }
}
