//! A disk in memory that remembers everything that was done to it, so that a test can look at what a power failure
//! at any moment would have left.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::data::DataFiles;

/// [`DataFiles`] in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    files: BTreeMap<String, Arc<Mutex<Vec<u8>>>>,
    /// What was there, and safe, before the history.
    base: BTreeMap<String, Vec<u8>>,
    history: Vec<(String, Operation)>,
    /// Writes that still succeed, if the disk is to fail.
    writes_left: Option<usize>,
}

#[derive(Debug, Clone)]
enum Operation {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
    Sync,
    Remove,
}

impl MemoryDisk {
    /// How many operations there were so far.
    pub(crate) fn operations(&self) -> usize {
        self.shared.lock().history.len()
    }

    /// How many flushes there were after the first `operations` operations.
    pub(crate) fn syncs_since(&self, operations: usize) -> usize {
        let shared = self.shared.lock();
        shared.history[operations..]
            .iter()
            .filter(|(_, operation)| matches!(operation, Operation::Sync))
            .count()
    }

    /// How many flushes of one file there were after the first `operations` operations.
    pub(crate) fn syncs_of_since(&self, file: &str, operations: usize) -> usize {
        let shared = self.shared.lock();
        shared.history[operations..]
            .iter()
            .filter(|(name, operation)| name == file && matches!(operation, Operation::Sync))
            .count()
    }

    /// The disk as a power failure after the first `operations` operations may leave it: what was synced is there,
    /// and of the rest, in order, whatever `survives` says.
    pub(crate) fn after_power_failure(&self, operations: usize, mut survives: impl FnMut() -> bool) -> Self {
        let shared = self.shared.lock();
        let base = shared.base.iter();
        let mut files: BTreeMap<String, (Vec<u8>, Vec<Operation>)> = base
            .map(|(name, content)| (name.clone(), (content.clone(), Vec::new())))
            .collect();
        for (name, operation) in &shared.history[..operations] {
            let (synced, unsynced) = files.entry(name.clone()).or_default();
            match operation {
                Operation::Sync => {
                    for operation in unsynced.drain(..) {
                        carry_out(synced, &operation);
                    }
                }
                Operation::Remove => drop(files.remove(name)),
                other => unsynced.push(other.clone()),
            }
        }
        let files = files.into_iter().map(|(name, (mut content, unsynced))| {
            for operation in unsynced {
                if survives() {
                    carry_out(&mut content, &operation);
                }
            }
            (name, content)
        });
        Self::with(files.collect())
    }

    fn with(base: BTreeMap<String, Vec<u8>>) -> Self {
        let files = base.iter();
        let files = files.map(|(name, content)| (name.clone(), Arc::new(Mutex::new(content.clone()))));
        Self {
            shared: Arc::new(Mutex::new(Shared {
                files: files.collect(),
                base,
                ..Shared::default()
            })),
        }
    }

    /// The disk as it is now, for another process after this one was killed: everything written is there.
    pub(crate) fn after_kill(&self) -> Self {
        let shared = self.shared.lock();
        let files = shared.files.iter();
        Self::with(
            files
                .map(|(name, file)| (name.clone(), file.lock().clone()))
                .collect(),
        )
    }

    /// Lets `writes` more writes succeed, and none after them.
    pub(crate) fn fail_after(&self, writes: usize) {
        self.shared.lock().writes_left = Some(writes);
    }

    /// Changes the bytes of a file behind everybody's back.
    pub(crate) fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = Arc::clone(&self.shared.lock().files[name]);
        change(&mut file.lock());
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.shared.lock().files.keys().cloned().collect()
    }
}

/// A write may reach beyond the end when an earlier change of the length did not survive.
fn carry_out(content: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { offset, data } => {
            let end = offset + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(data);
        }
        Operation::SetLen(len) => content.resize(*len, 0),
        Operation::Sync | Operation::Remove => {}
    }
}

impl DataFiles for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let content = Arc::clone(self.shared.lock().files.entry(name.to_owned()).or_default());
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            name: name.to_owned(),
            content,
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut shared = self.shared.lock();
        shared.files.remove(name);
        shared.history.push((name.to_owned(), Operation::Remove));
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    name: String,
    content: Arc<Mutex<Vec<u8>>>,
}

impl MemoryFile {
    fn change(&self, operation: Operation) -> io::Result<()> {
        let mut shared = self.disk.shared.lock();
        if let Some(left) = &mut shared.writes_left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        }
        carry_out(&mut self.content.lock(), &operation);
        shared.history.push((self.name.clone(), operation));
        Ok(())
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("files in memory fit into it")
}

impl StorageBackend for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content.lock();
        let start = position(offset);
        let bytes = content
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Operation::SetLen(position(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Operation::Write {
            offset: position(offset),
            data: data.to_vec(),
        })
    }
}
