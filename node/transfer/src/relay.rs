//! Manifests and frames that are passed on without being kept: for a reader on a node that has no room.
//!
//! Unlike a fetch it plans nothing: one provider after the other is asked for what is still missing, so a part costs a
//! round trip at least.
//!
//! # Invariants
//! - What is given out was verified against its name.
//! - It holds no more than what one call asks for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tetryx_link::{LinkError, RecvHalf, Service};
use tetryx_protocol::chunk_wire::{Answer, AnswerDecoder, ItemKind, REQUEST_ITEMS_MAX, Request};
use tetryx_protocol::hash::{ChunkHash, ManifestHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::{Manifest, ManifestChunk};
use tetryx_store::StoreError;
use tokio::time::timeout;

use crate::error::FetchError;
use crate::fetcher::{Fetcher, Shared};
use crate::flight::blocking;
use crate::manifest::{Failure, ask};
use crate::verify::Frame;

/// After so long without a byte the next provider is asked.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Bytes read from a stream at once.
const READ_BYTES: usize = 256 << 10;

impl Fetcher {
    /// The manifest: from the store, or from the first provider that has it, and then it is not stored.
    ///
    /// # Errors
    /// [`FetchError::NoManifest`] or [`FetchError::Unreachable`] when nobody gives it; [`FetchError::Store`].
    pub async fn relay_manifest(
        &self,
        name: ManifestHash,
        providers: &[NodeId],
    ) -> Result<Manifest, FetchError> {
        let shared = self.shared();
        let store = Arc::clone(&shared.store);
        let here = blocking(shared, name, move || match store.manifest(&name) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(StoreError::ManifestAbsent { .. } | StoreError::CorruptManifest { .. }) => Ok(None),
            Err(error) => Err(error),
        });
        if let Some(manifest) = here.await? {
            return Ok(manifest);
        }
        let mut unreachable = None;
        for provider in usable(shared, providers) {
            let (progress, mut seen) = (AtomicU64::new(0), 0);
            let mut asking = std::pin::pin!(ask(shared, provider, name, &progress));
            let answer = loop {
                match timeout(SILENCE_MAX, &mut asking).await {
                    Ok((_, answer)) => break answer,
                    Err(_) => {
                        let now = progress.load(Ordering::Relaxed);
                        if now == std::mem::replace(&mut seen, now) {
                            break Err(Failure::Link(silent(provider)));
                        }
                    }
                }
            };
            match answer {
                Ok(manifest) => return Ok(manifest),
                Err(Failure::Lacking) => {}
                Err(Failure::Lie(what)) => drop_liar(shared, provider, &what),
                Err(Failure::Link(error)) => unreachable = Some(error),
            }
        }
        let asked = providers.len();
        Err(match unreachable {
            Some(error) => FetchError::Unreachable {
                manifest: name,
                asked,
                reason: error.to_string(),
            },
            None => FetchError::NoManifest {
                manifest: name,
                asked,
            },
        })
    }

    /// Verified frames of chunks of the manifest `name`, in the order asked for: from the store where it has them with
    /// the length that `is_welcome` takes, otherwise from the providers, best first, and then they are not stored.
    /// Ask for about a MiB at a time.
    ///
    /// # Errors
    /// [`FetchError::NoChunk`] or [`FetchError::Unreachable`] when nobody gives one of them; [`FetchError::Store`].
    pub async fn relay(
        &self,
        name: ManifestHash,
        chunks: &[ManifestChunk],
        providers: &[NodeId],
        is_welcome: impl Fn(usize, usize) -> bool,
    ) -> Result<Vec<Bytes>, FetchError> {
        let shared = self.shared();
        let mut frames = here(shared, name, chunks).await?;
        for (index, frame) in frames.iter_mut().enumerate() {
            frame.take_if(|frame| !is_welcome(index, frame.len()));
        }
        let mut unreachable = None;
        for provider in usable(shared, providers) {
            let wanted: Vec<u32> = (0..)
                .zip(&frames)
                .filter(|(_, frame)| frame.is_none())
                .map(|(index, _)| index)
                .collect();
            for some in wanted.chunks(REQUEST_ITEMS_MAX) {
                let (came, failure) = from(shared, provider, chunks, some).await;
                for frame in came {
                    frames[frame.item as usize] = Some(frame.bytes);
                }
                match failure {
                    None | Some(Failure::Lacking) => {}
                    Some(Failure::Lie(what)) => {
                        drop_liar(shared, provider, &what);
                        break;
                    }
                    Some(Failure::Link(error)) => {
                        unreachable = Some(error);
                        break;
                    }
                }
            }
        }
        let asked = providers.len();
        match frames.iter().position(Option::is_none) {
            None => Ok(frames.into_iter().flatten().collect()),
            Some(missing) => Err(match unreachable {
                Some(error) => FetchError::Unreachable {
                    manifest: name,
                    asked,
                    reason: error.to_string(),
                },
                None => FetchError::NoChunk {
                    manifest: name,
                    chunk: chunks[missing].hash,
                    asked,
                },
            }),
        }
    }
}

