//! Opening again: after a clean end, after crashes, without an index, with a bad one.

use super::*;
use crate::index::INDEX_NAME;
use crate::{Disk, OpenMode};

#[test]
fn what_was_flushed_survives_power_loss_and_the_rest_leaves_no_trace() {
    let mut world = World::new();
    let (flushed, unflushed) = (chunks(0..10), chunks(10..20));
    world.put(&flushed);
    world.store.flush().unwrap();
    world.put(&unflushed);
    world.restart(Survivors::Synced);
    world.assert_readable(&flushed);
    world.assert_absent(&unflushed);
    world.put(&unflushed);
    world.assert_readable(&unflushed);
}

#[test]
fn a_killed_process_loses_nothing_that_reached_the_system() {
    let mut world = World::new();
    let some = chunks(0..20);
    world.put(&some);
    world.restart(Survivors::Everything);
    world.assert_readable(&some);
    assert_eq!(world.store.stats().unwrap().chunks, 20);
}

#[test]
fn pins_survive_a_restart_once_flushed() {
    let mut world = World::new();
    let some = chunks(0..3);
    let now = tetryx_protocol::time::UtcTime::from_unix_ms(1_772_000_000_000);
    world.put(&some);
    world.store.pin(&UPLOAD, &hashes(&some));
    world.store.pin_manifests(&UPLOAD, &[manifest_of(&some).hash()]);
    world.store.touch(&UPLOAD, now);
    world.store.flush().unwrap();
    world.store.pin(&PinId([2; 16]), &hashes(&some));
    world.restart(Survivors::Synced);
    let pins = world.store.pins();
    assert_eq!(
        pins,
        [crate::PinInfo {
            id: UPLOAD,
            chunks: 3,
            manifests: 1,
            touched: Some(now)
        }]
    );
    assert_eq!(world.collect(&[]).chunks_removed, 0);
    world.store.unpin(&UPLOAD);
    world.store.close().unwrap();
    world.restart(Survivors::Synced);
    assert_eq!(world.store.pins(), []);
}

#[test]
fn a_deleted_index_is_rebuilt_from_the_packs() {
    let mut world = World::new();
    let some = chunks(0..30);
    let manifest = world.publish(&some);
    world.store.close().unwrap();
    world.disk.remove(INDEX_NAME).unwrap();
    world.reopen();
    world.assert_readable(&some);
    assert_eq!(world.store.manifest(&manifest).unwrap(), manifest_of(&some));
    let stats = world.store.stats().unwrap();
    assert_eq!((stats.chunks, stats.manifests, stats.damaged), (30, 1, 0));
}

#[test]
fn an_index_that_is_no_database_is_rebuilt() {
    for rubbish in [vec![0; 1], vec![0xa5; 100_000]] {
        let mut world = World::new();
        let some = chunks(0..10);
        world.publish(&some);
        world.store.close().unwrap();
        let file = world.disk.open(INDEX_NAME, OpenMode::Existing).unwrap();
        file.set_len(0).unwrap();
        file.write_at(0, &rubbish).unwrap();
        world.reopen();
        world.assert_readable(&some);
    }
}

#[test]
fn an_index_with_flipped_bits_never_costs_a_chunk() {
    let mut world = World::new();
    let some = chunks(0..10);
    let manifest = world.publish(&some);
    world.store.close().unwrap();
    for offset in (0..1 << 20).step_by(1021) {
        if offset >= world.disk.content(INDEX_NAME).unwrap().len() as u64 {
            break;
        }
        world.disk.flip_bit(INDEX_NAME, offset, (offset % 8) as u8);
        world.reopen();
        world.assert_readable(&some);
        assert_eq!(
            world.store.manifest(&manifest).unwrap(),
            manifest_of(&some),
            "a flip at {offset}"
        );
        world.store.close().unwrap();
    }
}

#[test]
fn a_torn_append_is_cut_off() {
    let mut world = World::new();
    let some = chunks(0..3);
    world.put(&some);
    world.store.flush().unwrap();
    let name = world.segments().pop().unwrap();
    let whole = world.disk.content(&name).unwrap();
    world.put(&chunks([3]));
    let torn = world.disk.content(&name).unwrap();
    for len in [
        whole.len() + 1,
        whole.len() + 67,
        whole.len() + 68,
        torn.len() - 1,
    ] {
        let file = world.disk.open(&name, OpenMode::Existing).unwrap();
        file.set_len(0).unwrap();
        file.write_at(0, &torn[..len]).unwrap();
        world.reopen();
        world.assert_readable(&some);
        world.assert_absent(&chunks([3]));
        assert_eq!(world.disk.content(&name).unwrap(), whole, "torn at {len}");
    }
}

