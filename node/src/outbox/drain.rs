//! Handing over: what waits becomes commands, in the order it was taken.

use std::sync::Arc;
use std::time::Duration;

use tetryx_protocol::api::OutboxState;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::peer::HoldNar;
use tetryx_raft::{ProposeError, StateView};
use tetryx_state::{Body, Outcome, Refusal, query};
use tetryx_store::StoreError;

use super::Outbox;
use super::contact;
use super::entry::{Entry, EntryId, Record};
use crate::{Node, NodeError, replication};

/// The first pause after an attempt that came to nothing; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long others may take to fetch what an entry needs. What they have by then is there at the next attempt.
const SECURE_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What one attempt to hand everything over came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Paths whose fate was decided.
    pub decided: u64,
    /// Paths that still wait.
    pub waiting: u64,
}

/// Hands over whatever waits, as soon as that is possible, for as long as the node runs.
pub(crate) async fn run(node: Node) {
    let outbox = node.outbox();
    let mut pause = PAUSE_MIN;
    loop {
        while outbox.counts().waiting == 0 {
            outbox.inner.wake.notified().await;
        }
        if node.replica().wait_leader().await.is_err() {
            return;
        }
        match drain(&node).await {
            Ok(drained) if drained.waiting == 0 => {
                tracing::info!(paths = drained.decided, "the outbox is handed over");
                pause = PAUSE_MIN;
                continue;
            }
            Ok(drained) if drained.decided > 0 => pause = PAUSE_MIN,
            Ok(_) => {}
            Err(error) => tracing::warn!(error = error.chain(), "the outbox cannot be handed over yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Node {
    /// Hands over what waits in the outbox, as far as the cluster takes it now.
    ///
    /// # Errors
    /// When the outbox cannot be written, or the replica has failed. That the cluster cannot be asked is none.
    pub async fn drain_outbox(&self) -> Result<Drained, NodeError> {
        drain(self).await
    }
}

/// What an attempt with one entry came to.
enum Step {
    /// It does not wait any more, or was split.
    Done(u64),
    /// It has to wait on.
    Later,
}

async fn drain(node: &Node) -> Result<Drained, NodeError> {
    let outbox = node.outbox();
    let _one_at_a_time = outbox.inner.draining.lock().await;
    let mut drained = Drained::default();
    loop {
        let first = outbox.inner.state.lock().waiting.first();
        let Some((id, entry)) = first else {
            break;
        };
        match hand_over(node, id, &entry).await? {
            Step::Done(paths) => drained.decided += paths,
            Step::Later => break,
        }
    }
    drained.waiting = outbox.counts().waiting;
    Ok(drained)
}

async fn hand_over(node: &Node, id: EntryId, entry: &Arc<Entry>) -> Result<Step, NodeError> {
    if !contact::is_there(node).await? {
        return Ok(Step::Later);
    }
    let outbox = node.outbox();
    // An entry that was proposed before may be applied already: only repeating it tells.
    if entry.proposal.is_none()
        && let Some(reason) = no_longer_allowed(&node.replica().view()?, entry)?
    {
        return outbox.refuse(id, entry, &reason).await;
    }
    let hold = id.hold(node.node_id());
    let held = replication::secure(node, hold, &entry.cache, &nars(entry), SECURE_PATIENCE).await;
    let holders = match held {
        Ok(holders) => holders,
        Err(NodeError::NotEnoughCopies(error)) if entry.proposal.is_none() => {
            return match lost_bytes(node, entry).await? {
                None => {
                    tracing::info!(%error, "an entry of the outbox waits for copies");
                    Ok(Step::Later)
                }
                // It must not keep back the others.
                Some(_) if entry.paths.len() > 1 => outbox.split(id).await,
                Some(nar) => {
                    let reason = format!(
                        "its bytes were damaged on this node's disk before another node had them ({nar}); push it again"
                    );
                    outbox.refuse(id, entry, &reason).await
                }
            };
        }
        Err(NodeError::NotEnoughCopies(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    // Kept open until the journal or the answer closes it.
    let open = outbox.open_proposal();
    let proposal = match entry.proposal {
        Some(proposal) => proposal,
        None => {
            let proposal = open.id();
            outbox
                .write(move |_| ((), vec![Record::Proposed(id, proposal)]))
                .await?;
            proposal
        }
    };
    let before = node.replica().view()?;
    let body = Body::PublishPaths(entry.command());
    let oldest_open = outbox.oldest_open(proposal);
    let answer = tokio::select! {
        biased;
        answer = node.replica().propose_as(proposal, oldest_open, &entry.by, body) => answer,
        () = contact::lost(node) => return Ok(Step::Later),
    };
    let applied = match answer {
        Ok(applied) => applied,
        Err(ProposeError::NoLeader { .. } | ProposeError::Unknown { .. }) => return Ok(Step::Later),
        Err(error) => return Err(error.into()),
    };
    node.replica().wait_applied(applied.index).await?;
    let index = applied.index;
    replication::release(node, hold, holders, index);
    match applied.reply.into_result() {
        Ok(outcome) => {
            if let Outcome::Published { published, .. } = outcome {
                node.metrics().paths_published.inc_by(published);
            }
            let outcomes = tell_apart(&before, entry, &outcome, index)?;
            outbox.decide(id, entry, outcomes).await
        }
        Err(refusal) if is_about_the_proposal(&refusal) => {
            // Nobody remembers it any more, so nobody can repeat it either.
            let again = Entry {
                proposal: None,
                ..Entry::clone(entry)
            };
            outbox
                .write(move |_| ((), vec![Record::Waiting(id, again)]))
                .await?;
            Ok(Step::Later)
        }
        Err(_) if entry.paths.len() > 1 => {
            // One path of many stands in the way of all: they go on one by one.
            outbox.split(id).await
        }
        Err(refusal) => outbox.refuse(id, entry, &refusal.to_string()).await,
    }
}

/// A NAR of the entry that is not whole on this disk any more, if there is one. Waiting brings back nothing that was
/// here only; what is published as well is fetched anew ([`crate::scrub`]) when one that holds it can be reached.
async fn lost_bytes(node: &Node, entry: &Entry) -> Result<Option<NarHash>, NodeError> {
    let (store, nars) = (Arc::clone(node.store()), nars(entry));
    let looked = node.io().run(move || {
        let mut damaged = Vec::new();
        for nar in nars {
            let held = store.hold_nar(&nar.manifest)?;
            if !held.is_some_and(|held| held.is_complete()) {
                damaged.push(nar);
            }
        }
        Ok::<_, StoreError>(damaged)
    });
    let damaged = looked.await??;
    if damaged.is_empty() {
        return Ok(None);
    }
    // Others may have published it while this node was cut off: an old state does not tell.
    let Some(view) = contact::read_now(node).await? else {
        return Ok(None);
    };
    for nar in damaged {
        let published = query::nar(&view, &nar.nar_hash)?;
        if published.is_none_or(|record| record.manifest != nar.manifest) {
            return Ok(Some(nar.nar_hash));
        }
    }
    Ok(None)
}

fn nars(entry: &Entry) -> Vec<HoldNar> {
    let mut nars: Vec<HoldNar> = entry
        .paths
        .iter()
        .map(|path| HoldNar {
            nar_hash: path.nar_hash,
            manifest: path.nar.manifest,
            nar_size: path.nar.nar_size,
        })
        .collect();
    nars.sort_by_key(|nar| nar.nar_hash);
    nars.dedup_by_key(|nar| nar.nar_hash);
    nars
}

/// Why the entry must not be published any more, if so: the token it was pushed with was revoked meanwhile.
fn no_longer_allowed(view: &StateView, entry: &Entry) -> Result<Option<String>, NodeError> {
    let Some(token) = entry.token else {
        return Ok(None);
    };
    let revoked = query::token(view, &token)?.and_then(|record| record.revoked);
    Ok(revoked.map(|at| {
        format!("the token it was pushed with was revoked at {at}; push it again with another one")
    }))
}

/// Whether a refusal says nothing about the paths.
fn is_about_the_proposal(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::ProposalFinished { .. } | Refusal::TooManyOpenProposals { .. }
    )
}

/// Which paths of an entry are new, and which were there. The outcome only counts them; where that leaves a choice,
/// those are taken for duplicates that were there before, and by somebody else.
fn tell_apart(
    before: &StateView,
    entry: &Entry,
    outcome: &Outcome,
    index: u64,
) -> Result<Vec<OutboxState>, NodeError> {
    let Outcome::Published { published, .. } = outcome else {
        return Ok(vec![OutboxState::Duplicate { index }; entry.paths.len()]);
    };
    let published = usize::try_from(*published).unwrap_or(usize::MAX);
    let mut order = Vec::with_capacity(entry.paths.len());
    for (at, path) in entry.paths.iter().enumerate() {
        let known = query::path(before, &entry.cache, &path.store_path.hash)?;
        let likely = known.map_or(0, |known| if known.created_by == entry.by { 1 } else { 2 });
        order.push((likely, at));
    }
    // The least likely duplicates first: they are the ones that were published.
    order.sort_unstable();
    let mut outcomes = vec![OutboxState::Duplicate { index }; entry.paths.len()];
    for (_, at) in order.into_iter().take(published) {
        outcomes[at] = OutboxState::Applied { index };
    }
    Ok(outcomes)
}

impl Outbox {
    /// Has the paths of an entry go on one by one.
    async fn split(&self, id: EntryId) -> Result<Step, NodeError> {
        self.write(move |_| ((), vec![Record::Split(id)])).await?;
        Ok(Step::Done(0))
    }

    async fn decide(
        &self,
        id: EntryId,
        entry: &Entry,
        outcomes: Vec<OutboxState>,
    ) -> Result<Step, NodeError> {
        let paths = entry.paths.len() as u64;
        self.write(move |_| ((), vec![Record::Decided(id, outcomes)]))
            .await?;
        Ok(Step::Done(paths))
    }

    async fn refuse(&self, id: EntryId, entry: &Entry, reason: &str) -> Result<Step, NodeError> {
        for path in &entry.paths {
            tracing::warn!(cache = %entry.cache, path = %path.store_path, by = entry.by, reason, "the cluster refused what was taken into the outbox");
        }
        let reason = reason.to_owned();
        let outcomes = vec![OutboxState::Refused { reason }; entry.paths.len()];
        self.decide(id, entry, outcomes).await
    }
}
