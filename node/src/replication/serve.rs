//! What other members ask of this one: to hold NARs, to say which it has, and how their files are laid out.
//!
//! # Invariants
//! - "Complete" and "placed" are said of what is whole and durable, and under a hold that a running collection
//!   respects.
//! - What is answered as held is pinned until the asker's record is applied here, or the hold runs out.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use tetryx_protocol::hash::ManifestHash;
use tetryx_protocol::id::{HoldId, NodeId};
use tetryx_protocol::peer::{HoldNar, Holding, PeerRequest, PeerResponse};
use tetryx_state::query;
use tetryx_transfer::Priority;

use super::bring::{Wanted, bring};
use super::policy::CopyRules;
use crate::error::chain;
use crate::{Node, NodeError};

/// NARs in one question or one hold.
pub(super) const NARS_PER_REQUEST_MAX: usize = 4096;

/// NARs of one hold fetched at once.
const FETCHES_PER_HOLD: usize = 8;

/// Answers a member. The roster is answered elsewhere.
///
/// # Errors
/// A refusal in words, for the caller's log.
pub(crate) async fn answer(node: &Node, from: NodeId, request: PeerRequest) -> Result<PeerResponse, String> {
    let told = |error: NodeError| {
        tracing::error!(
            error = error.chain(),
            node = from.fmt_short(),
            "a member's question failed"
        );
        "this node failed to answer; its log says why".to_owned()
    };
    match request {
        PeerRequest::Hold {
            hold,
            nars,
            providers,
        } => {
            check_count(nars.len())?;
            held(node, from, hold, nars, providers).await
        }
        PeerRequest::Release { hold, index } => {
            node.replication().holds.release(&hold, index);
            super::release_ended(node).await.map_err(told)?;
            Ok(PeerResponse::Released)
        }
        PeerRequest::Have { manifests } => {
            check_count(manifests.len())?;
            let node = node.clone();
            let io = node.io().clone();
            let answers = io.run(move || holdings(&node, &manifests)).await;
            let (index, answers) = answers.map_err(NodeError::from).flatten().map_err(told)?;
            Ok(PeerResponse::Have { index, answers })
        }
        PeerRequest::Layout { manifest } => {
            let store = Arc::clone(node.store());
            let held = node.io().run(move || store.hold_nar(&manifest)).await;
            let held = held
                .map_err(NodeError::from)
                .and_then(|held| held.map_err(NodeError::from))
                .map_err(told)?;
            let whole = held.filter(tetryx_store::HeldNar::is_complete);
            Ok(PeerResponse::Layout {
                frame_lens: whole.map(|held| held.frame_lens.clone()).unwrap_or_default(),
            })
        }
        PeerRequest::HandOver { index } => super::leave::answer(node, index).await,
        PeerRequest::Collect { .. } => Err("collections are not asked for here".to_owned()),
        PeerRequest::Roster => Err("the roster is not asked for here".to_owned()),
    }
}

fn check_count(count: usize) -> Result<(), String> {
    if count <= NARS_PER_REQUEST_MAX {
        return Ok(());
    }
    Err(format!(
        "{count} NARs at once; at most {NARS_PER_REQUEST_MAX} are taken, ask in several requests"
    ))
}

/// Brings the NARs here and keeps them for the asker.
async fn held(
    node: &Node,
    from: NodeId,
    hold: HoldId,
    nars: Vec<HoldNar>,
    providers: Vec<NodeId>,
) -> Result<PeerResponse, String> {
    let ttl = node.config().replication.hold_ttl;
    let expires = node.clock().elapsed().plus(ttl);
    let lease = node
        .replication()
        .holds
        .lease(hold, expires)
        .map_err(|error| error.to_string())?;
    node.store().touch(&lease.pin(), node.clock().utc());
    let fetches = nars.into_iter().map(|nar| {
        let wanted = Wanted {
            nar: nar.nar_hash,
            manifest: nar.manifest,
            nar_size: nar.nar_size,
        };
        let (providers, pin) = (providers.clone(), lease.pin());
        async move {
            let outcome = bring(node, wanted, providers, Priority::Interactive, pin).await;
            outcome.map(|_| nar.manifest)
        }
    });
    let outcomes: Vec<_> = stream::iter(fetches)
        .buffer_unordered(FETCHES_PER_HOLD)
        .collect()
        .await;
    let mut durable = Vec::new();
    let mut reason = None;
    for outcome in outcomes {
        match outcome {
            Ok(manifest) => durable.push(manifest),
            Err(error) => reason = Some(chain(&error)),
        }
    }
    // The chunks, and the pin that keeps them.
    let store = Arc::clone(node.store());
    let flushed = node
        .io()
        .run(move || store.flush())
        .await
        .map_err(NodeError::from);
    if let Err(error) = flushed.and_then(|flushed| flushed.map_err(NodeError::from)) {
        reason = Some(error.chain());
        durable.clear();
    }
    if let Some(reason) = &reason {
        tracing::warn!(
            node = from.fmt_short(),
            reason,
            "cannot hold everything a member asked for"
        );
    }
    Ok(PeerResponse::Held { durable, reason })
}

/// What this node has of each, and the log index it knows that at. Blocks.
fn holdings(node: &Node, manifests: &[ManifestHash]) -> Result<(u64, Vec<Holding>), NodeError> {
    let view = node.replica().view()?;
    let index = view.applied_index();
    if manifests.is_empty() {
        return Ok((index, Vec::new()));
    }
    // What this node owes by the state alone: a stand-in is no holder.
    let membership = super::membership(node, &view, &Default::default())?;
    let rules = CopyRules::read(&view, node.config().replication.copies)?;
    node.store().flush()?;
    let answers = manifests.iter().map(|manifest| {
        let Some(held) = node.store().hold_nar(manifest)?.filter(|held| held.is_complete()) else {
            return Ok(Holding::No);
        };
        let nar = held.manifest.nar_hash;
        let record = query::nar(&view, &nar)?;
        if record.is_none_or(|record| record.manifest != *manifest) {
            return Ok(Holding::Complete);
        }
        let holders = membership.holders(&nar, rules.of(&view, &nar)?);
        Ok(match holders.contains(&membership.me()) {
            true => Holding::Placed,
            false => Holding::Complete,
        })
    });
    Ok((index, answers.collect::<Result<_, NodeError>>()?))
}
