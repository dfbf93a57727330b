//! The seam between the store and a disk: one flat directory of files.
//!
//! # Invariants
//! - Bytes written to a file survive a crash only once [`DiskFile::sync`] has returned.
//! - A file created or removed stays so after a crash only once [`Disk::sync_dir`] has returned.
//! - A file stays readable through an open [`DiskFile`] after it has been removed.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

mod memory;
mod real;

pub use memory::{DurableFile, DurableVersion, Failures, MemoryDisk, Remains, Survivors};
pub use real::RealDisk;

/// Whether [`Disk::open`] makes a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Fails with `NotFound` when there is no such file.
    Existing,
    /// Creates the file when there is none; keeps its content otherwise.
    Create,
}

/// A flat directory of files, as much of a file system as the store needs.
pub trait Disk: Send + Sync + Debug {
    /// The names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file; handles that are open keep reading it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes files created and removed so far survive a crash.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that can still be written.
    fn free(&self) -> io::Result<u64>;
}

/// An open file. All accesses are positioned, so that threads share one handle.
pub trait DiskFile: Send + Sync + Debug {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file. Returns how many.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes, growing the file as needed; on failure a part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file or extends it with zeroes.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the bytes and the length survive a crash.
    fn sync(&self) -> io::Result<()>;
    /// Has the next reading of these bytes ask the disk itself, where a copy in memory would answer otherwise. A wish:
    /// it may be ignored.
    fn forget_cached(&self, _offset: u64, _len: u64) {}
}

/// Reads exactly `buffer.len()` bytes or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, buffer)? == buffer.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The index's file as redb wants it.
#[derive(Debug)]
pub(crate) struct IndexBackend(pub(crate) Arc<dyn DiskFile>);

impl redb::StorageBackend for IndexBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact_at(self.0.as_ref(), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}
