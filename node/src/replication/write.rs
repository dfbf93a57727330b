//! Write concern: before an upload is acknowledged, others hold it durably too.
//!
//! # Invariants
//! - What is reported as secured is durable on as many nodes as the configuration and the cache ask for, as far as
//!   there are so many, and each of them keeps it until the record is applied there, or the hold runs out.
//!
//! # Non-goals
//! - Copies beyond that: the replicator makes them afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::{HoldId, NodeId};
use tetryx_protocol::peer::{HoldNar, PeerRequest, PeerResponse};

use super::ask::ask;
use super::policy::{CopyRules, WritePlan};
use super::serve::NARS_PER_REQUEST_MAX;
use crate::{Node, NodeError};

/// Too few nodes hold an upload yet.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the NAR {nar} is durable on {have} of {wanted} nodes, so it is not acknowledged ({reason}); try again, nothing \
     is sent twice"
)]
pub struct NotEnoughCopies {
    /// The first NAR that lacks copies.
    nar: NarHash,
    have: usize,
    wanted: usize,
    /// What the last failure was.
    reason: String,
}

/// A NAR that needs others.
struct Need {
    nar: HoldNar,
    /// How many others still have to hold it.
    open: usize,
    wanted: usize,
    candidates: std::vec::IntoIter<NodeId>,
}

/// Has others hold the NARs that this node has durably, and returns whom it has asked. Takes at most `patience`; what
/// is being copied then goes on being copied, and the next attempt finds it further.
///
/// # Errors
/// [`NodeError::NotEnoughCopies`]; otherwise the state cannot be read.
pub(crate) async fn secure(
    node: &Node,
    hold: HoldId,
    cache: &CacheName,
    nars: &[HoldNar],
    patience: Duration,
) -> Result<Vec<NodeId>, NodeError> {
    let mut needs = needs(node, cache, nars)?;
    let began = node.clock().elapsed();
    let left = || patience.saturating_sub(node.clock().elapsed().saturating_sub(began));
    let mut asked = Vec::new();
    let mut reason = "no other node can be asked".to_owned();
    loop {
        let mut questions: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (at, need) in needs.iter_mut().enumerate() {
            let chosen: Vec<NodeId> = match left().is_zero() {
                true => Vec::new(),
                false => need.candidates.by_ref().take(need.open).collect(),
            };
            if chosen.len() < need.open {
                let others = need.wanted - need.open;
                return Err(NodeError::NotEnoughCopies(NotEnoughCopies {
                    nar: need.nar.nar_hash,
                    have: others + 1,
                    wanted: need.wanted + 1,
                    reason,
                }));
            }
            for target in chosen {
                questions.entry(target).or_default().push(at);
            }
        }
        if questions.is_empty() {
            return Ok(asked);
        }
        let calls = questions.into_iter().map(|(target, which)| {
            let nars: Vec<HoldNar> = which.iter().map(|at| needs[*at].nar).collect();
            let patience = left();
            async move {
                let (durable, reason) = hold_at(node, target, hold, &nars, patience).await;
                (target, which, durable, reason)
            }
        });
        for (target, which, durable, why) in join_all(calls).await {
            asked.push(target);
            for at in which {
                let need = &mut needs[at];
                if durable.contains(&need.nar.manifest) {
                    need.open -= 1;
                }
            }
            if let Some(why) = why {
                tracing::info!(
                    node = target.fmt_short(),
                    reason = why,
                    "a node cannot hold an upload"
                );
                reason = why;
            }
        }
    }
}

/// How long another node may take to copy what was just uploaded, ahead of the commit.
const EARLY_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What is being held elsewhere ahead of its commit, by upload.
pub(super) type Early = Mutex<BTreeMap<HoldId, Vec<HoldNar>>>;

/// Begins to have others hold a NAR, so that the commit finds it done. NARs that come while others are under way go
/// together. Failures are left to the commit.
pub(crate) fn begin(node: &Node, hold: HoldId, cache: &CacheName, nar: HoldNar) {
    let mut early = node.replication().early.lock();
    if let Some(waiting) = early.get_mut(&hold) {
        waiting.push(nar);
        return;
    }
    early.insert(hold, vec![nar]);
    drop(early);
    let (in_background, cache) = (node.clone(), cache.clone());
    node.spawn(async move {
        let early = &in_background.replication().early;
        let take = || {
            let mut early = early.lock();
            let waiting = early.get_mut(&hold).map(std::mem::take).unwrap_or_default();
            if waiting.is_empty() {
                early.remove(&hold);
            }
            waiting
        };
        loop {
            let nars = take();
            if nars.is_empty() {
                return;
            }
            if let Err(error) = secure(&in_background, hold, &cache, &nars, EARLY_PATIENCE).await {
                tracing::debug!(error = error.chain(), "an upload is not held elsewhere yet");
            }
        }
    });
}

/// Ends the holds, once the records are applied here at `index`. Failures are left to the holds' own end.
pub(crate) fn release(node: &Node, hold: HoldId, targets: Vec<NodeId>, index: u64) {
    let in_background = node.clone();
    node.spawn(async move {
        let request = PeerRequest::Release { hold, index };
        let calls = targets
            .into_iter()
            .map(|target| ask(&in_background, target, &request, crate::peers::ASK_TIMEOUT));
        for outcome in join_all(calls).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a hold is left to run out");
            }
        }
    });
}

fn needs(node: &Node, cache: &CacheName, nars: &[HoldNar]) -> Result<Vec<Need>, NodeError> {
    let view = node.replica().view()?;
    let membership = super::membership(node, &view, &node.replication().away(node))?;
    let config = &node.config().replication;
    let copies = CopyRules::read(&view, config.copies)?.of_cache(cache);
    let known = node.replication().known.lock();
    let needs = nars.iter().map(|nar| {
        let WritePlan { others, candidates } =
            membership.write_plan(&nar.nar_hash, copies, config.write_replicas, |node| {
                known.answers(node)
            });
        Need {
            nar: *nar,
            open: others,
            wanted: others,
            candidates: candidates.into_iter(),
        }
    });
    Ok(needs.filter(|need| need.open > 0).collect())
}

/// Has one node hold NARs; returns the manifests it holds durably, and why not all, if so.
async fn hold_at(
    node: &Node,
    target: NodeId,
    hold: HoldId,
    nars: &[HoldNar],
    patience: Duration,
) -> (Vec<ManifestHash>, Option<String>) {
    let mut durable = Vec::new();
    for nars in nars.chunks(NARS_PER_REQUEST_MAX) {
        let request = PeerRequest::Hold {
            hold,
            nars: nars.to_vec(),
            providers: vec![node.node_id()],
        };
        match ask(node, target, &request, patience).await {
            Ok(PeerResponse::Held {
                durable: more,
                reason,
            }) => {
                durable.extend(more);
                if reason.is_some() {
                    return (durable, reason);
                }
            }
            Ok(_) => {
                return (
                    durable,
                    Some("it answered something else than was asked".to_owned()),
                );
            }
            Err(error) => return (durable, Some(error.to_string())),
        }
    }
    (durable, None)
}
