//! Reads that say how fresh they are.
//!
//! A node proves how fresh it is by asking the leader for its read index: the leader confirms with a majority that it
//! still leads, and names the index up to which everything is committed. Once that index is applied here, the state
//! includes whatever was acknowledged anywhere before the question was asked. Time is measured by the asking node
//! alone, from before it asked, so that neither a slow link nor another node's clock can make a state look fresher than
//! it is.
//!
//! # Invariants
//! - The age given is an upper bound: everything acknowledged longer ago than that is in the view.
//! - A node that has lost its leader, or whose leader has lost its majority, gets older and says so.

use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use tetryx_protocol::id::NodeId;
use tokio::sync::{mpsc, oneshot};

use crate::error::{ReadError, ReplicaError};
use crate::patience::within;
use crate::propose::REDIRECTS_MAX;
use crate::replica::{Inner, Replica};
use crate::types::Raft;
use crate::view::StateView;
use crate::wire::{Request, Response};

/// Questions answered by one confirmation at most.
const ROUND_MAX: usize = 4_096;

/// What a read promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLevel {
    /// Everything acknowledged before the read began is seen. Needs a leader with a majority.
    Strong,
    /// Nothing acknowledged longer ago than this is missed. Local while the node has heard from a leader recently
    /// enough, as strong as [`ReadLevel::Strong`] otherwise.
    Bounded(Duration),
    /// Whatever this node has, at once.
    Any,
}

/// How fresh a view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The promise that was kept.
    pub level: ReadLevel,
    /// Everything acknowledged longer ago than this is in the view. `None`: nothing is known, since this node has not
    /// reached a leader with a majority since it started.
    pub age: Option<Duration>,
    /// Index of the last entry in the view.
    pub index: u64,
}

type Answer = Result<u64, Option<NodeId>>;

/// The leader's half: questions that come while one confirmation is under way share the next one.
#[derive(Debug)]
pub(crate) struct ReadRounds {
    asks: mpsc::UnboundedSender<oneshot::Sender<Answer>>,
    waiting: AtomicUsize,
}

/// Counted for as long as somebody waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReadRounds {
    pub(crate) fn start(raft: Raft) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(run_rounds(raft, asked));
        Self {
            asks,
            waiting: AtomicUsize::new(0),
        }
    }

    /// How many questions have no answer yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The read index, if this node leads and has a majority; otherwise who leads, if that is known.
    pub(crate) async fn index(&self) -> Answer {
        let _waiting = Waiting::new(&self.waiting);
        let (ask, answer) = oneshot::channel();
        if self.asks.send(ask).is_err() {
            return Err(None);
        }
        answer.await.unwrap_or(Err(None))
    }
}

async fn run_rounds(raft: Raft, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Answer>>) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, ROUND_MAX).await > 0 {
        let answer = match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(forward.leader_id.map(|id| id.0))
            }
            Err(_) => Err(None),
        };
        for waiting in waiting.drain(..) {
            // Whoever no longer waits does not want the answer.
            let _ = waiting.send(answer);
        }
    }
}

impl Replica {
    /// A view of the state that is as fresh as `level` asks for, and how fresh it is.
    ///
    /// # Errors
    /// [`ReadError`] says what could not be promised. [`ReadLevel::Any`] fails only if the replica cannot serve at all.
    pub async fn read(&self, level: ReadLevel) -> Result<(StateView, Freshness), ReadError> {
        match level {
            ReadLevel::Any => {}
            ReadLevel::Strong => self.prove_fresh(self.profile().propose()).await?,
            ReadLevel::Bounded(bound) => {
                let is_young = |replica: &Self| replica.age().is_some_and(|age| age <= bound);
                if !is_young(self)
                    && let Err(error) = self.prove_fresh(self.profile().forward()).await
                {
                    return Err(match error {
                        ReadError::NoLeader { .. } => ReadError::TooOld {
                            age: self.age(),
                            bound,
                        },
                        other => other,
                    });
                }
            }
        }
        let view = self.view().map_err(ReadError::Replica)?;
        let freshness = Freshness {
            level,
            age: self.age(),
            index: view.applied_index(),
        };
        Ok((view, freshness))
    }

    /// How fresh [`Replica::view`] is at this moment. Kept up to date without anybody asking, about twice per election.
    pub fn freshness(&self) -> Freshness {
        Freshness {
            level: ReadLevel::Any,
            age: self.age(),
            index: self.applied_index(),
        }
    }

