//! Fetching and serving over links in memory, with providers that misbehave on request.

mod faults;
mod fetching;
mod pace;
mod relaying;
mod serving;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_link::memory::{Hub, MemoryLinks};
use tetryx_link::{Channel, Handler, Service};
use tetryx_protocol::chunk_wire::{Request, RequestDecoder, found_head, missing};
use tetryx_protocol::frame::Compressor;
use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::{Manifest, ManifestChunk};
use tetryx_protocol::time::Elapsed;
use tetryx_store::{ChunkStore, MemoryDisk, PinId, StoreConfig};

use crate::plan::PlanConfig;
use crate::{Budgets, ChunkServer, FetchRequest, Fetcher, Now, Priority};
use tetryx_environment::Io;

/// Tokio's clock, so that a paused one is the fetcher's, too.
fn now() -> Now {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the tests")]
    let start = tokio::time::Instant::now();
    Arc::new(move || Elapsed::ZERO.plus(start.elapsed()))
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn pin(number: u8) -> PinId {
    PinId([number; 16])
}

/// A NAR of random chunks.
struct Nar {
    manifest: Manifest,
    name: ManifestHash,
    /// Chunk, raw length, frame.
    frames: Vec<(ChunkHash, u32, Vec<u8>)>,
}

impl Nar {
    /// `count` chunks of `len` bytes, which do not compress.
    fn of(seed: u64, count: usize, len: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut compressor = Compressor::new();
        let mut frames = Vec::with_capacity(count);
        let mut hasher = NarHash::hasher();
        for _ in 0..count {
            let mut raw = vec![0; len];
            random.fill(&mut raw);
            hasher.update(&raw);
            frames.push((
                ChunkHash::of(&raw),
                u32::try_from(len).unwrap(),
                compressor.compress(&raw),
            ));
        }
        let chunks = frames.iter().map(|(hash, raw_len, _)| ManifestChunk {
            hash: *hash,
            raw_len: *raw_len,
        });
        let manifest = Manifest {
            nar_hash: hasher.finish(),
            nar_size: (count * len) as u64,
            chunks: chunks.collect(),
        };
        Self {
            name: manifest.hash(),
            manifest,
            frames,
        }
    }

    fn put(&self, store: &ChunkStore, chunks: std::ops::Range<usize>) {
        store.pin(
            &pin(200),
            &self.frames.iter().map(|(hash, _, _)| *hash).collect::<Vec<_>>(),
        );
        store.put_manifest(&self.manifest).unwrap();
        store.put(&self.frames[chunks]).unwrap();
        store.flush().unwrap();
    }

    fn bytes(&self) -> u64 {
        self.frames.iter().map(|(_, _, frame)| frame.len() as u64).sum()
    }

    fn is_in(&self, store: &ChunkStore) -> bool {
        let raw = |hash: &ChunkHash| {
            store
                .read_chunk(hash)
                .is_ok_and(|raw| ChunkHash::of(&raw) == *hash)
        };
        store.contains_manifest(&self.name).unwrap() && self.frames.iter().all(|(hash, _, _)| raw(hash))
    }
}

/// How a [`Supplier`] behaves.
#[derive(Debug, Default)]
struct Manners {
    /// Bytes per second, over all its streams.
    rate: Option<u64>,
    /// Sends another frame than asked for.
    lies_about: BTreeSet<ChunkHash>,
    lies_about_manifests: bool,
    /// Sends so many frames in all, then nothing more, without ending.
    falls_silent_after: Option<u64>,
    /// Answers with bytes that no protocol knows.
    talks_nonsense: bool,
}

/// A provider that can be told to misbehave, and remembers what it was asked for.
#[derive(Debug)]
struct Supplier {
    store: Arc<ChunkStore>,
    manners: Mutex<Manners>,
    asked: Mutex<Vec<ChunkHash>>,
    sent: AtomicU64,
    frames: AtomicU64,
    wire: tokio::sync::Mutex<()>,
}

impl Supplier {
    async fn serve(&self, channel: Channel) -> Result<(), tetryx_link::LinkError> {
        let Channel { mut send, mut recv } = channel;
        let mut decoder = RequestDecoder::new();
        while let Some(bytes) = recv.read(1 << 20).await? {
            decoder.push(bytes);
            while let Some(request) = decoder.next().unwrap() {
                match request {
                    Request::Manifests(names) => {
                        for name in names {
                            let Ok(manifest) = self.store.manifest(&name) else {
                                send.write_all(&missing()).await?;
                                continue;
                            };
                            let mut bytes = manifest.encode();
                            if self.manners.lock().lies_about_manifests {
                                bytes[7] ^= 1;
                            }
                            send.write_all(&found_head(bytes.len() as u32, bytes.len()))
                                .await?;
                            send.write_bytes(bytes.into()).await?;
                        }
                    }
                    Request::Chunks(hashes) => {
                        self.asked.lock().extend(&hashes);
                        for hash in hashes {
                            self.answer(&mut send, hash).await?;
                        }
                    }
                }
            }
        }
        send.finish()
    }

    async fn answer(
        &self,
        send: &mut tetryx_link::SendHalf,
        hash: ChunkHash,
    ) -> Result<(), tetryx_link::LinkError> {
        let Some(location) = self.store.locate(&[hash]).unwrap()[0] else {
            return send.write_all(&missing()).await;
        };
        let mut frame = self.store.read_frames(&[hash]).unwrap().remove(0);
        let (lie, nonsense) = {
            let manners = self.manners.lock();
            (manners.lies_about.contains(&hash), manners.talks_nonsense)
        };
        if lie {
            let mut other = vec![0; location.raw_len as usize];
            other[0] = 1;
            frame = Compressor::new().compress(&other).into();
        }
        if nonsense {
            return send.write_all(&[0xff; 64]).await;
        }
        let turn = self.wire.lock().await;
        let rate = self.manners.lock().rate;
        if let Some(rate) = rate {
            let nanos = frame.len() as u64 * 1_000_000_000 / rate.max(1);
            let wait = Duration::from_nanos(nanos);
            if wait > Duration::from_secs(2) {
                return trickle(send, location.raw_len, frame, rate).await;
            }
            tokio::time::sleep(wait).await;
        }
        drop(turn);
        let silent = self.manners.lock().falls_silent_after;
        if silent.is_some_and(|after| self.frames.load(Ordering::Relaxed) >= after) {
            std::future::pending::<()>().await;
        }
        send.write_all(&found_head(location.raw_len, frame.len())).await?;
        let len = frame.len() as u64;
        send.write_bytes(frame).await?;
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.sent.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn asked(&self) -> Vec<ChunkHash> {
        self.asked.lock().clone()
    }
}

/// Sends a frame byte by byte, so to say.
async fn trickle(
    send: &mut tetryx_link::SendHalf,
    raw_len: u32,
    frame: Bytes,
    rate: u64,
) -> Result<(), tetryx_link::LinkError> {
    send.write_all(&found_head(raw_len, frame.len())).await?;
    for piece in frame.chunks(usize::try_from(rate).unwrap() / 2) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        send.write_all(piece).await?;
    }
    Ok(())
}

#[derive(Debug)]
struct Supplying(Arc<Supplier>);

impl Handler for Supplying {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        unreachable!("chunks travel on streams")
    }

    fn open(&self, _: NodeId, service: Service, channel: Channel) -> BoxFuture<'static, ()> {
        assert_eq!(service, Service::Chunks);
        let supplier = Arc::clone(&self.0);
        async move {
            // Streams that the fetcher stops end with an error.
            let _ = supplier.serve(channel).await;
        }
        .boxed()
    }
}

