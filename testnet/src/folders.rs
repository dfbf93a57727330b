//! Where the harness keeps what it makes: below the build's target folder, never elsewhere.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::binaries;

/// The folder for everything that outlives a run and can be made again: `target/testnet`.
///
/// # Errors
/// When it cannot be made.
pub fn kept() -> Result<PathBuf> {
    let folder = binaries::target_folder()?.join("testnet");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A folder that is removed when dropped, with Nix stores in it, whose folders are read-only.
#[derive(Debug)]
pub struct Temporary(TempDir);

impl Temporary {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Best effort, before the inner folder removes itself: root needs none of this.
        let _ = make_writable(self.0.path());
    }
}

/// Removes a folder that may have Nix stores in it.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    make_writable(folder)?;
    fs::remove_dir_all(folder)
}

fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// Where temporary folders go instead, if it is set: into the folder of a whole run, which goes with it.
pub const RUN_FOLDER: &str = "TETRYX_TESTNET_FOLDER";

/// A folder that is removed when dropped. On the same disk as the build, because `/tmp` may be small.
///
/// # Errors
/// When it cannot be made.
pub fn temporary(prefix: &str) -> Result<Temporary> {
    let parent = match env::var_os(RUN_FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => kept()?.join("tmp"),
    };
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(&parent);
    folder
        .map(Temporary)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))
}

/// Keeps other processes of the harness out until dropped; the kernel lets go when this process ends.
///
/// # Errors
/// When the lock file cannot be opened.
pub fn lock(path: &Path) -> Result<File> {
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Bytes that the files of a tree take on disk.
///
/// # Errors
/// When a folder cannot be read.
pub fn bytes_on_disk(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    entries.map(|entry| bytes_on_disk(&entry?.path())).sum()
}
