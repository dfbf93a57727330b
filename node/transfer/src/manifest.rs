//! Gets a manifest: from the store, or from the first provider that has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tetryx_link::{LinkError, Service};
use tetryx_protocol::chunk_wire::{Answer, AnswerDecoder, ItemKind, Request};
use tetryx_protocol::hash::ManifestHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::Manifest;
use tetryx_store::StoreError;
use tokio::time::sleep;

use crate::error::FetchError;
use crate::fetcher::Shared;
use crate::flight::{Flight, blocking};

/// Bytes read from a stream at once.
const READ_BYTES: usize = 256 << 10;
/// After so long without progress, and three round trips, the next provider is asked besides.
const HEDGE_AFTER: Duration = Duration::from_secs(1);
/// How long to wait before those that failed are asked again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Why a provider did not deliver.
pub(crate) enum Failure {
    Lacking,
    Lie(String),
    Link(LinkError),
}

pub(crate) async fn obtain(shared: &Arc<Shared>, flight: &Arc<Flight>) -> Result<Manifest, FetchError> {
    let (store, name) = (Arc::clone(&shared.store), flight.name);
    let here = blocking(shared, flight.name, move || match store.manifest(&name) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(StoreError::ManifestAbsent { .. } | StoreError::CorruptManifest { .. }) => Ok(None),
        Err(error) => Err(error),
    });
    if let Some(manifest) = here.await? {
        return Ok(manifest);
    }
    let manifest = ask_around(shared, flight).await?;
    let store = Arc::clone(&shared.store);
    blocking(shared, flight.name, move || {
        store.put_manifest(&manifest)?;
        Ok(manifest)
    })
    .await
}

/// Asks one provider after the other, the next one also when nothing comes from those asked.
async fn ask_around(shared: &Arc<Shared>, flight: &Arc<Flight>) -> Result<Manifest, FetchError> {
    let began = (shared.now)();
    let mut answered: Vec<NodeId> = Vec::new();
    loop {
        let providers = flight.wishes.lock().providers.clone();
        let dropped = shared.dropped_now();
        let asked = providers.len();
        let usable = |node: &NodeId| !dropped.contains(node) && !answered.contains(node);
        let mut waiting: VecDeque<NodeId> = providers.into_iter().filter(usable).collect();
        if waiting.is_empty() {
            return Err(FetchError::NoManifest {
                manifest: flight.name,
                asked,
            });
        }
        let (progress, mut seen) = (AtomicU64::new(0), 0);
        let mut running = FuturesUnordered::new();
        let mut reason = String::new();
        while let Some(hedge) = {
            if running.is_empty()
                && let Some(node) = waiting.pop_front()
            {
                running.push(ask(shared, node, flight.name, &progress));
            }
            (!running.is_empty()).then(|| sleep(HEDGE_AFTER))
        } {
            tokio::select! {
                biased;
                Some((node, answer)) = running.next() => match answer {
                    Ok(manifest) => return Ok(manifest),
                    Err(Failure::Lacking) => answered.push(node),
                    Err(Failure::Lie(what)) => {
                        tracing::warn!(
                            peer = %node.fmt_short(), manifest = %flight.name, what,
                            "a peer sent something else than the manifest; it is dropped for 10 min"
                        );
                        shared.drop_peer(node);
                    }
                    Err(Failure::Link(error)) => reason = error.to_string(),
                },
                () = hedge => {
                    let now = progress.load(Ordering::Relaxed);
                    if now == seen && let Some(node) = waiting.pop_front() {
                        running.push(ask(shared, node, flight.name, &progress));
                    }
                    seen = now;
                }
            }
        }
        if reason.is_empty() {
            continue;
        }
        if (shared.now)().saturating_sub(began) >= shared.config.patience {
            return Err(FetchError::Unreachable {
                manifest: flight.name,
                asked,
                reason,
            });
        }
        tokio::select! {
            biased;
            () = flight.changed.notified() => {}
            () = sleep(RETRY_AFTER) => {}
        }
    }
}

pub(crate) async fn ask(
    shared: &Shared,
    node: NodeId,
    name: ManifestHash,
    progress: &AtomicU64,
) -> (NodeId, Result<Manifest, Failure>) {
    let answer = match read_answer(shared, node, name, progress).await {
        Ok(bytes) if ManifestHash::of(&bytes) != name => Err(Failure::Lie("its BLAKE3 differs".to_owned())),
        Ok(bytes) => Manifest::decode(&bytes).map_err(|error| Failure::Lie(error.to_string())),
        Err(failure) => Err(failure),
    };
    (node, answer)
}

async fn read_answer(
    shared: &Shared,
    node: NodeId,
    name: ManifestHash,
    progress: &AtomicU64,
) -> Result<Bytes, Failure> {
    let mut channel = shared
        .links
        .open(node, Service::Chunks)
        .await
        .map_err(Failure::Link)?;
    let mut request = BytesMut::new();
    Request::Manifests(vec![name]).encode(&mut request);
    channel
        .send
        .write_bytes(request.freeze())
        .await
        .map_err(Failure::Link)?;
    channel.send.finish().map_err(Failure::Link)?;
    let mut decoder = AnswerDecoder::new();
    decoder.expect(ItemKind::Manifest, 1);
    loop {
        let Some(bytes) = channel.recv.read(READ_BYTES).await.map_err(Failure::Link)? else {
            return Err(Failure::Link(LinkError::Broken {
                node,
                reason: "it ended before the manifest did".to_owned(),
            }));
        };
        progress.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        decoder.push(bytes);
        match decoder.next() {
            Ok(None) => {}
            Ok(Some(Answer::Found { bytes, .. })) => return Ok(bytes),
            Ok(Some(Answer::Missing | Answer::Damaged)) => return Err(Failure::Lacking),
            Err(error) => return Err(Failure::Lie(error.to_string())),
        }
    }
}