/// The providers that have not lied lately.
fn usable(shared: &Shared, providers: &[NodeId]) -> Vec<NodeId> {
    let dropped = shared.dropped_now();
    let usable = providers.iter().filter(|provider| !dropped.contains(provider));
    usable.copied().collect()
}

fn drop_liar(shared: &Shared, provider: NodeId, what: &str) {
    tracing::warn!(
        peer = %provider.fmt_short(), what,
        "a peer sent something else than it was asked for; it is dropped for 10 min"
    );
    shared.drop_peer(provider);
}

fn silent(node: NodeId) -> LinkError {
    LinkError::Broken {
        node,
        reason: format!("nothing came for {} s", SILENCE_MAX.as_secs()),
    }
}

/// The frames that the store can read.
async fn here(
    shared: &Shared,
    name: ManifestHash,
    chunks: &[ManifestChunk],
) -> Result<Vec<Option<Bytes>>, FetchError> {
    let hashes: Vec<ChunkHash> = chunks.iter().map(|chunk| chunk.hash).collect();
    let store = Arc::clone(&shared.store);
    let read = move || {
        let frame = |hash: &ChunkHash| match store.read_frames(std::slice::from_ref(hash)) {
            Ok(mut frames) => Ok(frames.pop()),
            Err(StoreError::ChunkAbsent { .. } | StoreError::Corrupt { .. } | StoreError::Frame { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        };
        hashes.iter().map(frame).collect()
    };
    blocking(shared, name, read).await
}

/// Asks one provider for the chunks at these indexes: what came and is good, and why it is not everything.
async fn from(
    shared: &Shared,
    provider: NodeId,
    chunks: &[ManifestChunk],
    wanted: &[u32],
) -> (Vec<Frame>, Option<Failure>) {
    let _slot = shared.orders.acquire().await;
    let mut frames = Vec::with_capacity(wanted.len());
    let received = match request(shared, provider, chunks, wanted).await {
        Ok(recv) => receive(recv, provider, chunks, wanted, &mut frames).await,
        Err(error) => Err(Failure::Link(error)),
    };
    let slot = shared.verifier.slot().await;
    let checked = shared.verifier.check(slot, frames).await;
    match checked.lie {
        Some(lie) => (checked.good, Some(Failure::Lie(lie.to_string()))),
        None => (checked.good, received.err()),
    }
}

async fn request(
    shared: &Shared,
    provider: NodeId,
    chunks: &[ManifestChunk],
    wanted: &[u32],
) -> Result<RecvHalf, LinkError> {
    let mut channel = shared.links.open(provider, Service::Chunks).await?;
    let hashes = wanted.iter().map(|index| chunks[*index as usize].hash);
    let mut request = BytesMut::new();
    Request::Chunks(hashes.collect()).encode(&mut request);
    channel.send.write_bytes(request.freeze()).await?;
    channel.send.finish()?;
    Ok(channel.recv)
}

async fn receive(
    mut recv: RecvHalf,
    provider: NodeId,
    chunks: &[ManifestChunk],
    wanted: &[u32],
    frames: &mut Vec<Frame>,
) -> Result<(), Failure> {
    let mut waiting: VecDeque<u32> = wanted.iter().copied().collect();
    let mut decoder = AnswerDecoder::new();
    decoder.expect(ItemKind::Chunk, wanted.len());
    let mut is_lacking = false;
    while decoder.outstanding() > 0 {
        let read = timeout(SILENCE_MAX, recv.read(READ_BYTES)).await;
        let bytes = read.map_err(|_| Failure::Link(silent(provider)))?;
        let Some(bytes) = bytes.map_err(Failure::Link)? else {
            return Err(Failure::Link(LinkError::Broken {
                node: provider,
                reason: "it ended before everything asked for had come".to_owned(),
            }));
        };
        decoder.push(bytes);
        while let Some(answer) = decoder.next().map_err(|error| Failure::Lie(error.to_string()))? {
            let item = waiting
                .pop_front()
                .expect("the decoder gives as many answers as were asked for");
            let chunk = &chunks[item as usize];
            match answer {
                Answer::Found { bytes, .. } => frames.push(Frame {
                    item,
                    chunk: chunk.hash,
                    raw_len: chunk.raw_len,
                    bytes,
                }),
                Answer::Missing | Answer::Damaged => is_lacking = true,
            }
        }
    }
    if is_lacking { Err(Failure::Lacking) } else { Ok(()) }
}
