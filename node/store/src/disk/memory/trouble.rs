//! What injected faults really did to a disk, and faults that concern it as a whole.

use super::{Draw, MemoryDisk, Survivors};

/// How often injected faults took effect since the disk was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Writes for which there was no room.
    pub full: u64,
    /// Syncs that failed.
    pub syncs: u64,
    /// Operations that failed because of [`MemoryDisk::crash_at`].
    pub crashed: u64,
}

/// What a restart left of the changes to files that were not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Changes of which everything survived.
    pub whole: u64,
    /// Changes of which a part survived.
    pub torn: u64,
    /// Changes of which nothing survived.
    pub lost: u64,
}

impl Remains {
    pub(super) const NOTHING: Self = Self {
        whole: 0,
        torn: 0,
        lost: 0,
    };

    /// Whether a file holds what nobody ever had it hold: a part of a change, or some changes and not others.
    #[must_use]
    pub fn are_torn(&self) -> bool {
        self.torn > 0 || (self.whole > 0 && self.lost > 0)
    }

    pub(super) fn add(&mut self, whole: usize, survived: Option<usize>) {
        match survived {
            Some(bytes) if bytes == whole => self.whole += 1,
            Some(bytes) if bytes > 0 => self.torn += 1,
            _ => self.lost += 1,
        }
    }
}

impl MemoryDisk {
    /// How often injected faults took effect.
    #[must_use]
    pub fn failures(&self) -> Failures {
        self.inner.lock().failures
    }

    /// Whether the machine stands at [`MemoryDisk::crash_at`] and waits for its restart.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        let inner = self.inner.lock();
        inner.crash_at.is_some_and(|at| inner.operations >= at)
    }

    /// Ends the process that has files open, and nothing else: its handles die, what it wrote and did not sync stays
    /// unsynced, and what is wrong with the disk stays wrong. What a failed sync should have saved is gone, as where a
    /// file system drops from its cache what it could not write.
    pub fn end_process(&self) {
        let mut inner = self.inner.lock();
        inner.life += 1;
        for inode in inner.files.values() {
            let mut inode = inode.lock();
            if inode.is_ahead {
                inode.restart(&mut Draw::new(Survivors::Everything));
            }
        }
    }

    /// Ends all injected faults but a crash that has come already: that takes a restart.
    pub fn mend(&self) {
        let mut inner = self.inner.lock();
        inner.capacity = u64::MAX;
        inner.writable = None;
        inner.failing_syncs = 0;
        if inner.crash_at.is_some_and(|at| inner.operations < at) {
            inner.crash_at = None;
        }
    }

    /// Bytes that all files together hold.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner.lock().used()
    }

    /// Changes of files that were not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        let inner = self.inner.lock();
        inner.files.values().map(|inode| inode.lock().pending.len()).sum()
    }

    /// Puts an empty disk in the place of this one. Open handles die.
    pub fn wipe(&self) {
        let mut inner = self.inner.lock();
        inner.files.clear();
        inner.durable_files.clear();
        inner.crash_at = None;
        inner.writable = None;
        inner.failing_syncs = 0;
        inner.life += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Disk, OpenMode, Survivors};
    use super::*;

    fn with_a_file() -> MemoryDisk {
        let disk = MemoryDisk::new();
        let file = disk.open("a", OpenMode::Create).unwrap();
        file.write_at(0, &[1; 700]).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        disk
    }

    #[test]
    fn a_restart_tells_what_became_of_unsynced_writes() {
        for (survivors, expected) in [
            (
                Survivors::Synced,
                Remains {
                    lost: 2,
                    ..Remains::default()
                },
            ),
            (
                Survivors::Everything,
                Remains {
                    whole: 2,
                    ..Remains::default()
                },
            ),
        ] {
            let disk = with_a_file();
            let file = disk.open("a", OpenMode::Existing).unwrap();
            file.write_at(0, &[2; 700]).unwrap();
            file.write_at(700, &[2; 700]).unwrap();
            assert_eq!(disk.unsynced(), 2);
            let remains = disk.restart(survivors);
            assert_eq!(remains, expected);
            assert!(!remains.are_torn());
            assert_eq!(disk.unsynced(), 0);
        }
    }

    #[test]
    fn some_power_cut_tears_a_write() {
        let torn = (0..20).any(|seed| {
            let disk = with_a_file();
            let file = disk.open("a", OpenMode::Existing).unwrap();
            file.write_at(0, &[2; 2000]).unwrap();
            disk.restart(Survivors::Torn(seed)).are_torn()
        });
        assert!(torn);
    }

    #[test]
    fn faults_are_counted_when_they_take_effect_and_end_when_mended() {
        let disk = with_a_file();
        let file = disk.open("a", OpenMode::Existing).unwrap();
        disk.set_capacity(disk.used());
        disk.fail_syncs(1);
        assert_eq!(disk.failures(), Failures::default());
        assert!(file.write_at(700, b"more").is_err());
        assert!(file.sync().is_err());
        disk.fail_syncs(1);
        disk.mend();
        file.write_at(700, b"more").unwrap();
        file.sync().unwrap();
        assert_eq!((disk.failures().full, disk.failures().syncs), (1, 1));
        disk.crash_at(disk.operations());
        assert!(disk.has_crashed());
        disk.mend();
        assert!(file.sync().is_err());
        assert_eq!(disk.failures().crashed, 1);
        disk.restart(Survivors::Everything);
        assert!(!disk.has_crashed());
    }

    #[test]
    fn the_end_of_a_process_saves_nothing_and_mends_nothing() {
        let disk = with_a_file();
        let file = disk.open("a", OpenMode::Existing).unwrap();
        file.write_at(0, b"unsynced").unwrap();
        disk.fail_syncs(1);
        disk.end_process();
        assert!(file.sync().is_err(), "its handles are dead");
        let file = disk.open("a", OpenMode::Existing).unwrap();
        assert_eq!(disk.content("a").unwrap()[..8], *b"unsynced");
        assert!(file.sync().is_err(), "the disk is not mended");
        disk.restart(Survivors::Synced);
        assert_ne!(disk.content("a").unwrap().get(..8), Some(&b"unsynced"[..]));
    }

    #[test]
    fn a_wiped_disk_is_empty_and_its_handles_are_dead() {
        let disk = with_a_file();
        let file = disk.open("a", OpenMode::Existing).unwrap();
        disk.wipe();
        assert_eq!(disk.used(), 0);
        assert!(disk.list().unwrap().is_empty());
        assert!(file.len().is_err());
    }
}
