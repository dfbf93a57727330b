//! Many threads on one store.

use std::sync::Barrier;

use super::*;

const THREADS: u32 = 8;

#[test]
fn threads_that_put_one_chunk_store_it_once() {
    let world = World::new();
    let some = chunks(0..60);
    let barrier = Barrier::new(THREADS as usize);
    let stored: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let mut stored = 0;
                    for part in some.chunks(7) {
                        stored += put(&world.store, part).unwrap().stored;
                        world.store.flush().unwrap();
                    }
                    stored
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(stored, 60);
    world.assert_readable(&some);
    assert_eq!(world.store.verify().unwrap().records, 60);
    let bytes: u64 = some.iter().map(|chunk| chunk.frame.len() as u64 + 68).sum();
    let stats = world.store.stats().unwrap();
    assert_eq!(stats.pack_bytes, bytes + 32 * stats.segments);
}

#[test]
fn callers_that_flush_together_share_syncs() {
    let world = World::with(StoreConfig {
        segment_bytes: 1 << 20,
        ..SMALL
    });
    world.put(&chunks(100..101));
    world.store.flush().unwrap();
    let before = world.disk.operations();
    let barrier = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (world, barrier) = (&world, &barrier);
            scope.spawn(move || {
                world.put(&chunks([n]));
                barrier.wait();
                world.store.flush().unwrap();
            });
        }
    });
    // All had appended before any flushed: one write each and one sync for all.
    assert_eq!(world.disk.operations() - before, u64::from(THREADS) + 1);
}

#[test]
fn uploads_reads_and_collections_go_on_at_once() {
    let world = World::new();
    let shared = chunks(0..12);
    let live = parking_lot::Mutex::new(BTreeSet::new());
    let collections = 20;
    std::thread::scope(|scope| {
        for n in 0..4_u8 {
            let (world, shared, live) = (&world, &shared, &live);
            scope.spawn(move || {
                for round in 0..15_u32 {
                    let pin = PinId([n + 10; 16]);
                    let own = chunks([1000 + u32::from(n) * 100 + round]);
                    let nar = [&shared[usize::from(n)..usize::from(n) + 6], &own].concat();
                    let missing = world.store.missing(&pin, &hashes(&nar)).unwrap();
                    let sent: Vec<Chunk> = nar
                        .iter()
                        .filter(|chunk| missing.contains(&chunk.hash))
                        .cloned()
                        .collect();
                    world.put(&sent);
                    let manifest = manifest_of(&nar);
                    world.store.pin_manifests(&pin, &[manifest.hash()]);
                    let manifest = world.store.put_manifest(&manifest).unwrap();
                    world.store.flush().unwrap();
                    live.lock().insert(manifest);
                    world.store.unpin(&pin);
                    world.assert_readable(&nar);
                    assert_eq!(world.store.manifest(&manifest).unwrap(), manifest_of(&nar));
                    live.lock().remove(&manifest);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..collections {
                world
                    .store
                    .collect(|| {
                        let now: Vec<ManifestHash> = live.lock().iter().copied().collect();
                        Ok(now.into_iter().map(Ok::<_, MarkError>))
                    })
                    .unwrap();
            }
        });
    });
    world.collect(&[]);
    let stats = world.store.stats().unwrap();
    assert_eq!((stats.chunks, stats.manifests, stats.damaged), (0, 0, 0));
}
