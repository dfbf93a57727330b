//! `kill -9` in the middle of a collection and of a rewrite: a process of its own is killed at any of its disk
//! operations, half-done writes included, while it takes uploads beside. Then the store is opened again and everything
//! that was promised is looked up.
//!
//! What a power cut takes besides is tested on the memory disk (`src/tests/crash.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use tetryx_protocol::frame::Compressor;
use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::manifest::{Manifest, ManifestChunk};
use tetryx_store::{
    ChunkStore, Disk, DiskFile, MarkError, OpenMode, PinId, RealDisk, StoreConfig, StoreError,
};

/// Kills of each kind.
const KILLS: usize = 50;
/// NARs in the store when the process begins; two thirds of them are live.
const NARS: u32 = 36;
/// Where the uploads that go on meanwhile begin to count.
const UPLOADS_FROM: u32 = 1_000;
/// What a process is told by its environment: where, when, and in the middle of what.
const FOLDER: &str = "TETRYX_KILL_FOLDER";
const AFTER: &str = "TETRYX_KILL_AFTER";
const DURING: &str = "TETRYX_KILL_DURING";

fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 64 << 10,
        index_cache_bytes: 1 << 20,
        ..StoreConfig::default()
    }
}

/// The raw chunks of the `n`th NAR: neighbours share one.
fn nar(n: u32) -> Vec<Vec<u8>> {
    (0..8)
        .map(|at| {
            let mut random = fastrand::Rng::with_seed(u64::from(n) * 7 + at);
            let len = random.usize(500..6_000);
            (0..len).map(|_| random.u8(..)).collect()
        })
        .collect()
}

fn manifest(n: u32) -> Manifest {
    let chunks = nar(n);
    let bytes = chunks.concat();
    Manifest {
        nar_hash: NarHash::of(&bytes),
        nar_size: bytes.len() as u64,
        chunks: chunks
            .iter()
            .map(|raw| ManifestChunk {
                hash: ChunkHash::of(raw),
                raw_len: raw.len() as u32,
            })
            .collect(),
    }
}

const fn is_live(n: u32) -> bool {
    !n.is_multiple_of(3)
}

/// Pins, asks, sends what is missing and makes it durable: all but the record.
fn upload(store: &ChunkStore, n: u32) -> Result<ManifestHash, StoreError> {
    let pin = pin_of(n);
    let chunks = nar(n);
    let hashes: Vec<ChunkHash> = chunks.iter().map(|raw| ChunkHash::of(raw)).collect();
    let missing = store.missing(&pin, &hashes)?;
    let mut compressor = Compressor::new();
    let frames: Vec<_> = chunks
        .iter()
        .zip(hashes)
        .filter(|(_, hash)| missing.contains(hash))
        .map(|(raw, hash)| (hash, raw.len() as u32, compressor.compress(raw)))
        .collect();
    store.put(&frames)?;
    let manifest = manifest(n);
    store.pin_manifests(&pin, &[manifest.hash()]);
    let name = store.put_manifest(&manifest)?;
    store.flush()?;
    Ok(name)
}

fn pin_of(n: u32) -> PinId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_le_bytes());
    PinId(id)
}

/// Makes a store with garbage in every segment.
fn prepare(folder: &Path) {
    let disk = Arc::new(RealDisk::new(folder.to_owned()).unwrap());
    let store = ChunkStore::open(disk, config()).unwrap();
    for n in 0..NARS {
        upload(&store, n).unwrap();
        store.unpin(&pin_of(n));
    }
    store.close().unwrap();
}

/// Kills this process when its time has come.
#[derive(Debug)]
struct Fuse {
    is_lit: AtomicBool,
    left: AtomicI64,
}

impl Fuse {
    /// Counts an operation; `part_of_it` is what a kill leaves of it.
    fn burn(&self, part_of_it: impl FnOnce()) {
        if self.is_lit.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            part_of_it();
            kill_process(getpid(), Signal::KILL).expect("one may kill oneself");
            loop {
                std::thread::park();
            }
        }
    }
}

/// A folder whose operations burn the fuse.
#[derive(Debug)]
struct FusedDisk {
    disk: RealDisk,
    fuse: Arc<Fuse>,
}

