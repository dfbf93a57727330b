//! A disk in memory that forgets what was not synced, fills up, fails and stops on command.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, OpenMode};

mod durable;
mod trouble;

pub use durable::{DurableFile, DurableVersion};
pub use trouble::{Failures, Remains};

/// What a crash leaves of the bytes and directory entries that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Only what was synced: power loss with nothing written back.
    Synced,
    /// Everything: the process died, the system lived on.
    Everything,
    /// A pseudo-random part: each unsynced operation is kept, dropped or kept up to a 512-byte
    /// sector, as the seed says. Power loss in the middle of writing back.
    Torn(u64),
}

/// A disk in memory. Clones of the `Arc` share it; [`MemoryDisk::restart`] stands for a reboot.
#[derive(Debug)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    files: BTreeMap<String, Arc<Mutex<Inode>>>,
    /// The directory as it was at the last `sync_dir`.
    durable_files: BTreeMap<String, Arc<Mutex<Inode>>>,
    capacity: u64,
    /// Bytes that may still be written before every write fails for want of space.
    writable: Option<u64>,
    /// Changing operations done since the disk was made.
    operations: u64,
    crash_at: Option<u64>,
    failing_syncs: u64,
    failures: Failures,
    /// Grows with each restart: handles of an earlier life are dead.
    life: u64,
    /// Files made so far.
    inodes: u64,
}

#[derive(Debug, Default)]
struct Inode {
    number: u64,
    current: Vec<u8>,
    durable: Vec<u8>,
    /// How often something of `durable` was changed or cut off, rather than appended to.
    rewrites: u64,
    /// How often [`MemoryDisk::flip_bit`] changed something of `durable`.
    flips: u64,
    /// What leads from `durable` to `current`, unless a sync failed.
    pending: Vec<Change>,
    /// A sync failed: `current` has what no later sync writes.
    is_ahead: bool,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk without limits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                files: BTreeMap::new(),
                durable_files: BTreeMap::new(),
                capacity: u64::MAX,
                writable: None,
                operations: 0,
                crash_at: None,
                failing_syncs: 0,
                failures: Failures::default(),
                life: 0,
                inodes: 0,
            })),
        }
    }

    /// Sets how many bytes all files together may hold.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner.lock().capacity = bytes;
    }

    /// Lets `bytes` more be written, then fails every write with `StorageFull` (the failing write
    /// puts down what still fits). `None` lifts the limit.
    pub fn fail_writes_after(&self, bytes: Option<u64>) {
        self.inner.lock().writable = bytes;
    }

    /// Fails the next `count` syncs of files with an I/O error; the bytes are then lost to a crash,
    /// as Linux does it: a later sync does not write them again.
    pub fn fail_syncs(&self, count: u64) {
        self.inner.lock().failing_syncs = count;
    }

    /// How many changing operations (create, write, resize, sync, remove) the disk has done.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner.lock().operations
    }

    /// Fails every operation once `operations` changing ones have been done in all, until
    /// [`MemoryDisk::restart`].
    pub fn crash_at(&self, operations: u64) {
        self.inner.lock().crash_at = Some(operations);
    }

    /// Stops the machine and starts it again: open handles die, unsynced bytes meet their fate,
    /// injected faults are lifted (the capacity stays). Tells what became of unsynced writes.
    pub fn restart(&self, survivors: Survivors) -> Remains {
        let mut inner = self.inner.lock();
        let mut draw = Draw::new(survivors);
        let before = std::mem::take(&mut inner.durable_files);
        let after = std::mem::take(&mut inner.files);
        let mut names = before.clone();
        for (name, inode) in &after {
            if !names.contains_key(name) && draw.keep() {
                names.insert(name.clone(), Arc::clone(inode));
            }
        }
        for name in before.keys() {
            if !after.contains_key(name) && draw.keep() {
                names.remove(name);
            }
        }
        for inode in names.values() {
            inode.lock().restart(&mut draw);
        }
        inner.durable_files = names.clone();
        inner.files = names;
        inner.crash_at = None;
        inner.writable = None;
        inner.failing_syncs = 0;
        inner.life += 1;
        draw.remains
    }

    /// Changes one stored byte, as a failing disk would.
    ///
    /// # Panics
    /// When there is no such file or byte: the caller is a test.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        let inner = self.inner.lock();
        let inode = inner.files.get(name).expect("the test names a file that exists");
        let mut inode = inode.lock();
        let at = usize::try_from(offset).expect("memory disks are small");
        inode.current[at] ^= 1 << bit;
        if let Some(byte) = inode.durable.get_mut(at) {
            *byte ^= 1 << bit;
            inode.flips += 1;
        }
    }

    /// The bytes of a file as a reader sees them.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.inner
            .lock()
            .files
            .get(name)
            .map(|inode| inode.lock().current.clone())
    }
}

impl Inner {
    fn check(&mut self, life: u64) -> io::Result<()> {
        if self.life != life {
            return Err(io::Error::other(
                "the file was opened before the machine restarted",
            ));
        }
        if self.crash_at.is_some_and(|at| self.operations >= at) {
            self.failures.crashed += 1;
            return Err(io::Error::other("the machine has crashed"));
        }
        Ok(())
    }

    /// Counts one changing operation, or fails once the crash is due.
    fn change(&mut self, life: u64) -> io::Result<()> {
        self.check(life)?;
        self.operations += 1;
        Ok(())
    }

    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|inode| inode.lock().current.len() as u64)
            .sum()
    }

    fn free(&self) -> u64 {
        self.capacity
            .saturating_sub(self.used())
            .min(self.writable.unwrap_or(u64::MAX))
    }
}

