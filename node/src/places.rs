//! Where a node keeps its files, and the lock that keeps a second process away from them.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{NodeError, files};

/// Where the configuration file is when nobody says: `$XDG_CONFIG_HOME/tetryx/node.toml`.
///
/// # Errors
/// [`NodeError::NoHome`] when the environment names no place.
pub fn default_config_file(environment: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NodeError> {
    xdg(environment, "XDG_CONFIG_HOME", ".config")
        .map(|base| base.join("tetryx").join("node.toml"))
        .ok_or(NodeError::NoHome {
            what: "configuration",
            variable: "XDG_CONFIG_HOME",
            flag: "--config",
        })
}

/// Where the data is when nobody says: `$XDG_DATA_HOME/tetryx`.
///
/// # Errors
/// [`NodeError::NoHome`] when the environment names no place.
pub fn default_data_dir(environment: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NodeError> {
    xdg(environment, "XDG_DATA_HOME", ".local/share")
        .map(|base| base.join("tetryx"))
        .ok_or(NodeError::NoHome {
            what: "data",
            variable: "XDG_DATA_HOME",
            flag: "--data-dir",
        })
}

/// The XDG base directory; relative paths count as unset, as its specification says.
fn xdg(environment: impl Fn(&str) -> Option<OsString>, variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        environment(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// A data directory that belongs to this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held open: the lock is the kernel's and ends with the process, however that ends.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be, and claims it.
    ///
    /// # Errors
    /// [`NodeError::DataDirInUse`] when another process has it.
    pub fn claim(path: &Path) -> Result<Self, NodeError> {
        files::create_private_dir(path)?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|source| NodeError::file("opening", &lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(NodeError::DataDirInUse {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(NodeError::file("locking", &lock_path, source)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The replicated log and state.
    pub fn raft(&self) -> PathBuf {
        self.path.join("raft")
    }

    /// The chunks.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// What waits for the cluster.
    pub fn outbox(&self) -> PathBuf {
        self.path.join("outbox")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            pairs
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn files_go_where_xdg_says_or_below_home() {
        let xdg = environment(&[("XDG_CONFIG_HOME", "/c"), ("XDG_DATA_HOME", "/d"), ("HOME", "/h")]);
        assert_eq!(
            default_config_file(&xdg).unwrap(),
            Path::new("/c/tetryx/node.toml")
        );
        assert_eq!(default_data_dir(&xdg).unwrap(), Path::new("/d/tetryx"));
        let home = environment(&[
            ("XDG_CONFIG_HOME", "relative"),
            ("XDG_DATA_HOME", ""),
            ("HOME", "/h"),
        ]);
        assert_eq!(
            default_config_file(&home).unwrap(),
            Path::new("/h/.config/tetryx/node.toml")
        );
        assert_eq!(
            default_data_dir(&home).unwrap(),
            Path::new("/h/.local/share/tetryx")
        );
    }

    #[test]
    fn without_a_home_the_refusal_names_the_option() {
        let error = default_data_dir(environment(&[])).unwrap_err();
        assert!(error.to_string().contains("pass --data-dir"), "{error}");
    }

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::claim(dir.path()).unwrap();
        let refusal = DataDir::claim(dir.path()).unwrap_err();
        assert!(matches!(refusal, NodeError::DataDirInUse { .. }), "{refusal}");
        drop(first);
        DataDir::claim(dir.path()).unwrap();
    }
}
