//! The sending half of the network adapter: openraft's calls to other replicas, over [`Transport`].
//!
//! # Invariants
//! - A pre-vote is a call like any other: a replica that cannot be reached grants nothing.
//! - Heartbeats never wait for entries: they are calls of their own, in no stream.
//!
//! # Non-goals
//! - Connections, retries, priorities: the transport and openraft have them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use crate::SNAPSHOT_PIECE_MAX;
use crate::error::ReplicaError;
use crate::patience::within;
use crate::profile::Profile;
use crate::records::{Blob, LogIdRecord, VoteRecord};
use crate::snapshot::{SnapshotFile, Snapshots};
use crate::transport::{Transport, TransportError};
use crate::types::{LeaderId, LogId, RaftId, TypeConfig, Vote};
use crate::wire::{self, Append, Request, Response, SnapshotOutcome, Turn};
use tetryx_environment::Io;
#[cfg(feature = "mutants")]
use tetryx_environment::mutant::Mutant;

/// Append requests of one stream that are under way at once: enough that a link of 600 ms carries some hundred
/// requests a second, each with all entries that came up since the one before.
const APPENDS_UNDER_WAY: usize = 64;

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

/// Makes a [`Peer`] for each replica that openraft wants to talk to.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    pub(crate) id: RaftId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) profile: Profile,
    pub(crate) io: Io,
    pub(crate) snapshots: Arc<Snapshots>,
    /// How many append streams this replica has opened.
    pub(crate) streams: Arc<AtomicU64>,
}

/// What a [`Peer`] is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Heartbeat,
    Other,
}

/// Another replica.
#[derive(Debug)]
pub(crate) struct Peer {
    peers: Peers,
    target: RaftId,
    lane: Lane,
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: RaftId, (): &()) -> Peer {
        Peer {
            peers: self.clone(),
            target,
            lane: Lane::Other,
        }
    }

    async fn new_heartbeat_client(&mut self, target: RaftId, (): &()) -> Peer {
        Peer {
            peers: self.clone(),
            target,
            lane: Lane::Heartbeat,
        }
    }
}

impl Peer {
    async fn call(&self, request: &Request, action: RPCTypes, deadline: Duration) -> RpcResult<Response> {
        let answer = self
            .peers
            .transport
            .call(self.target.0, request.class(), request.encode());
        match within(deadline, answer).await {
            None => Err(Timeout {
                action,
                id: self.peers.id,
                target: self.target,
                timeout: deadline,
            }
            .into()),
            Some(Err(error @ TransportError::Unreachable { .. })) => Err(Unreachable::new(&error).into()),
            Some(Err(error)) => Err(NetworkError::new(&error).into()),
            Some(Ok(bytes)) => match Response::decode(&bytes) {
                Ok(Response::Failed { reason }) => Err(Unreachable::from_string(reason).into()),
                Ok(response) => Ok(response),
                // A node of another version: it will not understand the next call either.
                Err(error) => Err(Unreachable::new(&error).into()),
            },
        }
    }

