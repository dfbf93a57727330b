//! What the store relies on, asked of every disk.

use super::*;
use crate::{Disk, OpenMode, RealDisk};
use std::io::ErrorKind;

fn check_contract(disk: &dyn Disk) {
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
    let missing = disk.open("a", OpenMode::Existing).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(disk.remove("a").unwrap_err().kind(), ErrorKind::NotFound);

    let file = disk.open("a", OpenMode::Create).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(0, b"hello world").unwrap();
    file.write_at(6, b"there").unwrap();
    file.write_at(20, b"!").unwrap();
    let mut bytes = [0xff; 32];
    assert_eq!(
        file.read_at(0, &mut bytes).unwrap(),
        21,
        "a read stops at the end"
    );
    assert_eq!(
        &bytes[..21],
        b"hello there\0\0\0\0\0\0\0\0\0!",
        "a gap reads as zeroes"
    );
    assert_eq!(file.read_at(21, &mut bytes).unwrap(), 0);
    assert_eq!(file.read_at(1 << 40, &mut bytes).unwrap(), 0);

    let again = disk.open("a", OpenMode::Create).unwrap();
    assert_eq!(again.len().unwrap(), 21, "creating keeps what is there");
    again.set_len(5).unwrap();
    again.set_len(7).unwrap();
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), 7, "handles share the file");
    assert_eq!(&bytes[..7], b"hello\0\0");
    file.sync().unwrap();

    disk.open("b", OpenMode::Create).unwrap();
    disk.sync_dir().unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);

    disk.remove("a").unwrap();
    assert_eq!(
        disk.open("a", OpenMode::Existing).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        file.read_at(0, &mut bytes).unwrap(),
        7,
        "an open file outlives its name"
    );
    assert_eq!(disk.list().unwrap(), ["b"]);
    assert!(disk.free().unwrap() > 0);
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    check_contract(&RealDisk::new(directory.path().join("store")).unwrap());
}

#[test]
fn the_memory_disk_keeps_the_contract() {
    check_contract(&MemoryDisk::new());
}

#[test]
fn a_store_in_a_real_directory_lives_through_opening_and_collecting() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let disk = RealDisk::new(directory.path().to_owned()).unwrap();
        ChunkStore::open(Arc::new(disk), SMALL).unwrap()
    };
    let (live, dead) = (chunks(0..20), chunks(20..40));
    let store = open();
    put(&store, &[live.clone(), dead.clone()].concat()).unwrap();
    let manifest = store.put_manifest(&manifest_of(&live)).unwrap();
    store.flush().unwrap();
    drop(store);
    let store = open();
    assert_readable(&store, &live);
    assert_eq!(collect(&store, &[manifest]).unwrap().chunks_removed, 20);
    drop(store);
    std::fs::remove_file(directory.path().join("index.redb")).unwrap();
    let store = open();
    assert_readable(&store, &live);
    assert_eq!(store.manifest(&manifest).unwrap(), manifest_of(&live));
    assert!(store.stats().unwrap().free_bytes > 0);
}

#[test]
fn a_real_directory_has_one_owner_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = RealDisk::new(directory.path().to_owned()).unwrap();
    let refused = RealDisk::new(directory.path().to_owned()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
    drop(first);
    RealDisk::new(directory.path().to_owned()).unwrap();
}

#[test]
fn power_loss_takes_what_was_not_synced_and_nothing_else() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(0, b"synced").unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    file.write_at(0, b"UNSYNCED").unwrap();
    disk.open("b", OpenMode::Create).unwrap().sync().unwrap();
    disk.restart(Survivors::Synced);
    assert_eq!(disk.content("a").unwrap(), b"synced");
    assert_eq!(
        disk.list().unwrap(),
        ["a"],
        "a file without a synced directory entry is gone"
    );
    file.read_at(0, &mut [0])
        .expect_err("handles do not outlive the machine");
}

#[test]
fn the_death_of_the_process_takes_nothing() {
    let disk = MemoryDisk::new();
    disk.open("a", OpenMode::Create)
        .unwrap()
        .write_at(0, b"unsynced")
        .unwrap();
    disk.restart(Survivors::Everything);
    assert_eq!(disk.content("a").unwrap(), b"unsynced");
}

#[test]
fn a_torn_write_keeps_whole_sectors_from_its_beginning() {
    let mut kept = BTreeSet::new();
    for seed in 0..64 {
        let disk = MemoryDisk::new();
        let file = disk.open("a", OpenMode::Create).unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        file.write_at(0, &[7; 1300]).unwrap();
        disk.restart(Survivors::Torn(seed));
        let content = disk.content("a").unwrap();
        assert!(content.iter().all(|byte| *byte == 7));
        kept.insert(content.len());
    }
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [0, 512, 1024, 1300]);
}

#[test]
fn a_full_memory_disk_takes_what_fits_and_says_so() {
    let disk = MemoryDisk::new();
    disk.set_capacity(10);
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(0, b"12345678").unwrap();
    assert_eq!(disk.free().unwrap(), 2);
    assert_eq!(
        file.write_at(8, b"9abc").unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!(disk.content("a").unwrap(), b"123456789a");
    file.write_at(0, b"overwriting takes no room").unwrap_err();
    file.write_at(0, b"over").unwrap();
    assert_eq!(file.set_len(11).unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn an_injected_crash_stops_everything_until_the_restart() {
    let disk = Arc::new(MemoryDisk::new());
    disk.crash_at(2);
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(0, b"1").unwrap();
    file.write_at(1, b"2").unwrap_err();
    file.read_at(0, &mut [0]).unwrap_err();
    disk.list().unwrap_err();
    disk.restart(Survivors::Everything);
    assert_eq!(disk.content("a").unwrap(), b"1");
}
