//! A commit on its way: into the log when the cluster can be asked, into the outbox when it cannot.

use std::time::Duration;

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::{HoldId, NodeId, ProposalId};
use tetryx_protocol::peer::HoldNar;
use tetryx_protocol::store_path::StorePath;
use tetryx_raft::ProposeError;
use tetryx_state::command::PublishPaths;
use tetryx_state::{Body, Outcome};

use super::contact;
use super::entry::Entry;
use crate::http::auth::Caller;
use crate::{Node, NodeError, replication};

/// What became of a part of a commit.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// The cluster has it, and it is applied here.
    Published {
        /// The log index.
        index: u64,
        /// What it did.
        outcome: Outcome,
    },
    /// It waits in the outbox.
    Taken {
        /// How many paths that are.
        paths: u64,
    },
}

/// One commit. Its parts go the same way from the first one on that cannot go into the log, because each may refer to
/// those before it.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    node: &'a Node,
    caller: &'a Caller,
    /// Why nothing goes into the log any more.
    apart: Option<&'static str>,
}

const CUT_OFF: &str = "the cluster cannot be asked";
const BEHIND_OTHERS: &str = "it belongs to what waits already";

impl<'a> Delivery<'a> {
    /// Decides which way the parts go, as far as that is known beforehand.
    ///
    /// # Errors
    /// When the replica has failed.
    pub(crate) async fn begin(
        node: &'a Node,
        caller: &'a Caller,
        parts: &[PublishPaths],
    ) -> Result<Self, NodeError> {
        let apart = if node.outbox().has_any_of(parts) {
            Some(BEHIND_OTHERS)
        } else if contact::is_there(node).await? {
            None
        } else {
            Some(CUT_OFF)
        };
        Ok(Self { node, caller, apart })
    }

    /// Has others hold the NARs, if the parts go into the log; returns whom it has asked.
    ///
    /// # Errors
    /// [`NodeError::NotEnoughCopies`] when others cannot, although the cluster can be asked.
    pub(crate) async fn secure(
        &mut self,
        hold: HoldId,
        cache: &CacheName,
        nars: &[HoldNar],
        patience: Duration,
    ) -> Result<Vec<NodeId>, NodeError> {
        if self.apart.is_some() {
            return Ok(Vec::new());
        }
        let secured = tokio::select! {
            biased;
            secured = replication::secure(self.node, hold, cache, nars, patience) => secured,
            () = contact::lost(self.node) => {
                self.apart = Some(CUT_OFF);
                return Ok(Vec::new());
            }
        };
        match secured {
            Err(NodeError::NotEnoughCopies(_)) if !contact::is_there_now(self.node).await? => {
                self.apart = Some(CUT_OFF);
                Ok(Vec::new())
            }
            secured => secured,
        }
    }

    /// Publishes a part, or takes it into the outbox.
    ///
    /// # Errors
    /// [`NodeError::Refused`] when the state does not allow it, or would not as this node knows it; otherwise log or
    /// outbox cannot be written.
    pub(crate) async fn publish(&mut self, part: PublishPaths) -> Result<Delivered, NodeError> {
        let (node, by) = (self.node, self.caller.subject());
        if self.apart.is_some() {
            return self.take(part, None).await;
        }
        let open = node.outbox().open_proposal();
        let body = Body::PublishPaths(part.clone());
        let oldest_open = node.outbox().oldest_open(open.id());
        let answer = tokio::select! {
            biased;
            answer = node.replica().propose_as(open.id(), oldest_open, by, body) => answer,
            () = contact::lost(node) => Err(ProposeError::Unknown {
                proposal: open.id(),
                waited: Duration::ZERO,
            }),
        };
        let proposal = match answer {
            Ok(applied) => {
                let outcome = applied.reply.into_result()?;
                node.replica().wait_applied(applied.index).await?;
                return Ok(Delivered::Published {
                    index: applied.index,
                    outcome,
                });
            }
            Err(ProposeError::NoLeader { .. }) => None,
            // It may be applied yet, and then it is only repeated.
            Err(ProposeError::Unknown { .. }) => Some(open.id()),
            Err(error) => return Err(error.into()),
        };
        self.apart = Some(CUT_OFF);
        self.take(part, proposal).await
    }

    async fn take(&self, part: PublishPaths, proposal: Option<ProposalId>) -> Result<Delivered, NodeError> {
        let node = self.node;
        let paths = part.paths.len();
        let entry = Entry {
            cache: part.cache,
            by: self.caller.subject().to_owned(),
            token: self.caller.claims().map(|claims| claims.token),
            accepted: node.clock().utc(),
            paths: part.paths,
            upstream: part.upstream,
            proposal,
        };
        let view = node.replica().view()?;
        let (in_background, now) = (node.clone(), node.clock().utc());
        let entry = node
            .io()
            .run(move || {
                // What may be applied already is not refused: its fate is not decided here.
                if entry.proposal.is_none() {
                    in_background.outbox().check(&view, &entry, now)?;
                }
                Ok::<_, NodeError>(entry)
            })
            .await??;
        if let Err(error) = node.outbox().take(entry).await {
            node.outbox().forget_preview();
            return Err(error);
        }
        tracing::warn!(
            paths,
            reason = self.apart,
            "took a push into the outbox; it is handed over when the cluster can be asked"
        );
        Ok(Delivered::Taken { paths: paths as u64 })
    }
}

impl super::Outbox {
    /// Whether a path of these waits already, or refers to one that does.
    fn has_any_of(&self, parts: &[PublishPaths]) -> bool {
        let state = self.inner.state.lock();
        state.waiting.paths() > 0
            && parts.iter().any(|part| {
                let mut hashes = part.paths.iter().flat_map(|path| {
                    let references = path.references.iter().map(|reference| reference.hash);
                    references.chain([path.store_path.hash])
                });
                hashes.any(|hash| state.waiting.path(&part.cache, &hash).is_some())
            })
    }

    /// Whether the path waits with this content.
    pub(crate) fn has(&self, cache: &CacheName, path: &StorePath, nar: &NarHash) -> bool {
        let found = self.inner.state.lock().waiting.path(cache, &path.hash);
        found.is_some_and(|(_, found)| found.store_path == *path && found.nar_hash == *nar)
    }
}
