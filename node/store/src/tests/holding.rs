//! What a node answers about a NAR, and what that answer keeps.

use super::*;

#[test]
fn a_nar_is_complete_when_its_manifest_and_all_its_chunks_are_here() {
    let world = World::new();
    let all = chunks(0..6);
    let manifest = manifest_of(&all);
    assert!(world.store.hold_nar(&manifest.hash()).unwrap().is_none());

    world.store.put_manifest(&manifest).unwrap();
    world.put(&all[..4]);
    let held = world
        .store
        .hold_nar(&manifest.hash())
        .unwrap()
        .expect("the manifest");
    assert_eq!(held.missing, hashes(&all[4..]));
    assert_eq!(held.frame_lens[4..], [0, 0]);
    assert!(!held.is_complete());

    world.put(&all);
    let held = world
        .store
        .hold_nar(&manifest.hash())
        .unwrap()
        .expect("the manifest");
    assert!(held.is_complete());
    assert_eq!(held.manifest, manifest);
    let file: usize = all.iter().map(|chunk| chunk.frame.len()).sum();
    assert_eq!(held.file_size(), file as u64);
}

#[test]
fn a_chunk_that_is_in_a_nar_twice_is_missing_once() {
    let world = World::new();
    let twice = [chunks(0..2), chunks(0..2)].concat();
    let manifest = world.store.put_manifest(&manifest_of(&twice)).unwrap();
    let held = world.store.hold_nar(&manifest).unwrap().expect("the manifest");
    assert_eq!(held.missing, hashes(&chunks(0..2)));
    assert_eq!(held.frame_lens.len(), 4);
}

#[test]
fn what_was_answered_as_held_survives_a_collection_that_runs() {
    let world = World::new();
    let all = chunks(0..6);
    let manifest = world.publish(&all);
    let mut seen = None;
    // The marking is asked for once the collection has begun, and names nothing.
    let report = world
        .store
        .collect(|| {
            seen = world.store.hold_nar(&manifest)?.map(|held| held.is_complete());
            Ok(std::iter::empty::<Result<ManifestHash, MarkError>>())
        })
        .unwrap();
    assert_eq!(seen, Some(true));
    assert_eq!((report.chunks_removed, report.manifests_removed), (0, 0));
    world.assert_readable(&all);

    assert_eq!(world.collect(&[]).chunks_removed, 6);
    assert!(world.store.hold_nar(&manifest).unwrap().is_none());
}

#[test]
fn damage_counts_as_missing_and_heals_by_putting_again() {
    let mut world = World::new();
    let all = chunks(0..2);
    let manifest = world.publish(&all);
    world.store.close().unwrap();
    let segment = world.segments().remove(0);
    let content = world.disk.content(&segment).unwrap();
    let at = content
        .windows(all[0].frame.len())
        .position(|bytes| bytes == all[0].frame)
        .unwrap();
    world.disk.flip_bit(&segment, at as u64 + 3, 1);
    world.restart(Survivors::Synced);
    assert!(world.store.read_chunk(&all[0].hash).is_err());
    let held = world.store.hold_nar(&manifest).unwrap().expect("the manifest");
    assert_eq!(held.missing, hashes(&all[..1]));
    drop(held);
    world.put(&all);
    assert!(world.store.hold_nar(&manifest).unwrap().unwrap().is_complete());
}
