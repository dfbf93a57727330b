//! The files of a replica, and the redb databases in them.
//!
//! # Invariants
//! - All bytes of a replica go through [`DataFiles`]: a simulation that implements it sees every write and sync.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};

use crate::error::ReplicaError;

/// The replica's log and votes.
pub(crate) const LOG_FILE: &str = "log.redb";
/// The replicated state as far as it is applied.
pub(crate) const STATE_FILE: &str = "state.redb";

/// Memory redb may use to cache the log. What is read often is cached in front of it.
const LOG_CACHE_BYTES: usize = 4 << 20;
/// Memory redb may use to cache the state: the inner pages of a million paths fit.
const STATE_CACHE_BYTES: usize = 32 << 20;
/// From this length on a database saves with every commit what it needs to open at once after a crash, at the price
/// of a second flush per commit. Below, re-reading the whole file takes about a second.
const QUICK_REPAIR_BYTES: u64 = 256 << 20;
/// Up to this length a database is read and checked whole when it is opened, so that a file which a failing disk has
/// changed is refused with an error. It takes a fraction of a second.
const CHECKED_BYTES: u64 = 64 << 20;

/// A flat directory of named files that a replica owns.
pub trait DataFiles: Send + Sync + Debug {
    /// Opens file `name` for reading and writing, and creates it if it does not exist. A created file must exist
    /// after a crash as soon as its bytes are synced.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes file `name`. Removing an absent file is no error; whoever has it open may go on reading it.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// [`DataFiles`] in a directory of the file system.
#[derive(Debug, Clone)]
pub struct DirectoryFiles {
    directory: PathBuf,
}

impl DirectoryFiles {
    /// Uses `directory`, and creates it with its parents if it does not exist.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn new(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl DataFiles for DirectoryFiles {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.directory.join(name);
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if is_new {
            self.sync_directory()?;
        }
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// An open redb database and the length of its file.
#[derive(Debug)]
pub(crate) struct DataBase {
    pub(crate) redb: Database,
    length: Arc<AtomicU64>,
}

impl DataBase {
    pub(crate) fn open_log(files: &dyn DataFiles) -> Result<Self, ReplicaError> {
        Self::open(files, LOG_FILE, LOG_CACHE_BYTES)
    }

    pub(crate) fn open_state(files: &dyn DataFiles) -> Result<Self, ReplicaError> {
        Self::open(files, STATE_FILE, STATE_CACHE_BYTES)
    }

    fn open(files: &dyn DataFiles, name: &str, cache_bytes: usize) -> Result<Self, ReplicaError> {
        let backend = files.open(name).map_err(ReplicaError::open(name))?;
        discard_unborn(backend.as_ref()).map_err(ReplicaError::open(name))?;
        let length = Arc::new(AtomicU64::new(backend.len().map_err(ReplicaError::open(name))?));
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        builder.set_check_integrity_on_open(length.load(Ordering::Relaxed) <= CHECKED_BYTES);
        let name_of_repaired = name.to_owned();
        builder.set_repair_callback(move |session| {
            tracing::info!(
                file = name_of_repaired,
                progress = session.progress(),
                "re-reading after a crash"
            );
        });
        let redb = builder
            .create_with_backend(MeasuredBackend {
                inner: backend,
                length: Arc::clone(&length),
            })
            .map_err(ReplicaError::open(name))?;
        Ok(Self { redb, length })
    }

    /// Begins a transaction that is durable when its commit returns.
    pub(crate) fn begin_write(&self) -> Result<redb::WriteTransaction, redb::TransactionError> {
        let mut transaction = self.redb.begin_write()?;
        transaction.set_quick_repair(self.length.load(Ordering::Relaxed) >= QUICK_REPAIR_BYTES);
        Ok(transaction)
    }
}

/// Empties a file whose creation as a database was cut off: redb writes its magic number last, so zeros in that place
/// mean that nothing was ever stored. redb itself refuses such a file.
fn discard_unborn(backend: &dyn StorageBackend) -> io::Result<()> {
    let mut magic = [0; 9];
    let length = backend.len()?;
    if length >= magic.len() as u64 {
        backend.read(0, &mut magic)?;
    }
    if length > 0 && magic == [0; 9] {
        tracing::info!(length, "beginning anew a database whose creation was cut off");
        backend.set_len(0)?;
    }
    Ok(())
}

/// Passes everything on, and notes the length of the file.
#[derive(Debug)]
struct MeasuredBackend {
    inner: Box<dyn StorageBackend>,
    length: Arc<AtomicU64>,
}

type Bound = std::ops::Bound<u64>;

impl StorageBackend for MeasuredBackend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.length.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound, end: Bound) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound, end: Bound) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound, end: Bound) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound, end: Bound) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound, end: Bound) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound, end: Bound) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
