//! How the garbage of segments that are partly live comes back, and what that costs.

use super::counting::{CountingDisk, Traffic};
use super::*;
use crate::record::{RECORD_HEADER_LEN, SEGMENT_HEADER_LEN};
use crate::rewrite::{Fill, Plan};

/// Bytes that records of these chunks take.
fn records_len(chunks: &[Chunk]) -> u64 {
    chunks
        .iter()
        .map(|chunk| chunk.frame.len() as u64 + u64::from(RECORD_HEADER_LEN))
        .sum()
}

fn manifest_len(chunks: &[Chunk]) -> u64 {
    manifest_of(chunks).encode().len() as u64 + u64::from(RECORD_HEADER_LEN)
}

/// Every chunk but each `nth`.
fn without_each(nth: usize, chunks: &[Chunk]) -> Vec<Chunk> {
    let kept = chunks.iter().enumerate().filter(|(at, _)| at % nth != 0);
    kept.map(|(_, chunk)| chunk.clone()).collect()
}

fn fill(number: u32, records: u64, live: u64) -> Fill {
    Fill {
        number,
        records,
        live,
    }
}

#[test]
fn the_emptiest_segments_are_rewritten_until_little_enough_is_garbage() {
    let segments = vec![
        fill(1, 100, 100),
        fill(2, 100, 70),
        fill(3, 100, 99),
        fill(4, 100, 60),
        fill(5, 100, 80),
    ];
    let chosen = |percent| Plan::new(segments.clone(), 6, percent).segments();
    // 91 of 500 are garbage; without segment 4, 51 of 460; without segment 2, 21 of 430.
    assert!(chosen(20).is_empty());
    assert_eq!(chosen(15), [4]);
    assert_eq!(chosen(10), [4, 2]);
    assert_eq!(chosen(4), [4, 2, 5]);
    assert_eq!(chosen(0), [4, 2, 5, 3]);
    assert_eq!(Plan::new(segments, 6, 10).garbage_left, 21);
}

#[test]
fn a_segment_less_than_half_live_is_rewritten_however_little_of_the_whole_it_is() {
    let mut segments: Vec<Fill> = (1..50).map(|number| fill(number, 1000, 1000)).collect();
    segments.push(fill(50, 1000, 499));
    segments.push(fill(51, 1000, 500));
    assert_eq!(Plan::new(segments, 99, 10).segments(), [50]);
}

#[test]
fn the_segment_that_grows_is_rewritten_first_so_that_nothing_is_copied_twice() {
    let segments = vec![fill(1, 100, 10), fill(2, 100, 20), fill(3, 100, 40)];
    assert_eq!(Plan::new(segments, 3, 10).segments(), [3, 1, 2]);
}

#[test]
fn after_a_collection_no_more_is_garbage_than_the_configuration_allows() {
    for (nth, percent) in [(2, 10), (3, 10), (5, 10), (5, 20), (8, 1), (9, 10), (30, 2)] {
        let mut world = World::with(StoreConfig {
            garbage_max_percent: percent,
            ..SMALL
        });
        let all = chunks(0..200);
        let survivors = without_each(nth, &all);
        world.put(&all);
        let kept = world.publish(&survivors);
        let report = world.collect(&[kept]);

        let stats = world.store.stats().unwrap();
        let needed = records_len(&survivors) + manifest_len(&survivors);
        let records = stats.pack_bytes - stats.segments * u64::from(SEGMENT_HEADER_LEN);
        assert_eq!(records, needed + report.garbage_left, "each {nth}th: {report:?}");
        assert!(
            report.garbage_left * 100 <= records * u64::from(percent),
            "each {nth}th: {} of {records} bytes are garbage",
            report.garbage_left
        );
        world.assert_readable(&survivors);
        world.restart(Survivors::Synced);
        world.assert_readable(&survivors);
        assert_eq!(world.store.verify().unwrap().corrupt_chunks, []);
        assert_eq!(world.store.stats().unwrap().pack_bytes, stats.pack_bytes);
    }
}