    /// One append request; with what a full success would have matched.
    async fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        turn: Option<Turn>,
        deadline: Duration,
    ) -> (RpcResult<StreamAppendResult<TypeConfig>>, Option<LogId>) {
        let last = wire::last_log_id(&request);
        let request = Request::Append(Append::new(&request, turn));
        #[cfg(feature = "mutants")]
        if turn.is_some_and(|turn| turn.number > 0) && Mutant::CommitBeforeQuorum.is_active() {
            // A stream that began well will go on so: what is on its way counts as stored.
            let (class, body) = (request.class(), request.encode());
            tokio::spawn(self.peers.transport.call(self.target.0, class, body));
            return (Ok(Ok(last)), last);
        }
        let result = match self.call(&request, RPCTypes::AppendEntries, deadline).await {
            Ok(Response::Append(outcome)) => Ok(outcome.into()),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error),
        };
        (result, last)
    }

    async fn ballot(&self, request: Request, option: &RPCOption) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.call(&request, RPCTypes::Vote, option.soft_ttl()).await? {
            Response::Vote { vote, granted, last } => Ok(wire::vote_response(vote, granted, last)),
            other => Err(unexpected(&other)),
        }
    }

    async fn snapshot_call(&self, request: Request, deadline: Duration) -> RpcResult<SnapshotOutcome> {
        match self.call(&request, RPCTypes::InstallSnapshot, deadline).await? {
            Response::Snapshot(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends what the other replica lacks of the snapshot, and has it installed. Begun again after a break, it goes
    /// on where it was.
    async fn send_snapshot(&self, vote: VoteRecord, file: &SnapshotFile) -> RpcResult<Vote> {
        let id = file.id();
        let len = file.len();
        let patience = self.peers.profile.snapshot_piece();
        let last = file.meta().last_log_id.as_ref().map(LogIdRecord::from);
        let offer = Request::SnapshotOffer { vote, id, len, last };
        let mut has = match self.snapshot_call(offer, patience).await? {
            SnapshotOutcome::Has(has) => has,
            SnapshotOutcome::Installed(vote) | SnapshotOutcome::HigherVote(vote) => return Ok(vote.into()),
            other @ SnapshotOutcome::Damaged => return Err(unexpected(&other)),
        };
        while has < len {
            let bytes = self.read_piece(file, has).await?;
            let end = has + bytes.0.len() as u64;
            let piece = Request::SnapshotPiece {
                vote,
                id,
                offset: has,
                bytes,
            };
            match self.snapshot_call(piece, patience).await? {
                SnapshotOutcome::Has(now) if now == end => has = now,
                SnapshotOutcome::HigherVote(vote) => return Ok(vote.into()),
                other => return Err(unexpected(&other)),
            }
        }
        let patience = self.peers.profile.snapshot_install();
        match self
            .snapshot_call(Request::SnapshotInstall { vote, id }, patience)
            .await?
        {
            SnapshotOutcome::Installed(vote) | SnapshotOutcome::HigherVote(vote) => Ok(vote.into()),
            SnapshotOutcome::Damaged => {
                self.recheck(file).await;
                Err(NetworkError::from_string("the snapshot arrived damaged").into())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn read_piece(&self, file: &SnapshotFile, offset: u64) -> RpcResult<Blob> {
        let reader = file.clone();
        let read = self
            .peers
            .io
            .run_unwinding(move || reader.read_at(offset, SNAPSHOT_PIECE_MAX))
            .await;
        read.map(|bytes| Blob(bytes.into())).map_err(|error| {
            self.give_up(file, &error);
            NetworkError::new(&error).into()
        })
    }

    /// Reads our own file again, to know whether it is the damaged one.
    async fn recheck(&self, file: &SnapshotFile) {
        let reader = file.clone();
        if let Err(error) = self.peers.io.run_unwinding(move || reader.verify()).await {
            self.give_up(file, &error);
        }
    }

    fn give_up(&self, file: &SnapshotFile, error: &ReplicaError) {
        tracing::error!(
            error = error.chain(),
            "the current snapshot is damaged; building another one"
        );
        self.peers.snapshots.discard(file.id());
    }
}

fn unexpected(answer: &impl std::fmt::Debug) -> RPCError<TypeConfig> {
    NetworkError::from_string(format!("answer makes no sense here: {answer:?}")).into()
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let (result, last) = self.append(rpc, None, option.soft_ttl()).await;
        Ok(match result? {
            Ok(matched) if matched == last => AppendEntriesResponse::Success,
            Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let peer: &'s Self = self;
        // A heartbeat answered late is worth nothing. Entries acknowledged late are, and on a slow link a full
        // request takes longer than a heartbeat may.
        let (depth, deadline, stream) = match peer.lane {
            Lane::Heartbeat => (1, option.soft_ttl(), None),
            Lane::Other => {
                let stream = peer.peers.streams.fetch_add(1, Ordering::Relaxed);
                (APPENDS_UNDER_WAY, peer.peers.profile.election_max(), Some(stream))
            }
        };
        let calls = input.enumerate().map(move |(number, request)| {
            let turn = stream.map(|stream| Turn {
                stream,
                number: number as u64,
            });
            peer.append(request, turn, deadline)
        });
        let answers = futures::stream::unfold(Some(calls.buffered(depth).boxed()), |answers| async move {
            let mut answers = answers?;
            let (result, last) = answers.next().await?;
            // Whatever was sent after a request that did not fully succeed is void.
            let goes_on = matches!(&result, Ok(Ok(matched)) if *matched == last);
            Some((result, goes_on.then_some(answers)))
        });
        Box::pin(std::future::ready(Ok(answers.boxed())))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ballot(Request::Vote((&rpc).into()), &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        self.ballot(Request::PreVote((&rpc).into()), &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<LeaderId, RaftId, (), SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = std::pin::pin!(self.send_snapshot((&vote).into(), &snapshot.snapshot));
        match select(std::pin::pin!(cancel), sending).await {
            Either::Left((closed, _)) => Err(closed.into()),
            Either::Right((vote, _)) => Ok(SnapshotResponse::new(vote?)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        match self
            .call(
                &wire::transfer_request(&req),
                RPCTypes::TransferLeader,
                option.soft_ttl(),
            )
            .await?
        {
            Response::TransferLeader(outcome) => Ok(outcome.into()),
            other => Err(unexpected(&other)),
        }
    }
}
