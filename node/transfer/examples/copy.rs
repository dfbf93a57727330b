//! Copies NARs from one store to another over QUIC on loopback, verified and durable, beside bare quinn.
//!
//! `cargo run --release -p tetryx-transfer --example copy -- [DIRECTORY] [MIB] [files|random]`: the files below the directory
//! (default `/usr/lib`) are packed into NARs of about 64 MiB, MIB (default 1536) in all. Both sides run in one
//! process; the bytes on the wire are random ones in a second run, which compress to nothing.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tetryx_environment::Io;
use tetryx_link::{Admission, Channel, Endpoint, Handler, LinkConfig, Links, Roster, Service};
use tetryx_protocol::chunking::Cutter;
use tetryx_protocol::frame::Compressor;
use tetryx_protocol::hash::{ChunkHash, ManifestHash, NarHash};
use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::manifest::{Manifest, ManifestChunk};
use tetryx_protocol::time::Elapsed;
use tetryx_store::{ChunkStore, PinId, RealDisk, StoreConfig};
use tetryx_transfer::{Budgets, ChunkServer, FetchRequest, Fetcher, Priority};

const MIB: f64 = 1_048_576.0;
const NAR_BYTES: usize = 64 << 20;
/// NARs fetched at the same time.
const AT_ONCE: usize = 4;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Default)]
struct TwoNodes(Mutex<Vec<(NodeId, SocketAddr)>>);

impl Roster for TwoNodes {
    fn cluster(&self) -> Option<(ClusterId, u64)> {
        Some((ClusterId::from_bytes([7; 16]), 1))
    }

    fn admission(&self, _: NodeId) -> Admission {
        Admission::Member
    }

    fn addresses(&self, node: NodeId) -> Vec<String> {
        let nodes = self.0.lock();
        nodes
            .iter()
            .filter(|(id, _)| *id == node)
            .map(|(_, address)| address.to_string())
            .collect()
    }
}

#[derive(Debug)]
struct Serve(ChunkServer);

impl Handler for Serve {
    fn call(&self, _: NodeId, _: Service, _: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        async { Err("streams only".to_owned()) }.boxed()
    }

    fn open(&self, from: NodeId, service: Service, channel: Channel) -> BoxFuture<'static, ()> {
        let server = self.0.clone();
        if service == Service::Blobs {
            return async move {
                pour(channel)
                    .await
                    .unwrap_or_else(|error| println!("  the link broke: {error}"))
            }
            .boxed();
        }
        async move { server.serve(from, channel).await }.boxed()
    }
}

/// Sends as many bytes as it is asked for, from memory: what the link itself can do.
async fn pour(mut channel: Channel) -> Result<(), Failure> {
    let mut asked = [0; 8];
    channel.recv.read_exact(&mut asked).await?;
    let mut left = u64::from_le_bytes(asked);
    let block = Bytes::from(vec![7; 256 << 10]);
    while left > 0 {
        let now = left.min(block.len() as u64);
        channel.send.write_bytes(block.slice(..now as usize)).await?;
        left -= now;
    }
    channel.send.finish()?;
    Ok(())
}