impl Disk for FusedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::Create {
            self.fuse.burn(|| ());
        }
        Ok(Arc::new(FusedFile {
            file: self.disk.open(name, mode)?,
            fuse: Arc::clone(&self.fuse),
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.fuse.burn(|| ());
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.fuse.burn(|| ());
        self.disk.sync_dir()
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

#[derive(Debug)]
struct FusedFile {
    file: Arc<dyn DiskFile>,
    fuse: Arc<Fuse>,
}

impl DiskFile for FusedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.fuse.burn(|| {
            let half = &bytes[..bytes.len() / 2];
            self.file.write_at(offset, half).expect("the disk works");
        });
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fuse.burn(|| ());
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.fuse.burn(|| ());
        self.file.sync()
    }
}

/// What the process does until it is killed: one thread uploads and says so, the other collects.
fn live_on(folder: &Path, after: i64, during: During) -> Result<(), StoreError> {
    let fuse = Arc::new(Fuse {
        is_lit: AtomicBool::new(false),
        left: AtomicI64::new(after),
    });
    let disk = FusedDisk {
        disk: RealDisk::new(folder.to_owned()).expect("the folder is free"),
        fuse: Arc::clone(&fuse),
    };
    let store = ChunkStore::open(Arc::new(disk), config())?;
    let live: Mutex<BTreeSet<ManifestHash>> = Mutex::default();
    live.lock()
        .extend((0..NARS).filter(|n| is_live(*n)).map(|n| manifest(n).hash()));
    let mark = || {
        let live: Vec<_> = live.lock().iter().copied().map(Ok::<_, MarkError>).collect();
        Ok(live)
    };
    if during == During::Rewrite {
        store.sweep(mark)?;
    }
    fuse.is_lit.store(true, Ordering::SeqCst);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let uploads = scope.spawn(|| -> Result<(), StoreError> {
            // New content, and NARs that the collection is just taking.
            for n in (UPLOADS_FROM..).flat_map(|n| [n, (n * 3) % NARS]) {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let name = upload(&store, n)?;
                live.lock().insert(name);
                writeln!(io::stdout(), "published {n}").expect("somebody listens");
                store.unpin(&pin_of(n));
            }
            Ok(())
        });
        let collected = match during {
            During::Sweep => store.sweep(mark).map(|_| ()),
            During::Rewrite => (|| {
                while !store.rewrite(4_000)?.is_done {}
                Ok(())
            })(),
        };
        is_over.store(true, Ordering::SeqCst);
        uploads.join().expect("uploads do not panic")?;
        collected
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum During {
    Sweep,
    Rewrite,
}

/// Starts a process that is killed after so many disk operations. Tells which NARs it has published, if it was killed.
fn kill_after(folder: &Path, after: u64, during: During) -> Option<BTreeSet<u32>> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_process_that_is_killed_is_this_program",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(AFTER, after.to_string())
        .env(DURING, format!("{during:?}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    process.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = process.wait().unwrap();
    if std::os::unix::process::ExitStatusExt::signal(&status) != Some(Signal::KILL.as_raw()) {
        assert!(status.success(), "the process failed by itself: {said}");
        return None;
    }
    let published = said
        .split('\n')
        .filter_map(|line| line.strip_prefix("published ")?.parse().ok());
    Some(published.collect())
}

/// Opens what a killed process left, and looks everything up.
fn check(folder: &Path, published: &BTreeSet<u32>, when: &str) {
    let live: BTreeMap<u32, ManifestHash> = (0..NARS)
        .filter(|n| is_live(*n))
        .chain(published.iter().copied())
        .map(|n| (n, manifest(n).hash()))
        .collect();
    for quiet in [false, true] {
        let disk = Arc::new(RealDisk::new(folder.to_owned()).unwrap());
        let store = ChunkStore::open(disk, config()).unwrap_or_else(|error| panic!("{when}: {error}"));
        for pin in store.pins() {
            store.unpin(&pin.id);
        }
        if quiet {
            let mark = || Ok(live.values().copied().map(Ok::<_, MarkError>));
            store.collect(mark).unwrap();
            let chunks: BTreeSet<ChunkHash> = live
                .keys()
                .flat_map(|n| nar(*n))
                .map(|raw| ChunkHash::of(&raw))
                .collect();
            let stats = store.stats().unwrap();
            assert_eq!(
                (stats.chunks, stats.manifests),
                (chunks.len() as u64, live.len() as u64),
                "{when}: orphans are left"
            );
        }
        for (n, name) in &live {
            assert_eq!(store.manifest(name).unwrap(), manifest(*n), "{when}: NAR {n}");
            for raw in nar(*n) {
                assert_eq!(
                    store.read_chunk(&ChunkHash::of(&raw)).unwrap(),
                    raw,
                    "{when}: NAR {n}"
                );
            }
        }
        let verified = store.verify().unwrap();
        assert_eq!(
            (verified.corrupt_chunks, verified.corrupt_manifests),
            (vec![], vec![]),
            "{when}"
        );
        store.close().unwrap();
    }
}

/// Copies a closed store.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn kill_at_random_moments(during: During) {
    let fresh = tempfile::tempdir().unwrap();
    prepare(fresh.path());
    let mut random = fastrand::Rng::with_seed(20_261_123);
    let mut kills = 0;
    let mut operations_max = 8;
    while kills < KILLS {
        let after = random.u64(0..operations_max);
        let folder = tempfile::tempdir().unwrap();
        copy(fresh.path(), folder.path());
        match kill_after(folder.path(), after, during) {
            Some(published) => {
                check(
                    folder.path(),
                    &published,
                    &format!("killed after {after} operations of a {during:?}"),
                );
                kills += 1;
                operations_max += operations_max / 4;
            }
            // It was over before.
            None => operations_max = after.max(8),
        }
    }
}

#[test]
fn a_kill_at_fifty_random_moments_of_a_collection_loses_nothing() {
    kill_at_random_moments(During::Sweep);
}

#[test]
fn a_kill_at_fifty_random_moments_of_a_rewrite_loses_nothing() {
    kill_at_random_moments(During::Rewrite);
}

/// Started by the tests above with the environment they set. Otherwise it checks that what they rely on is so: a life
/// that nobody kills ends well.
#[test]
fn the_process_that_is_killed_is_this_program() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let after = std::env::var(AFTER).unwrap().parse().unwrap();
        let during = match std::env::var(DURING).unwrap().as_str() {
            "Sweep" => During::Sweep,
            _ => During::Rewrite,
        };
        return live_on(Path::new(&folder), after, during).unwrap();
    }
    for during in [During::Sweep, During::Rewrite] {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        live_on(folder.path(), i64::MAX, during).unwrap();
        check(folder.path(), &BTreeSet::new(), "not killed");
    }
}
