//! Going on after more than half of the voters are lost for good.

use std::fmt;
use std::sync::Arc;

use tetryx_protocol::id::NodeId;
use tetryx_raft::{DataFiles, DirectoryFiles, Inspection, RecoverConfig, Recovered};

use crate::clock::SystemClock;
use crate::entropy::SystemEntropy;
use crate::places::DataDir;
use crate::secrets::NodeKey;
use crate::{NodeError, files};

/// A stopped node that could go on alone.
#[derive(Debug)]
pub struct Survivor {
    node: NodeId,
    files: Arc<dyn DataFiles>,
    found: Inspection,
}

impl Survivor {
    /// Looks at the data of a node that does not run. Changes nothing. Blocks.
    ///
    /// # Errors
    /// When the directory holds no cluster, or cannot be read.
    pub fn look(data_dir: &DataDir) -> Result<Self, NodeError> {
        let path = data_dir.raft();
        if files::read_if_present(&data_dir.path().join("node.key"))?.is_none() || !path.exists() {
            return Err(NodeError::NothingToRecover {
                path: data_dir.path().to_owned(),
            });
        }
        let node = NodeKey::load_or_create(data_dir, &SystemEntropy)?.node_id();
        let files: Arc<dyn DataFiles> =
            Arc::new(DirectoryFiles::new(&path).map_err(|source| NodeError::file("opening", &path, source))?);
        let found = tetryx_raft::inspect(files.as_ref())?;
        if found.cluster.is_none() {
            return Err(NodeError::NothingToRecover {
                path: data_dir.path().to_owned(),
            });
        }
        Ok(Self { node, files, found })
    }

    /// Whether what the operator wrote names this cluster: its id, or the beginning of it.
    pub fn is_confirmed_by(&self, text: &str) -> bool {
        let cluster = self.found.cluster.map(|id| id.to_string()).unwrap_or_default();
        text.len() >= CONFIRM_LEN_MIN && cluster.starts_with(&text.to_ascii_lowercase())
    }

    /// Makes this node the only voter of its cluster, in a new epoch, from everything in its log. It takes effect at
    /// the next start. Blocks.
    ///
    /// # Errors
    /// When the log cannot be written; nothing has changed then.
    pub fn recover(self) -> Result<Recovered, NodeError> {
        let recovered = tetryx_raft::recover(&RecoverConfig {
            node_id: self.node,
            files: self.files,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
        })?;
        Ok(recovered)
    }
}

/// The fewest characters of a cluster's id that confirm.
const CONFIRM_LEN_MIN: usize = 8;

/// What it is, what a recovery would do, and how to go on.
impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        let cluster = found.cluster.map(|id| id.to_string()).unwrap_or_default();
        writeln!(f, "node         {}", self.node)?;
        writeln!(f, "cluster      {cluster}, epoch {}", found.epoch)?;
        writeln!(
            f,
            "last entry   term {}, index {}",
            found.last_term, found.last_index
        )?;
        writeln!(f, "voters       {}", found.voters.len())?;
        for (node, name) in &found.members {
            let fate = if *node == self.node {
                "stays, alone"
            } else {
                "is removed for ever"
            };
            writeln!(f, "member       {name} ({}): {fate}", node.fmt_short())?;
        }
        write!(
            f,
            "\nOnly when more than half of the voters are lost for good. Run this on every survivor first, and go on\n\
             with the one whose last entry has the highest term, then the highest index. All its entries count from\n\
             then on, in a new epoch. The other members are removed: wipe what is left of them, and let them join\n\
             again.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::id::ClusterId;

    use super::*;

    #[test]
    fn an_empty_directory_is_nothing_to_recover_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::claim(dir.path()).unwrap();
        let refused = Survivor::look(&data_dir).unwrap_err();
        assert!(matches!(refused, NodeError::NothingToRecover { .. }), "{refused}");
        assert!(!dir.path().join("node.key").exists());
    }

    #[test]
    fn only_the_clusters_own_id_confirms() {
        let cluster = ClusterId::from_bytes([0xab; 16]);
        let dir = tempfile::tempdir().unwrap();
        let survivor = Survivor {
            node: NodeId::from_bytes([1; 32]),
            files: Arc::new(DirectoryFiles::new(dir.path()).unwrap()),
            found: Inspection {
                cluster: Some(cluster),
                epoch: 1,
                term: 1,
                last_term: 1,
                last_index: 1,
                voters: [].into(),
                learners: [].into(),
                members: Vec::new(),
            },
        };
        assert!(survivor.is_confirmed_by(&cluster.to_string()));
        assert!(survivor.is_confirmed_by("abababab"));
        for wrong in ["", "ab", "abababac", "yes", "cdcdcdcd"] {
            assert!(!survivor.is_confirmed_by(wrong), "{wrong}");
        }
    }
}
