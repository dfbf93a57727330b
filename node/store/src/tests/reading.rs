//! Putting and reading back.

use super::*;
use crate::PutReport;

#[test]
fn what_was_put_is_read_at_once_and_in_the_order_asked_for() {
    let world = World::new();
    let some = chunks(0..40);
    world.put(&some);
    let shuffled: Vec<Chunk> = (0..40).map(|n| some[n * 7 % 40].clone()).collect();
    world.assert_readable(&shuffled);
    assert!(world.segments().len() > 5, "the chunks fill several segments");
}

#[test]
fn a_chunk_asked_for_twice_is_delivered_twice() {
    let world = World::new();
    let one = Chunk::nth(1);
    world.put(std::slice::from_ref(&one));
    world.assert_readable(&[one.clone(), Chunk::nth(1), one]);
}

#[test]
fn a_chunk_that_is_here_is_not_stored_again() {
    let world = World::new();
    let some = chunks(0..3);
    let first = put(&world.store, &some).unwrap();
    assert_eq!((first.stored, first.present), (3, 0));
    let before = world.store.stats().unwrap();
    let again = put(&world.store, &some).unwrap();
    assert_eq!(
        again,
        PutReport {
            stored: 0,
            present: 3,
            stored_bytes: 0
        }
    );
    let twice_in_one_put = put(&world.store, &[Chunk::nth(9), Chunk::nth(9)]).unwrap();
    assert_eq!((twice_in_one_put.stored, twice_in_one_put.present), (1, 1));
    world.store.close().unwrap();
    put(&world.store, &some).unwrap();
    let after = world.store.stats().unwrap();
    assert_eq!((before.chunks, after.chunks), (3, 4));
}

#[test]
fn missing_names_exactly_what_is_not_here() {
    let world = World::new();
    world.put(&chunks([1, 3]));
    let asked = hashes(&chunks(0..5));
    let missing = world.store.missing(&UPLOAD, &asked).unwrap();
    assert_eq!(missing, hashes(&chunks([0, 2, 4])));
    let located = world.store.locate(&asked).unwrap();
    assert_eq!(
        located.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true, false, true, false]
    );
    assert_eq!(located[1].unwrap().frame_len as usize, Chunk::nth(1).frame.len());
    assert_eq!(located[1].unwrap().raw_len as usize, Chunk::nth(1).raw.len());
    world.assert_absent(&chunks([0]));
}

#[test]
fn a_manifest_comes_back_as_it_was_put() {
    let world = World::new();
    let manifest = manifest_of(&chunks(0..300));
    let hash = world.store.put_manifest(&manifest).unwrap();
    assert_eq!(hash, manifest.hash());
    assert_eq!(world.store.put_manifest(&manifest).unwrap(), hash);
    assert_eq!(
        world.store.manifest(&hash).unwrap(),
        manifest,
        "though it is larger than a segment"
    );
    assert!(world.store.contains_manifest(&hash).unwrap());
    assert_eq!(world.store.stats().unwrap().manifests, 1);
    let unknown = manifest_of(&[]).hash();
    assert!(matches!(
        world.store.manifest(&unknown),
        Err(StoreError::ManifestAbsent { .. })
    ));
}

#[test]
fn the_manifest_of_an_empty_nar_is_a_manifest() {
    let world = World::new();
    let hash = world.publish(&[]);
    assert_eq!(world.store.manifest(&hash).unwrap().chunks, []);
}

#[test]
fn neighbours_share_one_read_and_one_buffer() {
    let world = World::with(StoreConfig {
        segment_bytes: 1 << 20,
        ..SMALL
    });
    let some = chunks(0..20);
    world.put(&some);
    let frames = world.store.read_frames(&hashes(&some)).unwrap();
    let distance = frames[19].as_ptr() as usize - frames[0].as_ptr() as usize;
    let between: usize = some[..19].iter().map(|chunk| chunk.frame.len() + 68).sum();
    assert_eq!(distance, between, "the frames are slices of one buffer");
}

#[test]
fn large_chunks_and_long_lists_are_read_in_several_parts() {
    let world = World::with(StoreConfig {
        segment_bytes: 8 << 20,
        ..SMALL
    });
    let some: Vec<Chunk> = (0..12).map(|n| Chunk::of_len(n, 200 << 10)).collect();
    world.put(&some);
    world.assert_readable(&some);
}

