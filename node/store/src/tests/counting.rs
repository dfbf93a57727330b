//! A disk that counts what is read from it and written to it.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

use super::*;
use crate::{Disk, DiskFile, OpenMode};

/// What happened to one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
}

/// A memory disk, and what happened to its files. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct CountingDisk {
    pub(super) disk: Arc<MemoryDisk>,
    traffic: Arc<Mutex<BTreeMap<String, Traffic>>>,
}

impl CountingDisk {
    /// What happened to the packs since the last call.
    pub(super) fn take_packs(&self) -> Traffic {
        let mut total = Traffic::default();
        for (name, traffic) in std::mem::take(&mut *self.traffic.lock()) {
            if name.ends_with(".pack") {
                total.bytes_read += traffic.bytes_read;
                total.bytes_written += traffic.bytes_written;
            }
        }
        total
    }
}

impl Disk for CountingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile {
            name: name.to_owned(),
            file: self.disk.open(name, mode)?,
            traffic: Arc::clone(&self.traffic),
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

#[derive(Debug)]
struct CountingFile {
    name: String,
    file: Arc<dyn DiskFile>,
    traffic: Arc<Mutex<BTreeMap<String, Traffic>>>,
}

impl CountingFile {
    fn count(&self, count: impl FnOnce(&mut Traffic)) {
        count(self.traffic.lock().entry(self.name.clone()).or_default());
    }
}

impl DiskFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(offset, buffer)?;
        self.count(|traffic| traffic.bytes_read += read as u64);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.count(|traffic| traffic.bytes_written += bytes.len() as u64);
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
