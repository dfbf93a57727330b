//! Measures collections of a store on a real folder.
//!
//! ```text
//! cargo run --release -p tetryx-store --example collect -- [FOLDER]
//! ```
//!
//! Three cases, each in a fresh folder under `FOLDER` (the system's temporary one if none is given), which takes up to
//! 3 GiB:
//! - **little is dead**: 100,000 chunks in 1,000 NARs, 1 % of them dead, spread over all segments. Nothing is worth a
//!   rewrite: what is read are manifests.
//! - **everything expired**: 1 GiB in 30 NARs of random bytes, none of them live any more.
//! - **half expired**: the same, every second NAR live, and each sharing a tenth of its chunks with the next.
//!
//! Beside each, one thread reads single live chunks as fast as it can: its latencies before and during the collection are
//! compared, and what it reads is not counted as the collection's. Freed is what the folder shrank by, pack files and index together, against the bytes that only the dead
//! needed.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::manifest::{Manifest, ManifestChunk};
use tetryx_store::{ChunkStore, CollectReport, Disk, DiskFile, MarkError, OpenMode, RealDisk, StoreConfig};

type Failed = Box<dyn Error + Send + Sync>;

/// A folder that counts what is read from packs.
#[derive(Debug)]
struct CountingDisk {
    disk: RealDisk,
    read: Arc<AtomicU64>,
}

impl Disk for CountingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(name, mode)?;
        Ok(match name.ends_with(".pack") {
            true => Arc::new(CountingFile {
                file,
                read: Arc::clone(&self.read),
            }),
            false => file,
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn free(&self) -> io::Result<u64> {
        self.disk.free()
    }
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn DiskFile>,
    read: Arc<AtomicU64>,
}

impl DiskFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(offset, buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A store, what is in it, and how much was read from its packs.
struct Case {
    folder: PathBuf,
    store: ChunkStore,
    /// Bytes read from packs, and those among them that the reader beside was served.
    read: Arc<AtomicU64>,
    served: AtomicU64,
    manifests: Vec<Manifest>,
}

impl Case {
    fn new(root: &Path, name: &str) -> Result<Self, Failed> {
        let folder = root.join(format!("tetryx-collect-{name}-{}", std::process::id()));
        let read = Arc::new(AtomicU64::new(0));
        let disk = CountingDisk {
            disk: RealDisk::new(folder.clone())?,
            read: Arc::clone(&read),
        };
        Ok(Self {
            folder,
            store: ChunkStore::open(Arc::new(disk), StoreConfig::default())?,
            read,
            served: AtomicU64::new(0),
            manifests: Vec::new(),
        })
    }

    /// Publishes a NAR of these chunks, given by number and length. Their bytes do not compress.
    fn publish(&mut self, chunks: &[(u64, usize)]) -> Result<(), Failed> {
        let mut frames = Vec::new();
        let mut manifest = Manifest {
            nar_hash: NarHash::of(&chunks.first().map_or(0, |(number, _)| *number).to_le_bytes()),
            nar_size: 0,
            chunks: Vec::new(),
        };
        for (number, len) in chunks {
            let mut bytes = vec![0; *len];
            fastrand::Rng::with_seed(*number).fill(&mut bytes);
            let hash = ChunkHash::of(&bytes);
            let raw_len = u32::try_from(*len)?;
            manifest.chunks.push(ManifestChunk { hash, raw_len });
            manifest.nar_size += u64::from(raw_len);
            // What a frame holds is the business of whoever opens it: raw bytes serve as well, and take no time.
            frames.push((hash, raw_len, bytes));
        }
        self.store.put(&frames)?;
        self.store.put_manifest(&manifest)?;
        self.manifests.push(manifest);
        Ok(())
    }

    fn bytes(&self) -> Result<u64, Failed> {
        self.store.close()?;
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.folder)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Collects while somebody reads, and prints what it took.
    fn collect(self, name: &str, is_live: impl Fn(usize) -> bool) -> Result<(), Failed> {
        let names = self.manifests.iter().enumerate();
        let live: Vec<ManifestHash> = names
            .filter(|(at, _)| is_live(*at))
            .map(|(_, manifest)| manifest.hash())
            .collect();
        let wanted = self.readable(&is_live);
        let before = self.bytes()?;
        let quiet = self.latencies(&wanted, || {
            let began = now();
            while began.elapsed() < Duration::from_secs(1) {
                std::thread::yield_now();
            }
            Ok(())
        })?;

        self.read.store(0, Ordering::Relaxed);
        let mut collected = None;
        let busy = self.latencies(&wanted, || {
            let began = now();
            let report = collect(&self.store, &live)?;
            collected = Some((report, began.elapsed()));
            Ok(())
        })?;
        let (report, took) = collected.ok_or("nothing was collected")?;
        let read = self.read.load(Ordering::Relaxed) - self.served.load(Ordering::Relaxed);
        let after = self.bytes()?;
        let dead = self.dead_bytes(&is_live);
        print(&format!(
            "{name}: {} chunks live, {} removed, {:.2} s; read {:.1} MiB of packs; copied {:.1} MiB; freed {:.1} of \
             {:.1} MiB ({:.1} %), {:.1} MiB are left on disk; p99 of a read {} (alone {})",
            report.chunks_live,
            report.chunks_removed,
            took.as_secs_f64(),
            mib(read),
            mib(report.bytes_copied),
            mib(before.saturating_sub(after)),
            mib(dead),
            100.0 * before.saturating_sub(after) as f64 / dead.max(1) as f64,
            mib(after),
            micros(busy),
            micros(quiet),
        ));
        drop(self.store);
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }

    fn readable(&self, is_live: impl Fn(usize) -> bool) -> Vec<ChunkHash> {
        let live = self.manifests.iter().enumerate().filter(|(at, _)| is_live(*at));
        live.flat_map(|(_, manifest)| manifest.chunks.iter().map(|chunk| chunk.hash))
            .step_by(7)
            .collect()
    }

    /// Bytes of the records that only dead NARs need.
    fn dead_bytes(&self, is_live: impl Fn(usize) -> bool) -> u64 {
        let mut counted: BTreeSet<ChunkHash> = BTreeSet::new();
        for (at, manifest) in self.manifests.iter().enumerate() {
            if is_live(at) {
                counted.extend(manifest.chunks.iter().map(|chunk| chunk.hash));
            }
        }
        let mut bytes = 0;
        for (at, manifest) in self.manifests.iter().enumerate() {
            if is_live(at) {
                continue;
            }
            bytes += manifest.encode().len() as u64 + 68;
            let chunks = manifest.chunks.iter().filter(|chunk| counted.insert(chunk.hash));
            bytes += chunks.map(|chunk| u64::from(chunk.raw_len) + 68).sum::<u64>();
        }
        bytes
    }

    /// The 99th percentile of reading a chunk while `work` goes on.
    fn latencies(
        &self,
        wanted: &[ChunkHash],
        work: impl FnOnce() -> Result<(), Failed>,
    ) -> Result<Option<Duration>, Failed> {
        self.served.store(0, Ordering::Relaxed);
        let is_over = AtomicBool::new(false);
        let mut times = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut times = Vec::new();
                for chunk in wanted.iter().cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let began = now();
                    let read = self.store.read_frames(std::slice::from_ref(chunk));
                    times.push(began.elapsed());
                    let frames = read.map_err(|error| error.to_string())?;
                    let bytes: u64 = frames.iter().map(|frame| frame.len() as u64 + 68).sum();
                    self.served.fetch_add(bytes, Ordering::Relaxed);
                }
                Ok::<_, String>(times)
            });
            let worked = work();
            is_over.store(true, Ordering::Relaxed);
            let times = reader.join().map_err(|_| "the reader panicked")??;
            worked.map(|()| Ok::<_, Failed>(times))?
        })?;
        times.sort_unstable();
        Ok(times.get(times.len() * 99 / 100).copied())
    }
}