#[test]
fn what_cannot_be_a_chunk_is_refused_and_stores_nothing() {
    let world = World::new();
    let good = Chunk::nth(1);
    let long = vec![0; tetryx_protocol::frame::FRAME_LEN_MAX + 1];
    for (raw_len, frame) in [
        (0, &good.frame),
        (1 << 30, &good.frame),
        (5, &Vec::new()),
        (5, &long),
    ] {
        let refused = world
            .store
            .put(&[good.put_form(), (Chunk::nth(2).hash, raw_len, frame)]);
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    }
    world.assert_absent(&[good]);
}

#[test]
fn a_flipped_bit_is_detected_on_read_and_a_second_push_heals_it() {
    let mut world = World::new();
    let some = chunks(0..6);
    let manifest = world.publish(&some);
    let place = world.store.locate(&[some[2].hash]).unwrap()[0].unwrap();
    world.disk.flip_bit(
        &crate::record::segment_name(place.segment),
        place.offset + 68 + 100,
        3,
    );

    let error = world.store.read_frames(&hashes(&some)).unwrap_err();
    assert!(
        matches!(error, StoreError::Corrupt { chunk, .. } if chunk == some[2].hash),
        "{error}"
    );
    assert_eq!(
        world.store.missing(&UPLOAD, &hashes(&some)).unwrap(),
        [some[2].hash]
    );
    assert_eq!(world.store.stats().unwrap().damaged, 1);
    world.assert_readable(&[&some[..2], &some[3..]].concat());

    world.store.close().unwrap();
    world.restart(Survivors::Synced);
    assert_eq!(
        world.store.missing(&UPLOAD, &hashes(&some)).unwrap(),
        [some[2].hash],
        "it is remembered"
    );

    world.put(&some);
    world.assert_readable(&some);
    world.store.flush().unwrap();
    world.restart(Survivors::Synced);
    world.assert_readable(&some);
    assert_eq!(world.store.stats().unwrap().damaged, 0);
    assert_eq!(world.store.manifest(&manifest).unwrap(), manifest_of(&some));
}

#[test]
fn every_flipped_bit_of_a_segment_is_detected() {
    let some = chunks(0..3);
    let mut fixture = World::new();
    fixture.publish(&some);
    fixture.store.close().unwrap();
    let name = &fixture.segments()[0];
    let len = fixture.disk.content(name).unwrap().len() as u64;
    for offset in (0..len).step_by(13) {
        fixture.disk.flip_bit(name, offset, (offset % 8) as u8);
        let report = fixture.store.verify().unwrap();
        let found = report.corrupt_chunks.len() + report.corrupt_manifests.len();
        let in_header = offset < 32;
        assert_eq!(found, usize::from(!in_header), "a flip at {offset}");
        for chunk in &some {
            match fixture.store.read_chunk(&chunk.hash) {
                Ok(raw) => assert_eq!(raw, chunk.raw),
                Err(error) => assert_eq!(report.corrupt_chunks, [chunk.hash], "{error}"),
            }
        }
        // Flip it back; what the store has noted but not stored is forgotten.
        fixture.disk.flip_bit(name, offset, (offset % 8) as u8);
        fixture.reopen();
    }
}

#[test]
fn a_scrub_finds_a_frame_that_passes_its_checksum_and_holds_something_else() {
    let world = World::new();
    let (honest, other) = (Chunk::nth(1), Chunk::nth(2));
    world.put(std::slice::from_ref(&honest));
    world
        .store
        .put(&[(other.hash, honest.raw.len() as u32, &honest.frame)])
        .unwrap();
    let report = world.store.verify().unwrap();
    assert_eq!(report.corrupt_chunks, [other.hash]);
    assert_eq!(report.records, 2);
    world.assert_readable(&[honest]);
    assert!(!world.store.contains(&other.hash).unwrap());
}

#[test]
fn a_scrub_of_a_sound_store_finds_nothing() {
    let world = World::new();
    world.publish(&chunks(0..20));
    let report = world.store.verify().unwrap();
    assert_eq!(
        (report.corrupt_chunks, report.corrupt_manifests),
        (vec![], vec![])
    );
    assert_eq!(report.records, 21);
    assert_eq!(report.segments, world.segments().len() as u64);
}