#[test]
fn rebuilding_leaves_out_what_is_damaged_and_keeps_what_surrounds_it() {
    // In each part of a record: magic, check, checksum, length, hash, payload.
    for byte in [0, 5, 10, 33, 40, 68, 500] {
        let mut world = World::with(StoreConfig {
            segment_bytes: 64 << 10,
            ..SMALL
        });
        let some = chunks(0..5);
        world.publish(&some);
        world.store.close().unwrap();
        let place = world.store.locate(&[some[2].hash]).unwrap()[0].unwrap();
        world.disk.flip_bit(&world.segments()[0], place.offset + byte, 1);
        world.disk.remove(INDEX_NAME).unwrap();
        world.reopen();
        world.assert_readable(&[&some[..2], &some[3..]].concat());
        assert!(!world.store.contains(&some[2].hash).unwrap(), "byte {byte}");
        assert_eq!(
            world.store.missing(&UPLOAD, &hashes(&some)).unwrap(),
            [some[2].hash]
        );
        world.put(&some);
        world.assert_readable(&some);
        world.store.close().unwrap();
        world.disk.remove(INDEX_NAME).unwrap();
        world.reopen();
        world.assert_readable(&some);
    }
}

#[test]
fn a_record_inside_a_payload_is_not_taken_for_one_when_damage_precedes_it() {
    // given: a chunk whose frame stores the bytes of a record for a chunk that it is not
    let victim = Chunk::nth(1);
    let mut forged = Vec::new();
    let key = crate::record::Key::Chunk(victim.hash);
    let lie = Chunk::nth(2);
    crate::record::write_record(
        &mut forged,
        &key,
        lie.raw.len() as u32,
        &lie.frame,
        lie.frame.len() as u32,
    );
    let carrier = Chunk {
        hash: ChunkHash::of(&forged),
        frame: Compressor::new().compress(&forged),
        raw: forged,
    };
    let mut world = World::with(StoreConfig {
        segment_bytes: 64 << 10,
        ..SMALL
    });
    world.publish(&[carrier.clone(), Chunk::nth(3)]);
    let place = world.store.locate(&[carrier.hash]).unwrap()[0].unwrap();
    world.store.close().unwrap();
    // when: the carrier's header is damaged and the index has to be rebuilt
    world.disk.flip_bit(&world.segments()[0], place.offset, 0);
    world.disk.remove(INDEX_NAME).unwrap();
    world.reopen();
    // then: the lie is not believed
    world.assert_readable(&[Chunk::nth(3)]);
    assert!(!world.store.contains(&victim.hash).unwrap());
}

#[test]
fn a_pack_of_a_newer_version_is_refused_by_name() {
    let world = World::new();
    world.publish(&chunks(0..1));
    let mut header = crate::record::segment_header(1);
    header[8] = 9;
    let check = xxhash_rust::xxh3::xxh3_64(&header[..24]);
    header[24..].copy_from_slice(&check.to_le_bytes());
    world
        .disk
        .open(&world.segments()[0], OpenMode::Existing)
        .unwrap()
        .write_at(0, &header)
        .unwrap();
    let refused = ChunkStore::open(world.disk.clone(), SMALL).unwrap_err();
    assert!(
        matches!(&refused, StoreError::NewerFormat { segment, version: 9, .. } if *segment == world.segments()[0]),
        "{refused}"
    );
}

#[test]
fn a_pack_cut_short_behind_the_index_is_noticed() {
    let mut world = World::with(StoreConfig {
        segment_bytes: 64 << 10,
        ..SMALL
    });
    let some = chunks(0..10);
    world.publish(&some);
    world.store.close().unwrap();
    let place = world.store.locate(&[some[5].hash]).unwrap()[0].unwrap();
    let file = world.disk.open(&world.segments()[0], OpenMode::Existing).unwrap();
    file.set_len(place.offset + 10).unwrap();
    world.reopen();
    world.assert_readable(&some[..5]);
    world.assert_absent(&some[5..]);
}

#[test]
fn a_lost_pack_costs_its_chunks_only() {
    let mut world = World::new();
    let some = chunks(0..12);
    world.publish(&some);
    world.store.close().unwrap();
    let place = world.store.locate(&[some[0].hash]).unwrap()[0].unwrap();
    world
        .disk
        .remove(&crate::record::segment_name(place.segment))
        .unwrap();
    world.reopen();
    let left = readable(&world.store, &some);
    assert!(!left.contains(&some[0].hash) && left.contains(&some[11].hash));
    world.put(&some);
    world.assert_readable(&some);
}

