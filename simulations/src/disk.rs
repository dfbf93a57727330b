//! One disk in memory under everything a node stores, so that a crash hits log, state and chunks at one moment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use tetryx_raft::DataFiles;
use tetryx_store::disk::{Disk, DiskFile, MemoryDisk, OpenMode};

/// The files of the disk whose names begin with a prefix.
#[derive(Debug)]
pub struct Folder {
    disk: Arc<MemoryDisk>,
    prefix: &'static str,
}

impl Folder {
    pub fn new(disk: &Arc<MemoryDisk>, prefix: &'static str) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            prefix,
        })
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names = Disk::list(&*self.disk)?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix(self.prefix))
            .map(str::to_owned)
            .collect())
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.names()
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Disk::open(&*self.disk, &self.name(name), mode)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Disk::remove(&*self.disk, &self.name(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

impl DataFiles for Folder {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let name = self.name(name);
        let is_new = !Disk::list(&*self.disk)?.contains(&name);
        let file = Disk::open(&*self.disk, &name, OpenMode::Create)?;
        Ok(Box::new(Backend {
            file,
            disk: Arc::clone(&self.disk),
            is_new: AtomicBool::new(is_new),
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.names()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match Disk::remove(&*self.disk, &self.name(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[derive(Debug)]
struct Backend {
    file: Arc<dyn DiskFile>,
    disk: Arc<MemoryDisk>,
    is_new: AtomicBool,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.file.read_at(offset, out)? == out.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()?;
        if self.is_new.swap(false, Ordering::Relaxed) {
            self.disk.sync_dir()?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}