/// MiB/s of `bytes` over 16 streams of a link, read and dropped.
async fn link_bytes(links: &dyn Links, from: NodeId, bytes: u64) -> Result<f64, Failure> {
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut channel = links.open(from, Service::Blobs).await?;
        channel.send.write_all(&(bytes / 16).to_le_bytes()).await?;
        channel.send.finish()?;
        tasks.spawn(async move {
            let mut pieces: [Bytes; 64] = std::array::from_fn(|_| Bytes::new());
            while let Some(count) = channel.recv.read_pieces(&mut pieces).await? {
                pieces[..count].fill(Bytes::new());
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(bytes as f64 / MIB / begin.elapsed().as_secs_f64())
}

struct Corpus {
    manifests: Vec<ManifestHash>,
    nar_bytes: u64,
    frame_bytes: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| "/usr/lib".to_owned()));
    let mib: usize = arguments.next().map_or(Ok(1536), |mib| mib.parse())?;
    let work = tempfile::tempdir()?;
    let only = arguments.next();
    for (name, random) in [("files", false), ("random", true)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let from = work.path().join(name).join("from");
        let corpus = {
            let from = from.clone();
            let directory = directory.clone();
            Io::pool()
                .run(move || fill(&from, &directory, mib << 20, random))
                .await??
        };
        println!(
            "{name}: {} NARs of {:.0} MiB, {:.0} MiB as frames",
            corpus.manifests.len(),
            corpus.nar_bytes as f64 / MIB,
            corpus.frame_bytes as f64 / MIB
        );
        for round in 1..=3 {
            let cpu = cpu_seconds()?;
            let bare = quinn_bytes(corpus.frame_bytes, 1).await?;
            let cpu_bare = cpu_seconds()? - cpu;
            let streams = quinn_bytes(corpus.frame_bytes, 16).await?;
            let to = work.path().join(name).join(format!("to-{round}"));
            let (took, sent, cpu_copy) = copy(&from, &to, &corpus).await?;
            let seconds = took.as_secs_f64();
            let (wire, bare) = (corpus.frame_bytes as f64 / MIB / seconds, bare.max(streams));
            println!(
                "  round {round}: bare quinn {bare:.0} MiB/s; copy {wire:.0} MiB/s on the wire ({:.2} of quinn), \
                 {:.0} MiB/s of NAR; {} bytes in vain; CPU ms per MiB {:.2} and {:.2}",
                wire / bare,
                corpus.nar_bytes as f64 / MIB / seconds,
                sent,
                cpu_bare * 1e3 / (corpus.frame_bytes as f64 / MIB),
                cpu_copy * 1e3 / (corpus.frame_bytes as f64 / MIB),
            );
            std::fs::remove_dir_all(&to)?;
        }
    }
    Ok(())
}

/// Copies everything into a new store; how long until all of it was durable, the bytes sent in vain, and
/// the processor seconds.
async fn copy(from: &Path, to: &Path, corpus: &Corpus) -> Result<(Duration, u64, f64), Failure> {
    let roster = Arc::new(TwoNodes::default());
    let bind = |number: u8| {
        let key = SigningKey::from_bytes(&[number; 32]);
        let node = NodeId::from_bytes(key.verifying_key().to_bytes());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::bind(LinkConfig {
            key,
            listen,
            roster: Arc::clone(&roster) as _,
        })?;
        roster.0.lock().push((node, endpoint.local_addr()?));
        Ok::<_, Failure>((node, endpoint))
    };
    let (provider, server) = bind(1)?;
    let (_, getter) = bind(2)?;
    let store = Arc::new(ChunkStore::open(
        Arc::new(RealDisk::new(from.to_owned())?),
        StoreConfig::default(),
    )?);
    server.serve(Arc::new(Serve(ChunkServer::new(store, Io::pool()))));
    std::fs::create_dir_all(to)?;
    let store = Arc::new(ChunkStore::open(
        Arc::new(RealDisk::new(to.to_owned())?),
        StoreConfig::default(),
    )?);
    let links: Arc<dyn Links> = Arc::new(getter.clone());
    let cpu = cpu_seconds()?;
    let link = link_bytes(links.as_ref(), provider, corpus.frame_bytes).await?;
    let cpu = (cpu_seconds()? - cpu) * 1e3 / (corpus.frame_bytes as f64 / MIB);
    println!("  the link alone: {link:.0} MiB/s; CPU ms per MiB {cpu:.2}");
    let begun = cpu_seconds()?;
    let start = Instant::now();
    let now = Arc::new(move || Elapsed::ZERO.plus(start.elapsed()));
    let fetcher = Fetcher::new(links, Arc::clone(&store), Io::pool(), Budgets::unlimited(), now);
    let reports: Vec<_> = futures::stream::iter(corpus.manifests.iter().enumerate())
        .map(|(at, manifest)| {
            let handle = fetcher.fetch(FetchRequest {
                manifest: *manifest,
                providers: vec![provider],
                priority: Priority::Interactive,
                pin: PinId((at as u128).to_le_bytes()),
            });
            async move { handle.finished().await }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let took = start.elapsed();
    let cpu = cpu_seconds()? - begun;
    let mut vain = 0;
    for report in reports {
        vain += report?.duplicate_bytes;
    }
    getter.close().await;
    server.close().await;
    Ok((took, vain, cpu))
}

/// The processor time this process has used: the measure that other processes disturb least.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("unreadable /proc/self/stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || {
        fields
            .next()
            .ok_or("short /proc/self/stat")?
            .parse::<f64>()
            .map_err(Failure::from)
    };
    Ok((ticks()? + ticks()?) / 100.0)
}

/// Packs files, or random bytes, into a store.
fn fill(to: &Path, directory: &Path, bytes: usize, random: bool) -> Result<Corpus, Failure> {
    std::fs::create_dir_all(to)?;
    let store = ChunkStore::open(Arc::new(RealDisk::new(to.to_owned())?), StoreConfig::default())?;
    let mut files = Vec::new();
    if !random {
        list(directory, &mut files)?;
        files.sort();
    }
    let mut corpus = Corpus {
        manifests: Vec::new(),
        nar_bytes: 0,
        frame_bytes: 0,
    };
    let (mut noise, mut compressor) = (fastrand::Rng::with_seed(7), Compressor::new());
    let mut rest = files.into_iter();
    while corpus.nar_bytes < bytes as u64 {
        let mut raw = Vec::with_capacity(NAR_BYTES + (1 << 20));
        while raw.len() < NAR_BYTES {
            if random {
                raw.resize(NAR_BYTES, 0);
                noise.fill(&mut raw);
            } else if let Some(file) = rest.next() {
                // What cannot be read is not part of the measurement.
                let _ = File::open(file).and_then(|mut file| file.read_to_end(&mut raw));
            } else {
                break;
            }
        }
        if raw.is_empty() {
            break;
        }
        let mut cutter = Cutter::new();
        cutter.push(&raw);
        let mut chunks = Vec::new();
        let mut frames = Vec::new();
        while let Some(chunk) = cutter
            .next_chunk()
            .map(|c| c.to_vec())
            .or_else(|| cutter.finish().map(|c| c.to_vec()))
        {
            let (hash, raw_len) = (ChunkHash::of(&chunk), u32::try_from(chunk.len())?);
            chunks.push(ManifestChunk { hash, raw_len });
            frames.push((hash, raw_len, compressor.compress(&chunk)));
        }
        let mut hasher = NarHash::hasher();
        hasher.update(&raw);
        let manifest = Manifest {
            nar_hash: hasher.finish(),
            nar_size: raw.len() as u64,
            chunks,
        };
        corpus.frame_bytes += store.put(&frames)?.stored_bytes;
        corpus.nar_bytes += raw.len() as u64;
        corpus.manifests.push(store.put_manifest(&manifest)?);
    }
    store.close()?;
    Ok(corpus)
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// MiB/s of `bytes` over bare quinn: its default settings but for the windows, which are ours; read and dropped.
async fn quinn_bytes(bytes: u64, streams: u64) -> Result<f64, Failure> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.key_pair.serialize_der());
    let versions = [&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone())?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window(quinn::VarInt::from_u32(if streams == 1 {
            16 << 20
        } else {
            2 << 20
        }))
        .receive_window(quinn::VarInt::from_u32(64 << 20))
        .send_window(64 << 20);
    let transport = Arc::new(transport);
    let server = quinn::crypto::rustls::QuicServerConfig::try_from(server)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::clone(&transport));
    let client = quinn::crypto::rustls::QuicClientConfig::try_from(client)?;
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = quinn::Endpoint::server(server, any)?;
    let address = server.local_addr()?;
    let sending = tokio::spawn(async move {
        let connection = server.accept().await.ok_or("no connection")?.await?;
        let block = Bytes::from(vec![7; 256 << 10]);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..streams {
            let mut stream = connection.open_uni().await?;
            let block = block.clone();
            tasks.spawn(async move {
                let mut left = bytes / streams;
                while left > 0 {
                    let now = left.min(block.len() as u64);
                    stream.write_chunk(block.slice(..now as usize)).await?;
                    left -= now;
                }
                stream.finish()?;
                stream.stopped().await?;
                Ok::<_, Failure>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok::<_, Failure>(())
    });
    let getter = quinn::Endpoint::client(any)?;
    let connection = getter.connect_with(client, address, "localhost")?.await?;
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let mut stream = connection.accept_uni().await?;
        tasks.spawn(async move {
            let mut read = 0;
            while let Some(chunk) = stream.read_chunk(1 << 20, true).await? {
                read += chunk.bytes.len() as u64;
            }
            Ok::<_, Failure>(read)
        });
    }
    let mut read = 0;
    while let Some(done) = tasks.join_next().await {
        read += done??;
    }
    let rate = read as f64 / MIB / begin.elapsed().as_secs_f64();
    sending.await??;
    Ok(rate)
}
