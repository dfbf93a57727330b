//! Proposals: from a command to its reply, wherever the leader is.
//!
//! # Invariants
//! - Every proposal has an id that all its attempts carry, so that the state machine applies it at most once.
//! - The time of a command is stamped by the node that leads, just before it is appended.
//! - A caller is told `NoLeader` only if no attempt can ever be applied.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use tetryx_protocol::id::{ClientId, NodeId, ProposalId};
use tetryx_state::command::FEATURE_LEVEL;
use tetryx_state::limits::OPEN_PROPOSALS_MAX;
use tetryx_state::{Body, Command, Reply, query};
use tokio::sync::Notify;

use crate::error::{ProposeError, ReplicaError};
use crate::patience::within;
use crate::records::Blob;
use crate::replica::Replica;
use crate::transport::TransportError;
use crate::types::{Metrics, Proposal, RaftId};
use crate::wire::{Request, Response};
use tetryx_environment::Entropy;

/// How often a proposal follows "ask that one instead" before it waits: two nodes may each name the other.
pub(crate) const REDIRECTS_MAX: u32 = 2;

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The index of the entry it was applied at. A node that has applied up to here shows its effects.
    pub index: u64,
    /// What the state machine says: done, or refused.
    pub reply: Reply,
}

/// The serials of a replica's proposals.
///
/// Each opening of a replica proposes as a client of its own, so that serials need not be stored.
#[derive(Debug)]
pub(crate) struct Proposals {
    client: ClientId,
    serials: Mutex<Serials>,
    closed: Notify,
}

#[derive(Debug)]
struct Serials {
    next: u64,
    open: BTreeSet<u64>,
}

impl Serials {
    fn oldest_open(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }
}

impl Proposals {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut client = [0; 16];
        entropy.fill(&mut client);
        Self {
            client: ClientId::from_bytes(client),
            serials: Mutex::new(Serials {
                next: 1,
                open: BTreeSet::new(),
            }),
            closed: Notify::new(),
        }
    }

    /// As whom they are made.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }

    /// How many have no answer yet.
    pub(crate) fn open_count(&self) -> usize {
        self.serials.lock().open.len()
    }

    /// Opens a proposal; waits while as many are open as the state machine remembers.
    async fn open(&self) -> OpenProposal<'_> {
        loop {
            let closed = self.closed.notified();
            {
                let mut serials = self.serials.lock();
                let serial = serials.next;
                if serial - serials.oldest_open() < OPEN_PROPOSALS_MAX {
                    serials.next += 1;
                    serials.open.insert(serial);
                    return OpenProposal {
                        proposals: self,
                        serial,
                    };
                }
            }
            closed.await;
        }
    }
}

/// A proposal that may yet be retried.
#[derive(Debug)]
struct OpenProposal<'a> {
    proposals: &'a Proposals,
    serial: u64,
}

impl OpenProposal<'_> {
    fn id(&self) -> ProposalId {
        ProposalId {
            client: self.proposals.client,
            serial: self.serial,
        }
    }

    fn oldest_open(&self) -> u64 {
        self.proposals.serials.lock().oldest_open()
    }
}

impl Drop for OpenProposal<'_> {
    fn drop(&mut self) {
        self.proposals.serials.lock().open.remove(&self.serial);
        self.proposals.closed.notify_waiters();
    }
}

/// What came of one attempt.
#[derive(Debug)]
enum Attempt {
    Applied(Applied),
    /// It was not appended; this node may lead.
    NotAppended(Option<NodeId>),
    /// It may be applied, now or later.
    InDoubt,
    /// This replica cannot go on.
    Stopped(ReplicaError),
}

impl Replica {
    /// Has a command applied, and returns the state machine's reply to it. `by` is who asks, for the audit.
    ///
    /// A replica above the [`FEATURE_LEVEL`] of this build marks its commands as ones that older levels must leave
    /// alone, from when the cluster allows that level. So nodes of two releases can be run beside each other before
    /// there is a command that tells them apart.
    ///
    /// The command is proposed by the leader, wherever it is, and retried under the same id while the outcome is
    /// unknown. On a node that does not lead, the effects may not be visible yet when this returns: see
    /// [`Replica::wait_applied`]. A caller that drops the future does not undo the proposal.
    ///
    /// # Errors
    /// [`ProposeError`] says whether the command may have been applied. A refusal is no error.
    pub async fn propose(&self, by: &str, body: Body) -> Result<Applied, ProposeError> {
        let waited = self.profile().propose();
        let Some(open) = within(waited, self.proposals().open()).await else {
            return Err(ProposeError::NoLeader { waited });
        };
        self.propose_under(open.id(), || open.oldest_open(), by, body)
            .await
    }

    /// [`Replica::propose`] under an id that the caller keeps, for proposals that outlive a process: repeated under
    /// the same id, now or by a later process, the command is applied once. `oldest_open` is the lowest serial of that
    /// client that may still be repeated; no two commands ever share an id.
    ///
    /// # Errors
    /// Those of [`Replica::propose`], about the attempts of this call alone: an earlier one may have been applied.
    pub async fn propose_as(
        &self,
        id: ProposalId,
        oldest_open: u64,
        by: &str,
        body: Body,
    ) -> Result<Applied, ProposeError> {
        self.propose_under(id, || oldest_open, by, body).await
    }

