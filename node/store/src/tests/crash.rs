//! The whole life of a store with a crash after every single disk operation.

use super::*;
use crate::Disk;
use crate::index::INDEX_NAME;

/// What a client has been promised so far.
#[derive(Default)]
struct Promises {
    /// Published and not deleted since, each flushed before.
    live: Vec<(ManifestHash, Vec<Chunk>)>,
}

impl Promises {
    fn publish(&mut self, store: &ChunkStore, chunks: &[Chunk]) -> Result<(), StoreError> {
        put(store, chunks)?;
        let manifest = store.put_manifest(&manifest_of(chunks))?;
        store.flush()?;
        self.live.push((manifest, chunks.to_vec()));
        Ok(())
    }

    fn manifests(&self) -> Vec<ManifestHash> {
        self.live.iter().map(|(manifest, _)| *manifest).collect()
    }
}

/// Publishes, deletes, collects, closes, loses its index, opens again and goes on.
fn life(disk: &Arc<MemoryDisk>, promises: &mut Promises) -> Result<(), StoreError> {
    let store = ChunkStore::open(disk.clone(), SMALL)?;
    promises.publish(&store, &chunks(0..10))?;
    promises.publish(&store, &chunks(8..16))?;
    put(&store, &chunks(40..44))?;
    promises.publish(&store, &chunks([0, 5, 10]))?;
    promises.live.remove(0);
    collect(&store, &promises.manifests())?;
    put(&store, &chunks(44..46))?;
    store.close()?;
    drop(store);
    let store = ChunkStore::open(disk.clone(), SMALL)?;
    promises.publish(&store, &chunks(16..20))?;
    drop(store);
    // Reopening without the index reads the packs; losing it is no disk operation of the store.
    let _ = disk.remove(INDEX_NAME);
    let store = ChunkStore::open(disk.clone(), SMALL)?;
    promises.live.remove(0);
    collect(&store, &promises.manifests())?;
    store.close()
}

fn check(store: &ChunkStore, promises: &Promises) {
    for (manifest, chunks) in &promises.live {
        assert_eq!(store.manifest(manifest).unwrap(), manifest_of(chunks));
        assert_readable(store, chunks);
    }
    let universe = chunks((0..20).chain(40..46));
    readable(store, &universe);
    let report = store.verify().unwrap();
    assert_eq!(
        (report.corrupt_chunks, report.corrupt_manifests),
        (vec![], vec![])
    );
    // A quiet collection leaves exactly what is live.
    collect(store, &promises.manifests()).unwrap();
    let live: BTreeSet<ChunkHash> = promises
        .live
        .iter()
        .flat_map(|(_, chunks)| hashes(chunks))
        .collect();
    assert_eq!(readable(store, &universe), live);
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.chunks, stats.manifests),
        (live.len() as u64, promises.live.len() as u64)
    );
    put(store, &universe).unwrap();
    store.flush().unwrap();
    assert_readable(store, &universe);
}

fn operations_of_a_life() -> u64 {
    let disk = Arc::new(MemoryDisk::new());
    life(&disk, &mut Promises::default()).expect("nothing fails on a disk without faults");
    disk.operations()
}

fn crash_everywhere(survivors: impl Fn(u64) -> Survivors) {
    let total = operations_of_a_life();
    assert!(total > 100, "{total} operations are no life");
    for at in 0..total {
        let disk = Arc::new(MemoryDisk::new());
        disk.crash_at(at);
        let mut promises = Promises::default();
        // Only the database's own closing, after the last step, fails without an error.
        let _ = life(&disk, &mut promises);
        disk.restart(survivors(at));
        // The second crash hits the repair of the first.
        disk.crash_at(disk.operations() + at % 11);
        drop(ChunkStore::open(disk.clone(), SMALL));
        disk.restart(survivors(at + 1));
        let store = ChunkStore::open(disk.clone(), SMALL)
            .unwrap_or_else(|error| panic!("does not open after a crash at operation {at}: {error}"));
        check(&store, &promises);
    }
}

#[test]
fn power_loss_at_any_operation_loses_nothing_promised() {
    crash_everywhere(|_| Survivors::Synced);
}

#[test]
fn a_kill_at_any_operation_loses_nothing_promised() {
    crash_everywhere(|_| Survivors::Everything);
}

#[test]
fn torn_writes_at_any_operation_lose_nothing_promised() {
    crash_everywhere(Survivors::Torn);
}
