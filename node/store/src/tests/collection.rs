//! What a collection takes, what it leaves, and how space comes back.

use super::*;
use crate::Disk;

#[test]
fn what_nothing_names_or_protects_goes_and_the_rest_stays() {
    let world = World::new();
    let (live, pinned, held, dead) = (chunks(0..8), chunks(8..12), chunks(12..16), chunks(16..24));
    let kept = world.publish(&live);
    let dropped = world.publish(&dead);
    world.put(&pinned);
    world.put(&held);
    world.store.pin(&UPLOAD, &hashes(&pinned));
    let hold = world.store.hold(&hashes(&held));

    let report = world.collect(&[kept]);
    assert_eq!((report.manifests_live, report.manifests_removed), (1, 1));
    assert_eq!((report.chunks_live, report.chunks_removed), (16, 8));
    world.assert_readable(&[live.clone(), pinned.clone(), held.clone()].concat());
    world.assert_absent(&dead);
    assert!(matches!(
        world.store.manifest(&dropped),
        Err(StoreError::ManifestAbsent { .. })
    ));

    drop(hold);
    world.store.unpin(&UPLOAD);
    assert_eq!(world.collect(&[kept]).chunks_removed, 8);
    world.assert_readable(&live);
    world.assert_absent(&[pinned, held].concat());
    assert_eq!(
        world.collect(&[kept]),
        CollectReport {
            manifests_live: 1,
            chunks_live: 8,
            ..Default::default()
        }
    );
}

#[test]
fn a_chunk_shared_with_a_live_manifest_stays() {
    let world = World::new();
    world.publish(&chunks(0..6));
    let second = world.publish(&chunks(4..10));
    assert_eq!(world.collect(&[second]).chunks_removed, 4);
    world.assert_readable(&chunks(4..10));
    world.assert_absent(&chunks(0..4));
}

#[test]
fn space_comes_back_to_the_last_segment() {
    let mut world = World::new();
    world.publish(&chunks(0..100));
    let full = world.store.stats().unwrap().pack_bytes;
    let report = world.collect(&[]);
    let empty = world.store.stats().unwrap();
    assert_eq!((empty.chunks, empty.manifests), (0, 0));
    assert!(empty.pack_bytes <= 32, "{} bytes are left", empty.pack_bytes);
    assert_eq!(
        report.bytes_freed, full,
        "what the report says is what was freed, but for the new header"
    );
    assert_eq!(world.segments().len(), 1);
    world.restart(Survivors::Synced);
    assert_eq!(world.store.stats().unwrap().chunks, 0);
    world.put(&chunks(0..3));
    world.assert_readable(&chunks(0..3));
}

#[test]
fn sparse_segments_are_rewritten_and_their_live_chunks_moved() {
    let mut world = World::new();
    let all = chunks(0..40);
    let survivors: Vec<Chunk> = all.iter().step_by(4).cloned().collect();
    world.put(&all);
    let kept = world.publish(&survivors);
    let before = world.store.stats().unwrap().pack_bytes;
    let report = world.collect(&[kept]);
    assert!(report.segments_rewritten >= 8, "{report:?}");
    assert_eq!(report.segments_left, 0);
    let after = world.store.stats().unwrap();
    let needed: u64 = survivors.iter().map(|chunk| chunk.frame.len() as u64 + 68).sum();
    assert!(
        after.pack_bytes < needed * 2,
        "{} bytes for {needed}",
        after.pack_bytes
    );
    let headers = report.bytes_freed - (before - after.pack_bytes);
    assert!(
        headers <= 32 * after.segments,
        "{headers} bytes of the report were not freed"
    );
    world.assert_readable(&survivors);
    world.restart(Survivors::Synced);
    world.assert_readable(&survivors);
    world.disk.remove(crate::index::INDEX_NAME).unwrap();
    world.reopen();
    world.assert_readable(&survivors);
}

#[test]
fn what_is_released_during_a_collection_lingers_until_it_ends() {
    let world = World::new();
    let some = chunks(0..3);
    world.put(&some);
    world.store.pin(&UPLOAD, &hashes(&some));
    let report = world
        .store
        .collect(|| {
            world.store.unpin(&UPLOAD);
            Ok(Vec::new())
        })
        .unwrap();
    assert_eq!(report.chunks_removed, 0);
    assert_eq!(world.collect(&[]).chunks_removed, 3);
}

#[test]
fn a_failed_mark_removes_nothing() {
    let world = World::new();
    world.publish(&chunks(0..3));
    let failed = world.store.collect(|| Err::<Vec<_>, MarkError>("no view".into()));
    assert!(matches!(failed, Err(StoreError::Mark { .. })));
    let failed = world
        .store
        .collect(|| Ok([Err::<ManifestHash, MarkError>("page lost".into())]));
    assert!(matches!(failed, Err(StoreError::Mark { .. })));
    world.assert_readable(&chunks(0..3));
}

#[test]
fn a_corrupt_live_manifest_stops_the_collection() {
    let world = World::new();
    let some = chunks(0..3);
    let manifest = world.publish(&some);
    let slot = world
        .store
        .inner
        .catalog
        .get(&crate::record::Key::Manifest(manifest))
        .unwrap()
        .slot()
        .unwrap();
    let name = crate::record::segment_name(slot.segment);
    world.disk.flip_bit(&name, slot.end() - 1, 0);
    for _ in 0..2 {
        let refused = collect(&world.store, &[manifest]).unwrap_err();
        assert!(matches!(refused, StoreError::CorruptManifest { manifest: bad, .. } if bad == manifest));
        world.assert_readable(&some);
    }
    world.store.put_manifest(&manifest_of(&some)).unwrap();
    assert_eq!(world.collect(&[manifest]).chunks_live, 3);
}

#[test]
fn live_manifests_that_are_not_here_are_counted() {
    let world = World::new();
    let report = world.collect(&[manifest_of(&chunks(0..3)).hash()]);
    assert_eq!(report.manifests_absent, 1);
}

#[test]
fn a_sparse_segment_with_a_corrupt_live_chunk_is_left_until_it_is_healed() {
    let world = World::new();
    let all = chunks(0..4);
    world.put(&all);
    world.put(&chunks(10..14));
    let kept = world.publish(&all[..1]);
    let slot = world.store.locate(&hashes(&all[..1])).unwrap()[0].unwrap();
    let name = crate::record::segment_name(slot.segment);
    world.disk.flip_bit(&name, slot.offset + 200, 5);
    assert_eq!(world.collect(&[kept]).segments_left, 1);
    assert!(matches!(
        world.store.read_chunk(&all[0].hash),
        Err(StoreError::Corrupt { .. })
    ));
    world.put(&all[..1]);
    assert_eq!(world.collect(&[kept]).segments_left, 0);
    assert!(!world.segments().contains(&name));
    world.assert_readable(&all[..1]);
}

#[test]
fn a_dead_chunk_comes_back_when_it_is_put_again() {
    let world = World::new();
    let some = chunks(0..5);
    world.put(&some);
    world.collect(&[]);
    assert_eq!(
        world.store.missing(&UPLOAD, &hashes(&some)).unwrap(),
        hashes(&some)
    );
    world.put(&some);
    world.collect(&[]);
    world.assert_readable(&some);
}

#[test]
fn frames_that_are_being_read_outlive_their_segment() {
    let world = World::new();
    let some = chunks(0..5);
    world.put(&some);
    let frames = world.store.read_frames(&hashes(&some)).unwrap();
    world.collect(&[]);
    world.assert_absent(&some);
    for (chunk, frame) in some.iter().zip(frames) {
        assert_eq!(frame, chunk.frame);
    }
}