/// The product's own server.
#[derive(Debug)]
struct Served(ChunkServer);

impl Handler for Served {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        unreachable!("chunks travel on streams")
    }

    fn open(&self, from: NodeId, _: Service, channel: Channel) -> BoxFuture<'static, ()> {
        let server = self.0.clone();
        async move { server.serve(from, channel).await }.boxed()
    }
}

/// A node of the fixture.
struct Station {
    links: Arc<MemoryLinks>,
    store: Arc<ChunkStore>,
    disk: Arc<MemoryDisk>,
}

impl Station {
    fn new(hub: &Hub, number: u8) -> Self {
        let disk = Arc::new(MemoryDisk::new());
        let store = ChunkStore::open(Arc::clone(&disk) as _, StoreConfig::default()).unwrap();
        Self {
            links: hub.join(node(number)),
            store: Arc::new(store),
            disk,
        }
    }

    /// A station that serves.
    fn serving(hub: &Hub, number: u8, nar: &Nar) -> Self {
        let station = Self::new(hub, number);
        nar.put(&station.store, 0..nar.frames.len());
        let server = ChunkServer::new(Arc::clone(&station.store), Io::pool());
        station.links.serve(Arc::new(Served(server)));
        station
    }

    /// A station that serves as it is told to.
    fn supplying(hub: &Hub, number: u8, nar: &Nar, manners: Manners) -> (Self, Arc<Supplier>) {
        let station = Self::new(hub, number);
        nar.put(&station.store, 0..nar.frames.len());
        let supplier = Arc::new(Supplier {
            store: Arc::clone(&station.store),
            manners: Mutex::new(manners),
            asked: Mutex::default(),
            sent: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            wire: tokio::sync::Mutex::new(()),
        });
        station.links.serve(Arc::new(Supplying(Arc::clone(&supplier))));
        (station, supplier)
    }

    fn fetcher(&self) -> Fetcher {
        self.fetcher_with(Budgets::unlimited())
    }

    fn fetcher_with(&self, budgets: Budgets) -> Fetcher {
        let config = PlanConfig::default();
        Fetcher::with_config(
            Arc::clone(&self.links) as _,
            Arc::clone(&self.store),
            Io::pool(),
            budgets,
            now(),
            config,
        )
    }
}

fn request(nar: &Nar, providers: &[u8]) -> FetchRequest {
    FetchRequest {
        manifest: nar.name,
        providers: providers.iter().map(|number| node(*number)).collect(),
        priority: Priority::Interactive,
        pin: pin(1),
    }
}

/// Puts bytes of a request together.
fn encoded(request: &Request) -> Bytes {
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes);
    bytes.freeze()
}
