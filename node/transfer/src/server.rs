//! Answers what other nodes ask for, from the store.
//!
//! # Invariants
//! - What is sent passed the store's checksums; what did not is answered as damaged.
//! - For one peer at most [`READS_MAX`] reads of about [`READ_BYTES`] are in memory, however many streams it opens.
//! - Streams of one connection are served first come, first served, so that a cut leaves one frame behind, not one
//!   per stream.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_environment::{Io, WorkPanicked};
use tetryx_link::{Channel, LinkError, RecvHalf, SendHalf};
use tetryx_protocol::chunk_wire::{ChunkWireError, Request, RequestDecoder, damaged, found_head, missing};
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::id::NodeId;
use tetryx_store::{ChunkStore, Location, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of frames read from the disk together.
const READ_BYTES: u64 = 1 << 20;
/// Reads in memory for one peer.
const READS_MAX: usize = 8;
/// Reads of one stream that are ahead of what is being sent.
const READ_AHEAD: usize = 1;
/// Bytes of requests taken from a stream at once.
const REQUEST_BYTES: usize = 64 << 10;
/// A peer that opens a stream and asks for nothing, or takes nothing of what it asked for, is left after this long.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Why a stream was not served to its end.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Wire(#[from] ChunkWireError),
    #[error("the store cannot be read")]
    Store(#[source] StoreError),
    #[error("it asked for nothing, or took nothing, for two minutes")]
    Idle,
    #[error("the program is shutting down")]
    ShuttingDown,
}

/// Serves `tetryx-chunks/1`. Clones share their limits.
#[derive(Clone, Debug)]
pub struct ChunkServer {
    store: Arc<ChunkStore>,
    io: Io,
    peers: Arc<Mutex<BTreeMap<NodeId, Arc<Semaphore>>>>,
    served: Arc<AtomicU32>,
    sent: Arc<AtomicU64>,
}

/// An answer: its head, and the bytes that follow it.
type Piece = (Bytes, Bytes);

/// A read that runs.
type Reading = BoxFuture<'static, Result<Result<Read, StoreError>, WorkPanicked>>;

struct Read {
    pieces: Vec<Piece>,
    _slot: OwnedSemaphorePermit,
}

impl ChunkServer {
    /// Serves from `store`.
    #[must_use]
    pub fn new(store: Arc<ChunkStore>, io: Io) -> Self {
        Self {
            store,
            io,
            peers: Arc::default(),
            served: Arc::default(),
            sent: Arc::default(),
        }
    }

    /// Bytes of frames sent to all peers so far.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Answers everything that is asked on one stream. What goes wrong ends the stream and is logged.
    pub async fn serve(&self, from: NodeId, channel: Channel) {
        let Channel { mut send, mut recv } = channel;
        // Descending: what was asked first is sent first.
        let order = self.served.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff;
        send.set_priority(0x3fff_ffff - i32::try_from(order).expect("30 bits fit"));
        match self.answer_all(from, &mut send, &mut recv).await {
            Ok(()) => {}
            Err(ServeError::Link(error)) => tracing::debug!(%error, "a stream for chunks ended early"),
            Err(error) => tracing::warn!(
                peer = %from.fmt_short(),
                error = &error as &(dyn std::error::Error + 'static),
                "a stream for chunks was not served to its end"
            ),
        }
    }

    async fn answer_all(
        &self,
        from: NodeId,
        send: &mut SendHalf,
        recv: &mut RecvHalf,
    ) -> Result<(), ServeError> {
        let slots = Arc::clone(
            self.peers
                .lock()
                .entry(from)
                .or_insert_with(|| Arc::new(Semaphore::new(READS_MAX))),
        );
        let mut decoder = RequestDecoder::new();
        while let Some(bytes) = in_time(recv.read(REQUEST_BYTES)).await? {
            decoder.push(bytes);
            while let Some(request) = decoder.next()? {
                match request {
                    Request::Chunks(hashes) => self.answer_chunks(send, &slots, hashes).await?,
                    Request::Manifests(hashes) => self.answer_manifests(send, &slots, hashes).await?,
                }
            }
        }
        decoder.finish()?;
        send.finish()?;
        Ok(())
    }

    /// Sends chunks, with the next read under way while one is sent.
    async fn answer_chunks(
        &self,
        send: &mut SendHalf,
        slots: &Arc<Semaphore>,
        hashes: Vec<ChunkHash>,
    ) -> Result<(), ServeError> {
        let store = Arc::clone(&self.store);
        let located = blocking(&self.io, move || {
            let found = store.locate(&hashes)?;
            Ok((hashes, found))
        });
        let (hashes, found) = located.await?;
        let mut groups: VecDeque<Range<usize>> = group(&found).into();
        let (hashes, found) = (Arc::new(hashes), Arc::new(found));
        let mut ahead: VecDeque<Reading> = VecDeque::new();
        while !groups.is_empty() || !ahead.is_empty() {
            while ahead.len() <= READ_AHEAD
                && let Some(group) = groups.front().cloned()
            {
                // Only the first read may wait for a slot: else a peer's streams could wait for each other.
                let slot = match Arc::clone(slots).try_acquire_owned() {
                    Ok(slot) => slot,
                    Err(_) if !ahead.is_empty() => break,
                    Err(_) => acquire(slots).await,
                };
                groups.pop_front();
                let (store, hashes, found) =
                    (Arc::clone(&self.store), Arc::clone(&hashes), Arc::clone(&found));
                ahead.push_back(self.io.run(move || {
                    Ok(Read {
                        pieces: read_chunks(&store, &hashes[group.clone()], &found[group])?,
                        _slot: slot,
                    })
                }));
            }
            if let Some(reading) = ahead.pop_front() {
                let read = reading.await.map_err(|_| ServeError::ShuttingDown)?;
                let pieces = read.map_err(ServeError::Store)?.pieces;
                let bytes: u64 = pieces.iter().map(|(_, frame)| frame.len() as u64).sum();
                write(send, pieces).await?;
                self.sent.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    async fn answer_manifests(
        &self,
        send: &mut SendHalf,
        slots: &Arc<Semaphore>,
        names: Vec<ManifestHash>,
    ) -> Result<(), ServeError> {
        for name in names {
            let slot = acquire(slots).await;
            let store = Arc::clone(&self.store);
            let piece = blocking(&self.io, move || read_manifest(&store, &name)).await?;
            write(send, vec![piece]).await?;
            drop(slot);
        }
        Ok(())
    }
}

/// Consecutive chunks whose frames have about [`READ_BYTES`] together.
fn group(found: &[Option<Location>]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, location) in found.iter().enumerate() {
        let len = location.map_or(0, |location| u64::from(location.frame_len));
        if at > start && bytes + len > READ_BYTES {
            groups.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += len;
    }
    if start < found.len() {
        groups.push(start..found.len());
    }
    groups
}

fn read_chunks(
    store: &ChunkStore,
    hashes: &[ChunkHash],
    found: &[Option<Location>],
) -> Result<Vec<Piece>, StoreError> {
    if found.iter().all(Option::is_some) {
        match store.read_frames(hashes) {
            Ok(frames) => {
                let pieces = frames.into_iter().zip(found).map(|(frame, location)| {
                    let raw_len = location.map_or(0, |location| location.raw_len);
                    chunk_piece(raw_len, frame)
                });
                return Ok(pieces.collect());
            }
            // One of them is gone or bad: one by one, to see which.
            Err(StoreError::ChunkAbsent { .. } | StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let alone = hashes.iter().map(|hash| read_chunk(store, hash));
    alone.collect()
}

fn read_chunk(store: &ChunkStore, hash: &ChunkHash) -> Result<Piece, StoreError> {
    let Some(location) = store.locate(&[*hash])?.pop().flatten() else {
        return Ok((Bytes::copy_from_slice(&missing()), Bytes::new()));
    };
    match store.read_frames(&[*hash]) {
        Ok(mut frames) => Ok(chunk_piece(location.raw_len, frames.pop().unwrap_or_default())),
        Err(StoreError::ChunkAbsent { .. }) => Ok((Bytes::copy_from_slice(&missing()), Bytes::new())),
        Err(StoreError::Corrupt { .. }) => Ok((Bytes::copy_from_slice(&damaged()), Bytes::new())),
        Err(error) => Err(error),
    }
}

fn chunk_piece(raw_len: u32, frame: Bytes) -> Piece {
    (Bytes::copy_from_slice(&found_head(raw_len, frame.len())), frame)
}

fn read_manifest(store: &ChunkStore, name: &ManifestHash) -> Result<Piece, StoreError> {
    match store.manifest(name) {
        Ok(manifest) => {
            let bytes = Bytes::from(manifest.encode());
            let raw_len = u32::try_from(bytes.len()).expect("the store keeps no manifest above 1 GiB");
            Ok((Bytes::copy_from_slice(&found_head(raw_len, bytes.len())), bytes))
        }
        Err(StoreError::ManifestAbsent { .. }) => Ok((Bytes::copy_from_slice(&missing()), Bytes::new())),
        Err(StoreError::CorruptManifest { .. }) => Ok((Bytes::copy_from_slice(&damaged()), Bytes::new())),
        Err(error) => Err(error),
    }
}

async fn write(send: &mut SendHalf, pieces: Vec<Piece>) -> Result<(), ServeError> {
    for (head, bytes) in pieces {
        in_time(send.write_bytes(head)).await?;
        if !bytes.is_empty() {
            in_time(send.write_bytes(bytes)).await?;
        }
    }
    Ok(())
}

async fn in_time<T>(work: impl Future<Output = Result<T, LinkError>>) -> Result<T, ServeError> {
    match timeout(IDLE_MAX, work).await {
        Ok(done) => done.map_err(ServeError::Link),
        Err(_) => Err(ServeError::Idle),
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let slot = Arc::clone(slots).acquire_owned().await;
    slot.expect("the semaphore is never closed")
}

async fn blocking<T: Send + 'static>(
    io: &Io,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ServeError> {
    let done = io.run(work).await.map_err(|_| ServeError::ShuttingDown)?;
    done.map_err(ServeError::Store)
}