    async fn propose_under(
        &self,
        id: ProposalId,
        oldest_open: impl Fn() -> u64,
        by: &str,
        body: Body,
    ) -> Result<Applied, ProposeError> {
        if u32::from(body.min_reader()) > self.feature_level() {
            // It could not apply it either.
            return Err(ProposeError::Replica(ReplicaError::NeedsUpgrade {
                what: "the command".to_owned(),
            }));
        }
        let waited = self.profile().propose();
        let in_doubt = AtomicBool::new(false);
        let answered = self.attempt_until_answered(id, oldest_open, by, body, &in_doubt);
        match within(waited, answered).await {
            Some(answer) => answer.map_err(ProposeError::Replica),
            None if in_doubt.load(Ordering::Relaxed) => Err(ProposeError::Unknown { proposal: id, waited }),
            None => Err(ProposeError::NoLeader { waited }),
        }
    }

    async fn attempt_until_answered(
        &self,
        id: ProposalId,
        oldest_open: impl Fn() -> u64,
        by: &str,
        body: Body,
        in_doubt: &AtomicBool,
    ) -> Result<Applied, ReplicaError> {
        let mut command = Command {
            proposal: id,
            oldest_open: 0,
            proposed_at: self.clock().utc(),
            by: by.to_owned(),
            body,
        };
        let mut metrics = self.raft().metrics();
        let mut hint = None;
        let mut redirects = 0;
        loop {
            let known = metrics.borrow_and_update().current_leader.map(|id| id.0);
            let asked = hint.take().or(known);
            if let Some(leader) = asked {
                command.oldest_open = oldest_open();
                command.proposed_at = self.clock().utc();
                let was_in_doubt = in_doubt.swap(true, Ordering::Relaxed);
                match self.attempt(leader, &command).await {
                    Attempt::Applied(applied) => return Ok(applied),
                    Attempt::NotAppended(leader) => {
                        in_doubt.store(was_in_doubt, Ordering::Relaxed);
                        hint = leader;
                    }
                    Attempt::InDoubt => {}
                    Attempt::Stopped(error) => return Err(error),
                }
            }
            if hint.is_some() && hint != asked && redirects < REDIRECTS_MAX {
                redirects += 1;
                continue;
            }
            // Nothing new to try: wait for another leader, or for the same one to be sure of its role.
            (hint, redirects) = (None, 0);
            let pause = self.profile().heartbeat() / 8;
            if let Some(Err(error)) = within(pause, self.other_leader(&mut metrics, known)).await {
                return Err(error);
            }
        }
    }

    /// Waits until another node leads than `known`.
    pub(crate) async fn other_leader(
        &self,
        metrics: &mut Metrics,
        known: Option<NodeId>,
    ) -> Result<(), ReplicaError> {
        while metrics.borrow_and_update().current_leader.map(|id| id.0) == known {
            self.changed(metrics).await?;
        }
        Ok(())
    }

    async fn attempt(&self, leader: NodeId, command: &Command) -> Attempt {
        if leader == self.id() {
            return self
                .write(command)
                .await
                .unwrap_or_else(|_| Attempt::Stopped(self.why_stopped()));
        }
        let request = Request::Propose {
            command: Blob(self.encode(command)),
        };
        let answer = self.transport().call(leader, request.class(), request.encode());
        match within(self.profile().forward(), answer).await {
            Some(Ok(bytes)) => match Response::decode(&bytes) {
                Ok(Response::Proposed { index, reply }) => Attempt::Applied(Applied { index, reply }),
                Ok(Response::NotLeader { leader }) => Attempt::NotAppended(leader),
                Ok(Response::Failed { reason }) => {
                    tracing::debug!(%leader, reason, "a forwarded proposal was not taken");
                    Attempt::NotAppended(None)
                }
                Ok(_) | Err(_) => Attempt::InDoubt,
            },
            Some(Err(TransportError::Unreachable { .. })) => Attempt::NotAppended(None),
            Some(Err(_)) | None => Attempt::InDoubt,
        }
    }

    /// Proposes a command that another node has forwarded.
    pub(crate) async fn propose_forwarded(&self, command: &[u8]) -> Result<Response, ReplicaError> {
        let mut command =
            Command::decode_at(self.feature_level(), command).map_err(|error| ReplicaError::BadRequest {
                reason: error.to_string(),
            })?;
        command.proposed_at = self.clock().utc();
        match self.write(&command).await {
            Ok(Attempt::Applied(Applied { index, reply })) => Ok(Response::Proposed { index, reply }),
            Ok(Attempt::NotAppended(leader)) => Ok(Response::NotLeader { leader }),
            Ok(Attempt::InDoubt) | Err(InDoubt) => Ok(Response::InDoubt { leader: None }),
            Ok(Attempt::Stopped(error)) => Err(error),
        }
    }
}

/// openraft stopped while the proposal was under way.
struct InDoubt;

impl Replica {
    async fn write(&self, command: &Command) -> Result<Attempt, InDoubt> {
        match self.raft().client_write(Proposal(self.encode(command))).await {
            Ok(written) => Ok(written.data.0.map_or(Attempt::InDoubt, |reply| {
                Attempt::Applied(Applied {
                    index: written.log_id.index,
                    reply,
                })
            })),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Ok(Attempt::NotAppended(forward.leader_id.map(|RaftId(id)| id)))
            }
            Err(RaftError::APIError(_)) => Ok(Attempt::InDoubt),
            Err(RaftError::Fatal(_)) => Err(InDoubt),
        }
    }

    /// A command as this replica writes it.
    fn encode(&self, command: &Command) -> Bytes {
        let mut level = 0;
        if self.feature_level() > FEATURE_LEVEL {
            // What cannot be read now is not allowed now.
            let cluster = self
                .view()
                .ok()
                .and_then(|view| query::cluster(&view).ok().flatten());
            let allowed = cluster.map_or(0, |cluster| cluster.feature_level);
            if allowed > FEATURE_LEVEL {
                level = allowed.min(self.feature_level());
            }
        }
        command.encode_for(level).into()
    }
}
