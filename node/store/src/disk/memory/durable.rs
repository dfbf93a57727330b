//! What a power cut would leave of a disk if nothing survived that was not synced.

use super::{Inode, MemoryDisk};

/// A file whose directory entry is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableFile {
    /// Its name.
    pub name: String,
    /// Bytes that are durable.
    pub len: u64,
    /// Which bytes they are.
    pub version: DurableVersion,
}

/// As long as it stays the same, the durable bytes of a file were only appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableVersion {
    inode: u64,
    rewrites: u64,
    flips: u64,
}

impl DurableVersion {
    /// Whether later bytes of the same file differ from these because the disk changed some
    /// ([`MemoryDisk::flip_bit`]).
    #[must_use]
    pub fn is_damaged_into(&self, later: &Self) -> bool {
        self.inode == later.inode && self.flips != later.flips
    }

    fn of(inode: &Inode) -> Self {
        Self {
            inode: inode.number,
            rewrites: inode.rewrites,
            flips: inode.flips,
        }
    }
}

impl MemoryDisk {
    /// The files whose durable names begin with `prefix`, by name. Injected faults do not apply.
    #[must_use]
    pub fn durable_files(&self, prefix: &str) -> Vec<DurableFile> {
        let inner = self.inner.lock();
        let files = inner.durable_files.range(prefix.to_owned()..);
        let files = files.take_while(|(name, _)| name.starts_with(prefix));
        let files = files.map(|(name, inode)| {
            let inode = inode.lock();
            DurableFile {
                name: name.clone(),
                len: inode.durable.len() as u64,
                version: DurableVersion::of(&inode),
            }
        });
        files.collect()
    }

    /// The durable bytes of a file from an offset to their end; `None` when its name is not durable. Injected faults do
    /// not apply.
    #[must_use]
    pub fn durable_content(&self, name: &str, from: u64) -> Option<Vec<u8>> {
        let inner = self.inner.lock();
        let inode = inner.durable_files.get(name)?.lock();
        let from = usize::try_from(from)
            .unwrap_or(usize::MAX)
            .min(inode.durable.len());
        Some(inode.durable[from..].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Disk, OpenMode, Survivors};
    use super::*;

    fn durable(disk: &MemoryDisk) -> (u64, DurableVersion) {
        let files = disk.durable_files("a-");
        assert_eq!(files.len(), 1);
        (files[0].len, files[0].version)
    }

    #[test]
    fn a_file_shows_when_its_name_is_durable_and_its_bytes_when_they_are() {
        let disk = MemoryDisk::new();
        let file = disk.open("a-file", OpenMode::Create).unwrap();
        file.write_at(0, b"abc").unwrap();
        file.sync().unwrap();
        assert!(disk.durable_files("a-").is_empty());
        disk.sync_dir().unwrap();
        assert_eq!(durable(&disk).0, 3);
        assert!(disk.durable_files("b-").is_empty());
        file.write_at(3, b"def").unwrap();
        assert_eq!(durable(&disk).0, 3);
        file.sync().unwrap();
        assert_eq!(disk.durable_content("a-file", 2).unwrap(), b"cdef");
        disk.remove("a-file").unwrap();
        assert_eq!(disk.durable_content("a-file", 9).unwrap(), b"");
        disk.sync_dir().unwrap();
        assert!(disk.durable_content("a-file", 0).is_none());
    }

    #[test]
    fn the_version_stays_while_a_file_only_grows() {
        let disk = MemoryDisk::new();
        let file = disk.open("a-file", OpenMode::Create).unwrap();
        disk.sync_dir().unwrap();
        let (_, version) = durable(&disk);
        for at in 0..3 {
            file.write_at(at, b"x").unwrap();
            file.sync().unwrap();
        }
        disk.restart(Survivors::Synced);
        assert_eq!(durable(&disk), (3, version));
        disk.flip_bit("a-file", 1, 0);
        let (_, flipped) = durable(&disk);
        assert!(version.is_damaged_into(&flipped) && !flipped.is_damaged_into(&flipped));
        let file = disk.open("a-file", OpenMode::Existing).unwrap();
        file.set_len(1).unwrap();
        assert_eq!(durable(&disk), (3, flipped));
        file.sync().unwrap();
        assert_ne!(durable(&disk), (1, flipped));
        disk.remove("a-file").unwrap();
        disk.open("a-file", OpenMode::Create).unwrap();
        disk.sync_dir().unwrap();
        assert_ne!(durable(&disk).1, version);
    }
}