    /// Whether [`Replica::wait_caught_up`] would return at once.
    pub fn is_caught_up(&self) -> bool {
        self.proofs().borrow().is_some()
    }

    /// Waits until the state is known to include everything that this node had shown before it was last stopped, and
    /// whatever was acknowledged anywhere before it was started. Until then a view may be of an earlier state.
    ///
    /// # Errors
    /// The replica has stopped before.
    pub async fn wait_caught_up(&self) -> Result<(), ReplicaError> {
        let mut proofs = self.proofs().subscribe();
        let mut metrics = self.raft().metrics();
        let stopped = async {
            loop {
                if let Err(error) = self.changed(&mut metrics).await {
                    return error;
                }
            }
        };
        tokio::select! {
            biased;
            caught_up = proofs.wait_for(Option::is_some) => caught_up.map(drop).map_err(|_| self.why_stopped()),
            error = stopped => Err(error),
        }
    }

    fn age(&self) -> Option<Duration> {
        let at = (*self.proofs().borrow())?;
        Some(self.clock().elapsed().saturating_sub(at))
    }

    /// Gets a new proof, begun after this was called, within `patience`.
    async fn prove_fresh(&self, patience: Duration) -> Result<(), ReadError> {
        match within(patience, self.prove_until_answered()).await {
            Some(proved) => proved.map_err(ReadError::Replica),
            None => Err(ReadError::NoLeader { waited: patience }),
        }
    }

    async fn prove_until_answered(&self) -> Result<(), ReplicaError> {
        let mut metrics = self.raft().metrics();
        let mut hint = None;
        let mut redirects = 0;
        loop {
            let known = metrics.borrow_and_update().current_leader.map(|id| id.0);
            let asked = hint.take().or(known);
            if let Some(leader) = asked {
                match self.prove_once(leader).await? {
                    Ok(()) => return Ok(()),
                    Err(other) => hint = other,
                }
            }
            if hint.is_some() && hint != asked && redirects < REDIRECTS_MAX {
                redirects += 1;
                continue;
            }
            (hint, redirects) = (None, 0);
            let pause = self.profile().heartbeat() / 8;
            if let Some(Err(error)) = within(pause, self.other_leader(&mut metrics, known)).await {
                return Err(error);
            }
        }
    }

    /// Asks once; on failure, who leads instead, if that is known.
    async fn prove_once(&self, leader: NodeId) -> Result<Result<(), Option<NodeId>>, ReplicaError> {
        let at = self.clock().elapsed();
        let answer = if leader == self.id() {
            self.read_rounds().index().await
        } else {
            let request = Request::ReadIndex;
            let answer = self.transport().call(leader, request.class(), request.encode());
            match within(self.profile().forward(), answer).await {
                Some(Ok(bytes)) => match Response::decode(&bytes) {
                    Ok(Response::ReadIndex { index }) => Ok(index),
                    Ok(Response::NotLeader { leader }) => Err(leader),
                    Ok(_) | Err(_) => Err(None),
                },
                Some(Err(_)) | None => Err(None),
            }
        };
        let index = match answer {
            Ok(index) => index,
            Err(other) => return Ok(Err(other)),
        };
        self.wait_applied(index).await?;
        self.proofs().send_modify(|newest| {
            if newest.is_none_or(|newest| newest < at) {
                *newest = Some(at);
            }
        });
        Ok(Ok(()))
    }

    /// The read index, for another node that asks.
    pub(crate) async fn read_index_asked(&self) -> Response {
        match self.read_rounds().index().await {
            Ok(index) => Response::ReadIndex { index },
            Err(leader) => Response::NotLeader { leader },
        }
    }
}

/// Keeps the proof of a replica fresh, until the replica is gone.
pub(crate) async fn keep_fresh(inner: Weak<Inner>, pause: Duration) {
    loop {
        let Some(replica) = Replica::revive(&inner) else {
            return;
        };
        let leader = replica.raft().metrics().borrow_watched().current_leader;
        if let Some(leader) = leader
            && let Some(Err(error)) = within(replica.profile().forward(), replica.prove_once(leader.0)).await
        {
            tracing::debug!(error = error.chain(), "no longer asking how fresh this node is");
            return;
        }
        drop(replica);
        tokio::time::sleep(pause).await;
    }
}
