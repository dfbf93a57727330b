//! Questions to other members, and what their answering tells about them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tetryx_link::LinkError;
use tetryx_protocol::hash::ManifestHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::peer::{Holding, PeerRequest, PeerResponse};

use super::serve::NARS_PER_REQUEST_MAX;
use crate::{Node, peers};

/// Asks a member, and notes whether it answers.
///
/// # Errors
/// Those of the link. An answer to another question counts as none.
pub(super) async fn ask(
    node: &Node,
    to: NodeId,
    request: &PeerRequest,
    patience: Duration,
) -> Result<PeerResponse, LinkError> {
    let outcome = peers::ask(node.links().as_ref(), to, request, patience).await;
    let is_work = matches!(request, PeerRequest::Hold { .. });
    match &outcome {
        // A refusal is a sign of life.
        Ok(_) | Err(LinkError::Refused { .. } | LinkError::TooLarge { .. }) => {
            let now = node.clock().elapsed();
            if node.replication().known.lock().heard(to, now) {
                node.replication().failed.lock().clear();
            }
        }
        // Whoever still copies has not fallen silent.
        Err(LinkError::NoAnswer { .. }) if is_work => {}
        Err(_) => node.replication().known.lock().not_heard(to),
    }
    outcome
}

/// What several members have of NARs, by states no older than the one of a log index: what is answered by an older one is
/// left out.
pub(super) async fn have_as_of(
    node: &Node,
    questions: BTreeMap<NodeId, Vec<ManifestHash>>,
    index: u64,
) -> BTreeMap<(NodeId, ManifestHash), Holding> {
    let asked = questions.into_iter().flat_map(|(to, manifests)| {
        let parts: Vec<_> = manifests
            .chunks(NARS_PER_REQUEST_MAX)
            .map(|part| (to, part.to_vec()))
            .collect();
        parts
    });
    let asked = asked.map(|(to, manifests)| async move {
        let request = PeerRequest::Have {
            manifests: manifests.clone(),
        };
        let answer = ask(node, to, &request, peers::ASK_TIMEOUT).await;
        let answers = match answer {
            Ok(PeerResponse::Have { index: at, answers }) if at >= index => answers,
            _ => Vec::new(),
        };
        let named = manifests.into_iter().map(move |manifest| (to, manifest));
        named.zip(answers).collect::<Vec<_>>()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// What a member has of each NAR; `None` when it does not answer, or something else.
pub(super) async fn have(node: &Node, to: NodeId, manifests: &[ManifestHash]) -> Option<Vec<Holding>> {
    let mut answers = Vec::with_capacity(manifests.len());
    let mut rest = manifests;
    loop {
        let (now, later) = rest.split_at(rest.len().min(NARS_PER_REQUEST_MAX));
        let request = PeerRequest::Have {
            manifests: now.to_vec(),
        };
        match ask(node, to, &request, peers::ASK_TIMEOUT).await {
            Ok(PeerResponse::Have { answers: more, .. }) if more.len() == now.len() => answers.extend(more),
            Ok(_) => {
                tracing::warn!(
                    node = to.fmt_short(),
                    "a member answered something else than it was asked; is it another version?"
                );
                return None;
            }
            Err(error) => {
                tracing::debug!(%error, "a member does not say what it has");
                return None;
            }
        }
        rest = later;
        if rest.is_empty() {
            return Some(answers);
        }
    }
}

/// Asks several members at once, each about its own NARs.
pub(super) async fn have_all(
    node: &Node,
    questions: BTreeMap<NodeId, Vec<ManifestHash>>,
) -> BTreeMap<NodeId, Vec<Holding>> {
    let asked = questions.into_iter().map(|(to, manifests)| async move {
        let answers = have(node, to, &manifests).await;
        answers.map(|answers| (to, answers))
    });
    join_all(asked).await.into_iter().flatten().collect()
}