fn collect(store: &ChunkStore, live: &[ManifestHash]) -> Result<CollectReport, Failed> {
    let mark = || Ok(live.iter().map(|manifest| Ok::<_, MarkError>(*manifest)));
    Ok(store.collect(mark)?)
}

fn main() -> Result<(), Failed> {
    let root = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);

    let mut little = Case::new(&root, "little")?;
    for nar in 0..1_000_u64 {
        let chunks: Vec<(u64, usize)> = (0..100).map(|at| (nar * 100 + at, 8 << 10)).collect();
        little.publish(&chunks)?;
    }
    little.collect("little is dead", |nar| nar % 100 != 50)?;

    for (name, shared, keeps) in [("everything expired", 0, 0), ("half expired", 54, 2)] {
        let mut case = Case::new(&root, "gib")?;
        // 30 NARs of 546 chunks of 64 KiB are 1 GiB.
        for nar in 0..30_u64 {
            let first = nar * (546 - shared);
            let chunks: Vec<(u64, usize)> = (first..first + 546)
                .map(|number| (1 << 32 | number, 64 << 10))
                .collect();
            case.publish(&chunks)?;
        }
        case.collect(name, |nar| keeps > 0 && nar % keeps == 0)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is the clock of the benchmark")]
fn now() -> Instant {
    Instant::now()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn micros(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{} µs", time.as_micros()))
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn print(line: &str) {
    println!("{line}");
}