#[test]
fn little_garbage_is_not_worth_a_rewrite_unless_there_is_little_room() {
    let config = StoreConfig {
        segment_bytes: 64 << 10,
        ..SMALL
    };
    let all = chunks(0..600);
    let survivors = without_each(20, &all);
    let collected = |quota| {
        let mut world = World::with(config);
        world.put(&all);
        let kept = world.publish(&survivors);
        world.store.close().unwrap();
        let stats = world.store.stats().unwrap();
        world.config.quota = Some(stats.pack_bytes + stats.index_bytes + quota);
        world.reopen();
        let report = world.collect(&[kept]);
        world.assert_readable(&survivors);
        report
    };
    let roomy = collected(8 << 20);
    assert_eq!((roomy.bytes_copied, roomy.bytes_freed), (0, 0));
    assert!(roomy.garbage_left > 25_000);
    let scarce = collected(1 << 10);
    let needed = records_len(&survivors) + manifest_len(&survivors);
    assert!(scarce.garbage_left * 99 <= needed, "{scarce:?}");
    assert!(scarce.bytes_freed > 20_000, "{scarce:?}");
}

#[test]
fn a_rewrite_goes_stretch_by_stretch_and_everything_is_readable_in_between() {
    let mut world = World::with(StoreConfig {
        segment_bytes: 32 << 10,
        ..SMALL
    });
    let all = chunks(0..120);
    let survivors = without_each(3, &all);
    world.put(&all);
    let kept = world.publish(&survivors);
    let swept = world.store.sweep(|| Ok([Ok::<_, MarkError>(kept)])).unwrap();
    assert_eq!((swept.bytes_copied, swept.segments_rewritten), (0, 0));

    let mut stretches = 0;
    loop {
        let before = world.store.stats().unwrap().pack_bytes;
        let stretch = world.store.rewrite(2_000).unwrap();
        assert!(stretch.bytes_copied <= 2_000, "{stretch:?}");
        let after = world.store.stats().unwrap().pack_bytes;
        // A new segment's header is no record.
        assert!(before.abs_diff(after + stretch.bytes_freed) <= 32, "{stretch:?}");
        world.assert_readable(&survivors);
        stretches += 1;
        if stretch.is_done {
            break;
        }
        if stretches % 10 == 0 {
            world.put(&chunks([1_000 + stretches]));
        }
    }
    assert!(stretches > 30, "{stretches} stretches");
    assert!(world.store.rewrite(u64::MAX).unwrap().is_done);
    world.restart(Survivors::Synced);
    world.assert_readable(&survivors);
}

#[test]
fn what_is_uploaded_or_dies_between_two_stretches_stays_or_goes() {
    let world = World::new();
    let all = chunks(0..60);
    let survivors = without_each(3, &all);
    world.put(&all);
    let kept = world.publish(&survivors);
    world.store.sweep(|| Ok([Ok::<_, MarkError>(kept)])).unwrap();
    for _ in 0..5 {
        assert!(!world.store.rewrite(1).unwrap().is_done);
    }
    // Another collection in the middle: what was planned for the first one is no more.
    let later = world.publish(&chunks(100..110));
    let fewer: Vec<Chunk> = survivors.iter().step_by(2).cloned().collect();
    let fewer_kept = world.publish(&fewer);
    world.collect(&[fewer_kept, later]);
    world.assert_readable(&fewer);
    world.assert_readable(&chunks(100..110));
    let gone: Vec<Chunk> = survivors.iter().skip(1).step_by(2).cloned().collect();
    world.assert_absent(&gone);
    assert_eq!(world.store.verify().unwrap().records, 40 - 20 + 10 + 2);
}

#[test]
fn a_rewrite_needs_the_room_of_one_stretch() {
    let segment = 1 << 20;
    let mut world = World::with(StoreConfig {
        segment_bytes: segment,
        ..SMALL
    });
    let all: Vec<Chunk> = (0..600).map(|n| Chunk::of_len(n, 8_000)).collect();
    let survivors = without_each(5, &all);
    world.put(&all);
    let kept = world.publish(&survivors);
    world.store.close().unwrap();
    let stats = world.store.stats().unwrap();
    // Twice a stretch, and what the index takes for a transaction.
    let room = segment / 4 + (192 << 10);
    world
        .disk
        .set_capacity(stats.pack_bytes + stats.index_bytes + room);
    let report = world.collect(&[kept]);
    assert_eq!(report.segments_left, 0, "{report:?}");
    assert!(report.bytes_freed > records_len(&all) / 6, "{report:?}");
    world.assert_readable(&survivors);
    world.restart(Survivors::Synced);
    world.assert_readable(&survivors);
}

