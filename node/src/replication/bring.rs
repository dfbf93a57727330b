//! Bringing a NAR to this node: what is missing of it is fetched, and it counts only when it is whole.

use std::sync::Arc;

use tetryx_environment::WorkPanicked;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_store::{HeldNar, PinId, StoreError};
use tetryx_transfer::{FetchError, FetchRequest, Priority};

use crate::{Node, NodeError, room};

/// A NAR as somebody describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) nar: NarHash,
    pub(crate) manifest: ManifestHash,
    pub(crate) nar_size: u64,
}

/// Why a NAR is not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BringError {
    #[error("the NAR {nar} cannot be fetched")]
    Fetch { nar: NarHash, source: FetchError },
    #[error("the NAR {nar} cannot be kept here")]
    Store { nar: NarHash, source: Box<StoreError> },
    #[error("the manifest {manifest} is not that of the NAR {nar} of {nar_size} bytes")]
    OtherNar {
        nar: NarHash,
        nar_size: u64,
        manifest: ManifestHash,
    },
    #[error("{missing} chunks of the NAR {nar} are still missing after it was fetched")]
    Incomplete { nar: NarHash, missing: usize },
    #[error("the task that looked for the NAR {nar} ended without a result")]
    Task { nar: NarHash, source: WorkPanicked },
    #[error("there is no room for the NAR {nar}")]
    Room { nar: NarHash, source: Box<NodeError> },
}

/// Makes the NAR whole here, with its chunks pinned under `pin`, which the caller releases. Returns the length of the
/// file that the local frames make. What was here before may not be durable yet: flush the store before it is relied on.
pub(crate) async fn bring(
    node: &Node,
    wanted: Wanted,
    providers: Vec<NodeId>,
    priority: Priority,
    pin: PinId,
) -> Result<u64, BringError> {
    let nar = wanted.nar;
    let found = look(node, wanted, pin).await?;
    if let Some(held) = found.as_ref().filter(|held| held.is_complete()) {
        return Ok(held.file_size());
    }
    let raw = missing_raw(found.as_ref(), wanted.nar_size);
    drop(found);
    // How much they compress shows when they come. Copies for others leave some room to those who pull and push here.
    let room = room::ensure_besides(node, raw).await;
    room.map_err(|source| BringError::Room {
        nar,
        source: Box::new(source),
    })?;
    let handle = node.fetcher().fetch(FetchRequest {
        manifest: wanted.manifest,
        providers,
        priority,
        pin,
    });
    handle
        .finished()
        .await
        .map_err(|source| BringError::Fetch { nar, source })?;
    match look(node, wanted, pin).await? {
        Some(held) if held.is_complete() => Ok(held.file_size()),
        held => Err(BringError::Incomplete {
            nar,
            missing: held.map_or(1, |held| held.missing.len()),
        }),
    }
}

/// The length of the missing chunks before compression, as far as can be told before they come.
fn missing_raw(held: Option<&HeldNar>, nar_size: u64) -> u64 {
    held.map_or(nar_size, |held| {
        let lens = held.manifest.chunks.iter().zip(&held.frame_lens);
        let missing = lens.filter(|(_, frame_len)| **frame_len == 0);
        missing.map(|(chunk, _)| u64::from(chunk.raw_len)).sum()
    })
}

/// Pins the NAR, then looks how much of it is here.
async fn look(node: &Node, wanted: Wanted, pin: PinId) -> Result<Option<HeldNar>, BringError> {
    let Wanted {
        nar,
        manifest,
        nar_size,
    } = wanted;
    let store = Arc::clone(node.store());
    let looked = node.io().run(move || {
        store.pin_manifests(&pin, &[manifest]);
        let held = store.hold_nar(&manifest)?;
        if let Some(held) = &held {
            let chunks: Vec<_> = held.manifest.chunks.iter().map(|chunk| chunk.hash).collect();
            store.pin(&pin, &chunks);
        }
        Ok::<_, StoreError>(held)
    });
    let held = looked
        .await
        .map_err(|source| BringError::Task { nar, source })?
        .map_err(|source| BringError::Store {
            nar,
            source: Box::new(source),
        })?;
    if let Some(held) = &held
        && (held.manifest.nar_hash != nar || held.manifest.nar_size != nar_size)
    {
        return Err(BringError::OtherNar {
            nar,
            nar_size,
            manifest,
        });
    }
    Ok(held)
}
