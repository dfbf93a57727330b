//! The receiving half of append streams: requests that were sent without waiting take effect in their order.
//!
//! A leader that streams entries has many requests under way, and a transport may deliver them in any order. Each
//! one carries its stream and its number there; this module hands them to openraft in order.
//!
//! # Invariants
//! - Of each leader, one stream is open: its newest. A request of an older one is refused.
//! - After a request that did not succeed, the rest of its stream is dropped: its sender has given it up, too.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::{mpsc, oneshot};

use crate::error::ReplicaError;
use crate::seeds::Seeds;
use crate::types::{Raft, TypeConfig};
use crate::wire::{AppendOutcome, Turn};

/// Requests of one stream that may wait for an earlier one or for their answers. A leader of this version has at
/// most 64 under way.
const WAITING_MAX: usize = 256;

/// The open append streams of a replica.
#[derive(Debug)]
pub(crate) struct AppendStreams {
    raft: Raft,
    seeds: Arc<Seeds>,
    open: Mutex<BTreeMap<NodeId, Open>>,
}

#[derive(Debug)]
struct Open {
    term: u64,
    stream: u64,
    requests: mpsc::Sender<Numbered>,
}

struct Numbered {
    number: u64,
    request: AppendEntriesRequest<TypeConfig>,
    answer: oneshot::Sender<AppendOutcome>,
}

impl AppendStreams {
    pub(crate) fn new(raft: Raft, seeds: Arc<Seeds>) -> Self {
        Self {
            raft,
            seeds,
            open: Mutex::default(),
        }
    }

    /// How many streams are open.
    pub(crate) fn open_count(&self) -> usize {
        let open = self.open.lock();
        open.values().filter(|known| !known.requests.is_closed()).count()
    }

    /// Hands a request to openraft when its turn has come, and returns what came of it.
    pub(crate) async fn append(
        &self,
        turn: Turn,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendOutcome, ReplicaError> {
        let requests = self.stream(turn, &request)?;
        let (answer, outcome) = oneshot::channel();
        let ended = || bad_request("the append stream has ended");
        requests
            .send(Numbered {
                number: turn.number,
                request,
                answer,
            })
            .await
            .map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())
    }

    /// The stream the request belongs to; opens it if it is new.
    fn stream(
        &self,
        turn: Turn,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<mpsc::Sender<Numbered>, ReplicaError> {
        let leader = request.vote.leader_id;
        let mut open = self.open.lock();
        if let Some(known) = open.get(&leader.node_id.0) {
            if (known.term, known.stream) == (leader.term, turn.stream) {
                return Ok(known.requests.clone());
            }
            if (known.term, known.stream) > (leader.term, turn.stream) {
                return Err(bad_request("the append stream was replaced by a newer one"));
            }
        }
        open.retain(|_, known| !known.requests.is_closed());
        let (requests, numbered) = mpsc::channel(WAITING_MAX);
        let raft = self.raft.clone();
        tokio::spawn(self.seeds.scope(run(raft, numbered)));
        open.insert(
            leader.node_id.0,
            Open {
                term: leader.term,
                stream: turn.stream,
                requests: requests.clone(),
            },
        );
        Ok(requests)
    }
}

fn bad_request(reason: &str) -> ReplicaError {
    ReplicaError::BadRequest {
        reason: reason.to_owned(),
    }
}

/// Runs one stream until a request fails, a newer stream takes its place, or openraft stops.
async fn run(raft: Raft, mut numbered: mpsc::Receiver<Numbered>) {
    let (feed, fed) = mpsc::unbounded_channel();
    let fed = futures::stream::unfold(fed, |mut fed| async move { Some((fed.recv().await?, fed)) });
    let mut results = pin!(raft.stream_append(fed));
    let mut next = 0;
    let mut early = BTreeMap::new();
    let mut waiting: VecDeque<oneshot::Sender<AppendOutcome>> = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            result = results.next() => {
                let (Some(Ok(result)), Some(answer)) = (result, waiting.pop_front()) else { return };
                let goes_on = result.is_ok();
                // Whoever no longer waits does not want the answer.
                drop(answer.send(result.into()));
                if !goes_on {
                    return;
                }
            }
            request = numbered.recv() => {
                let Some(request) = request else { return };
                if early.len() + waiting.len() >= WAITING_MAX {
                    return;
                }
                early.insert(request.number, request);
                while let Some(Numbered { request, answer, .. }) = early.remove(&next) {
                    next += 1;
                    waiting.push_back(answer);
                    if feed.send(request).is_err() {
                        return;
                    }
                }
            }
        }
    }
}
