//! No room: on the disk, in the quota, for the index.

use super::*;

/// Puts chunks one by one until the store is full; returns those that went in, and the error.
fn fill(world: &World) -> (Vec<Chunk>, StoreError) {
    let mut stored = Vec::new();
    for n in 0..10_000 {
        let chunk = Chunk::nth(n);
        match put(&world.store, std::slice::from_ref(&chunk)) {
            Ok(_) => stored.push(chunk),
            Err(error) => return (stored, error),
        }
    }
    panic!("the store never gets full");
}

#[track_caller]
fn assert_full(error: &StoreError) {
    let StoreError::Full { free, needed } = error else {
        panic!("{error}");
    };
    assert!(free < needed, "{free} of {needed} bytes are free");
    assert!(
        error
            .to_string()
            .contains(&format!("{needed} bytes needed, {free} free")),
        "{error}"
    );
}

/// The store is full of `stored`: everything but putting works, and after a collection that too.
fn check_recovery(mut world: World, stored: &[Chunk]) {
    world.assert_readable(stored);
    world.store.flush().unwrap();
    let manifest = manifest_of(&stored[..5]);
    assert_full(&put(&world.store, &chunks([20_000])).unwrap_err());
    world.assert_absent(&chunks([20_000]));

    let report = world.collect(&[]);
    assert_eq!(report.chunks_removed, stored.len() as u64);
    world.put(&stored[..5]);
    let kept = world.store.put_manifest(&manifest).unwrap();
    world.store.flush().unwrap();
    world.restart(Survivors::Synced);
    world.assert_readable(&stored[..5]);
    assert_eq!(world.collect(&[kept]).chunks_live, 5);
}

#[test]
fn a_quota_is_kept_and_collection_makes_room_in_it() {
    let world = World::with(StoreConfig {
        quota: Some(2 << 20),
        ..SMALL
    });
    let (stored, error) = fill(&world);
    assert_full(&error);
    let stats = world.store.stats().unwrap();
    assert!(stats.pack_bytes + stats.index_bytes <= 2 << 20);
    assert!(stats.free_bytes < 1 << 10);
    assert!(stored.len() > 10);
    check_recovery(world, &stored);
}

#[test]
fn a_full_disk_is_reported_and_collection_makes_room_on_it() {
    let world = World::new();
    let index = world.store.stats().unwrap().index_bytes;
    world.disk.set_capacity(index + (256 << 10));
    let (stored, error) = fill(&world);
    assert_full(&error);
    check_recovery(world, &stored);
}

#[test]
fn a_disk_that_fills_up_at_any_byte_leaves_nothing_half_written() {
    let (before, during) = (chunks(0..2), chunks(2..9));
    let total: usize = during.iter().map(|chunk| chunk.frame.len() + 68).sum();
    for bytes in (0..total + 200).step_by(97) {
        let mut world = World::new();
        world.put(&before);
        world.store.flush().unwrap();
        world.disk.fail_writes_after(Some(bytes as u64));
        let result = put(&world.store, &during);
        if let Err(error) = &result {
            assert_full(error);
        }
        let visible = readable(&world.store, &during);
        assert_eq!(result.is_ok(), visible.len() == during.len());
        world.assert_readable(&before);

        world.disk.fail_writes_after(None);
        world.put(&during);
        world.assert_readable(&during);
        world.store.flush().unwrap();
        world.restart(Survivors::Synced);
        world.assert_readable(&[before.clone(), during.clone()].concat());
    }
}

#[test]
fn a_crash_after_a_failed_append_leaves_only_whole_chunks() {
    let during = chunks(2..9);
    for bytes in (0..7_000).step_by(331) {
        let mut world = World::new();
        world.disk.fail_writes_after(Some(bytes));
        put(&world.store, &during).unwrap_err();
        world.restart(Survivors::Everything);
        readable(&world.store, &during);
        world.put(&during);
        world.assert_readable(&during);
    }
}

#[test]
fn an_index_without_room_stops_flushes_not_reads_and_recovers() {
    let mut world = World::new();
    let some = chunks(0..4);
    world.put(&some);
    world.store.pin(&UPLOAD, &hashes(&some));
    world.disk.fail_writes_after(Some(0));
    assert_full(&world.store.flush().unwrap_err());
    world.disk.fail_writes_after(None);
    world.assert_readable(&some);
    world.store.flush().unwrap();
    world.restart(Survivors::Synced);
    world.assert_readable(&some);
    assert_eq!(world.store.pins().len(), 1);
}

#[test]
fn a_collection_works_when_the_index_cannot_be_written() {
    for bytes in [0, 100, 5_000, 20_000] {
        let mut world = World::new();
        let dead = chunks(0..30);
        world.publish(&dead);
        let kept = world.publish(&chunks(30..40));
        world.disk.fail_writes_after(Some(bytes));
        match collect(&world.store, &[kept]) {
            Ok(report) => assert!(report.segments_removed > 0),
            Err(error) => assert_full(&error),
        }
        world.disk.fail_writes_after(None);
        world.assert_readable(&chunks(30..40));
        world.collect(&[kept]);
        world.assert_absent(&dead);
        world.restart(Survivors::Synced);
        world.assert_readable(&chunks(30..40));
        world.assert_absent(&dead);
    }
}