#[test]
fn foreign_files_are_left_alone() {
    let mut world = World::new();
    world
        .disk
        .open("README", OpenMode::Create)
        .unwrap()
        .write_at(0, b"mine")
        .unwrap();
    world.publish(&chunks(0..3));
    world.reopen();
    world.collect(&[]);
    assert_eq!(world.disk.content("README").unwrap(), b"mine");
}

#[test]
fn a_failed_sync_is_made_good_by_writing_again() {
    let mut world = World::new();
    let (before, after) = (chunks(0..2), chunks(2..7));
    world.put(&before);
    world.store.flush().unwrap();
    world.put(&after);
    world.disk.fail_syncs(1);
    world.store.flush().unwrap();
    world.restart(Survivors::Synced);
    world.assert_readable(&[before, after].concat());
}

#[test]
fn syncs_that_keep_failing_are_reported_and_made_good_later() {
    let mut world = World::new();
    let some = chunks(0..7);
    world.put(&some);
    world.disk.fail_syncs(4);
    let mut failures = 0;
    while let Err(error) = world.store.flush() {
        assert!(
            matches!(
                error,
                StoreError::Disk {
                    operation: "sync",
                    ..
                }
            ),
            "{error}"
        );
        world.assert_readable(&some);
        failures += 1;
    }
    assert!(failures > 0);
    world.restart(Survivors::Synced);
    world.assert_readable(&some);
}

#[test]
fn bytes_that_a_failed_sync_has_spoilt_are_never_called_durable() {
    let mut world = World::new();
    let (before, some) = (chunks(0..2), chunks(2..4));
    world.put(&before);
    world.store.flush().unwrap();
    world.put(&some);
    let place = world.store.locate(&hashes(&some)).unwrap()[0].unwrap();
    world
        .disk
        .flip_bit(&crate::record::segment_name(place.segment), place.offset + 300, 2);
    world.disk.fail_syncs(1);
    for _ in 0..2 {
        let refused = world.store.flush().unwrap_err();
        assert!(matches!(refused, StoreError::Lost { lost: 1 }), "{refused}");
    }
    world.assert_readable(&before);
    world.assert_absent(&some[..1]);
    world.restart(Survivors::Synced);
    world.assert_readable(&before);
    world.put(&some);
    world.store.flush().unwrap();
    world.assert_readable(&some);
}

#[test]
fn an_index_that_failed_in_the_last_run_is_rebuilt() {
    let mut world = World::new();
    let some = chunks(0..10);
    world.publish(&some);
    world.store.pin(&UPLOAD, &hashes(&some));
    world.store.close().unwrap();
    world.disk.open("index.rebuild", OpenMode::Create).unwrap();
    world.reopen();
    world.assert_readable(&some);
    assert_eq!(world.store.pins(), [], "the pins are all that is lost");
    assert!(!world.disk.list().unwrap().contains(&"index.rebuild".to_owned()));
}

#[test]
fn an_index_too_large_to_be_checked_survives_crashes_as_well() {
    let places: Vec<_> = (0..20)
        .map(|n| {
            let slot = crate::record::Slot {
                segment: 1,
                offset: n,
                frame_len: 7,
                raw_len: 9,
            };
            (crate::record::Key::Chunk(ChunkHash::of(&n.to_le_bytes())), slot)
        })
        .collect();
    let keys: Vec<_> = places.iter().map(|(key, _)| *key).collect();
    for seed in 0..20 {
        let disk = Arc::new(MemoryDisk::new());
        let (index, is_new) = crate::index::Index::open(disk.clone(), 1 << 20, 0).unwrap();
        assert!(is_new);
        for (committed, (key, slot)) in places.iter().enumerate() {
            if committed as u64 == seed {
                disk.crash_at(disk.operations() + seed % 7);
            }
            let entries = vec![(*key, Some(*slot))];
            if index
                .commit(&crate::index::Changes {
                    entries,
                    ..Default::default()
                })
                .is_ok()
            {
                continue;
            }
            disk.restart(Survivors::Torn(seed));
            let (index, is_new) = crate::index::Index::open(disk, 1 << 20, 0).unwrap();
            assert!(!is_new);
            let found = index.get_many(&keys[..committed]).unwrap();
            assert!(
                found
                    .iter()
                    .zip(&places)
                    .all(|(found, (_, slot))| *found == Some(*slot))
            );
            break;
        }
    }
}