impl Inode {
    fn apply(&mut self, change: Change) {
        change.apply_to(&mut self.current);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.write_back(&change);
        }
    }

    fn write_back(&mut self, change: &Change) {
        let from = match change {
            Change::Write(at, _) => *at,
            Change::SetLen(len) => *len,
        };
        self.rewrites += u64::from(from < self.durable.len());
        change.apply_to(&mut self.durable);
    }

    fn restart(&mut self, draw: &mut Draw) {
        for change in std::mem::take(&mut self.pending) {
            if let Some(kept) = draw.part(change) {
                self.write_back(&kept);
            }
        }
        self.current = self.durable.clone();
        self.is_ahead = false;
    }
}

impl Change {
    /// Bytes that are written.
    fn len(&self) -> usize {
        match self {
            Self::Write(_, data) => data.len(),
            Self::SetLen(_) => 0,
        }
    }

    fn apply_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                let end = at + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
            Self::SetLen(len) => bytes.resize(*len, 0),
        }
    }
}

/// Decides what a crash keeps.
struct Draw {
    survivors: Survivors,
    state: u64,
    remains: Remains,
}

impl Draw {
    const fn new(survivors: Survivors) -> Self {
        let state = match survivors {
            Survivors::Torn(seed) => seed,
            Survivors::Synced | Survivors::Everything => 0,
        };
        Self {
            survivors,
            state,
            remains: Remains::NOTHING,
        }
    }

    /// One step of SplitMix64.
    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn keep(&mut self) -> bool {
        match self.survivors {
            Survivors::Synced => false,
            Survivors::Everything => true,
            Survivors::Torn(_) => self.next().is_multiple_of(2),
        }
    }

    fn part(&mut self, change: Change) -> Option<Change> {
        let whole = change.len();
        let part = self.part_of(change);
        self.remains.add(whole, part.as_ref().map(Change::len));
        part
    }

    fn part_of(&mut self, change: Change) -> Option<Change> {
        match (self.survivors, change) {
            (Survivors::Synced, _) => None,
            (Survivors::Everything, change) => Some(change),
            (Survivors::Torn(_), Change::SetLen(len)) => self.keep().then_some(Change::SetLen(len)),
            (Survivors::Torn(_), Change::Write(at, mut data)) => match self.next() % 3 {
                0 => None,
                1 => Some(Change::Write(at, data)),
                _ => {
                    let sectors = data.len() as u64 / 512 + 1;
                    data.truncate(usize::try_from(self.next() % sectors).unwrap_or(0) * 512);
                    Some(Change::Write(at, data))
                }
            },
        }
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.inner.lock();
        let life = inner.life;
        inner.check(life)?;
        Ok(inner.files.keys().cloned().collect())
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        let life = inner.life;
        inner.check(life)?;
        let inode = match (inner.files.get(name), mode) {
            (Some(inode), _) => Arc::clone(inode),
            (None, OpenMode::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create) => {
                inner.change(life)?;
                inner.inodes += 1;
                let inode = Arc::new(Mutex::new(Inode {
                    number: inner.inodes,
                    ..Inode::default()
                }));
                inner.files.insert(name.to_owned(), Arc::clone(&inode));
                inode
            }
        };
        Ok(Arc::new(MemoryFile {
            disk: Arc::clone(&self.inner),
            inode,
            life,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let life = inner.life;
        inner.change(life)?;
        inner
            .files
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let life = inner.life;
        inner.change(life)?;
        inner.durable_files = inner.files.clone();
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let mut inner = self.inner.lock();
        let life = inner.life;
        inner.check(life)?;
        Ok(inner.free())
    }
}

/// An open file of a [`MemoryDisk`].
#[derive(Debug)]
struct MemoryFile {
    disk: Arc<Mutex<Inner>>,
    inode: Arc<Mutex<Inode>>,
    life: u64,
}

impl MemoryFile {
    fn grow(&self, disk: &mut Inner, end: u64) -> u64 {
        let len = self.inode.lock().current.len() as u64;
        let room = disk.capacity.saturating_sub(disk.used());
        end.min(len.max(len.saturating_add(room)))
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.lock().check(self.life)?;
        Ok(self.inode.lock().current.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.lock().check(self.life)?;
        let inode = self.inode.lock();
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(inode.current.len());
        let read = buffer.len().min(inode.current.len() - start);
        buffer[..read].copy_from_slice(&inode.current[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change(self.life)?;
        let wanted = offset.saturating_add(bytes.len() as u64);
        let end = self.grow(&mut disk, wanted);
        let mut fits = end.saturating_sub(offset).min(bytes.len() as u64);
        if let Some(writable) = &mut disk.writable {
            fits = fits.min(*writable);
            *writable -= fits;
        }
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if fits > 0 {
            self.inode.lock().apply(Change::Write(at, bytes[..fits].to_vec()));
        }
        if fits < bytes.len() {
            disk.failures.full += 1;
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change(self.life)?;
        let current = self.inode.lock().current.len() as u64;
        if len > current && (self.grow(&mut disk, len) < len || disk.writable == Some(0)) {
            disk.failures.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.inode.lock().apply(Change::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change(self.life)?;
        let mut inode = self.inode.lock();
        if disk.failing_syncs > 0 {
            disk.failing_syncs -= 1;
            disk.failures.syncs += 1;
            // The cache keeps the bytes and calls them clean: they are read until a restart, and
            // no later sync writes them.
            inode.pending.clear();
            inode.is_ahead = true;
            return Err(io::Error::other("injected failure of a sync"));
        }
        inode.sync();
        Ok(())
    }
}