#[test]
fn a_full_disk_collects_its_way_out_again_and_again() {
    let mut world = World::with(StoreConfig {
        segment_bytes: 512 << 10,
        ..SMALL
    });
    let index = world.store.stats().unwrap().index_bytes;
    world.disk.set_capacity(index + (5 << 20));
    let mut next = 0;
    let mut kept: Vec<Chunk> = Vec::new();
    for round in 0..6 {
        let before = kept.len();
        let error = loop {
            let chunk = Chunk::of_len(next, 8_000 + next as usize % 1_000);
            match put(&world.store, std::slice::from_ref(&chunk)) {
                Ok(_) => kept.push(chunk),
                Err(error) => break error,
            }
            next += 1;
        };
        assert!(error.is_full(), "{error}");
        assert!(kept.len() > before + 100, "round {round} gave room for little");
        // What stays is spread over all segments, each of them two thirds live.
        kept = without_each(3, &kept);
        let manifest = manifest_of(&kept);
        world.store.pin(&UPLOAD, &hashes(&kept));
        let report = world.collect(&[]);
        assert_eq!(report.segments_left, 0, "round {round}: {report:?}");
        world.assert_readable(&kept);
        world.store.put_manifest(&manifest).unwrap();
        world.store.flush().unwrap();
        world.restart(Survivors::Synced);
        world.assert_readable(&kept);
        world.store.unpin(&UPLOAD);
        world.collect(&[manifest.hash()]);
        world.assert_readable(&kept);
    }
}

/// A store of large segments on a disk that counts.
fn counted(many: &[Chunk]) -> (CountingDisk, ChunkStore) {
    let disk = CountingDisk::default();
    let config = StoreConfig {
        segment_bytes: 1 << 20,
        ..SMALL
    };
    let store = ChunkStore::open(Arc::new(disk.clone()), config).unwrap();
    put(&store, many).unwrap();
    (disk, store)
}

#[test]
fn a_collection_of_little_garbage_reads_manifests_and_no_chunks() {
    let all = chunks(0..5_000);
    let nars: Vec<&[Chunk]> = all.chunks(100).collect();
    let (disk, store) = counted(&all);
    let manifests: Vec<ManifestHash> = nars[..nars.len() - 1]
        .iter()
        .map(|nar| store.put_manifest(&manifest_of(nar)).unwrap())
        .collect();
    store.flush().unwrap();
    disk.take_packs();

    let report = collect(&store, &manifests).unwrap();
    assert_eq!((report.chunks_live, report.chunks_removed), (4_900, 100));
    let manifest_bytes: u64 = nars[..nars.len() - 1].iter().map(|nar| manifest_len(nar)).sum();
    assert_eq!(
        disk.take_packs(),
        Traffic {
            bytes_read: manifest_bytes,
            bytes_written: 0
        }
    );
}

#[test]
fn a_rewrite_reads_the_live_records_once_and_of_the_dead_only_headers() {
    let all = chunks(0..2_000);
    let survivors: Vec<Chunk> = all.iter().step_by(4).cloned().collect();
    let (disk, store) = counted(&all);
    let manifest = store.put_manifest(&manifest_of(&survivors)).unwrap();
    store.flush().unwrap();
    disk.take_packs();

    let report = collect(&store, &[manifest]).unwrap();
    assert!(report.bytes_freed > records_len(&all) / 2);
    let traffic = disk.take_packs();
    let live = records_len(&survivors) + manifest_len(&survivors);
    let headers = 2_001 * u64::from(RECORD_HEADER_LEN);
    assert!(
        traffic.bytes_read <= live + manifest_len(&survivors) + headers,
        "{} bytes read for {live} live ones",
        traffic.bytes_read
    );
    assert_eq!(report.bytes_copied, live);
    assert!(traffic.bytes_written <= live + 32 * 4);
}
