//! The receiving half of the network adapter: requests of other replicas.

use bytes::Bytes;
use openraft::errors::RaftError;
use openraft::raft::AppendEntriesRequest;

use crate::error::ReplicaError;
use crate::replica::Replica;
use crate::transport::RpcClass;
use crate::types::TypeConfig;
use crate::wire::{self, Append, AppendOutcome, Request, Response};

impl Replica {
    /// Carries out a request that another replica handed to its [`Transport`](crate::transport::Transport), and
    /// returns the bytes to hand back.
    ///
    /// The caller has authenticated the sender as a member of this cluster. Dropping the future is allowed.
    ///
    /// # Errors
    /// The bytes are no request that this version knows, came as the wrong class, or the replica has stopped.
    pub async fn handle_rpc(&self, class: RpcClass, body: Bytes) -> Result<Bytes, ReplicaError> {
        let request = Request::decode(&body)?;
        if request.class() != class {
            return Err(ReplicaError::BadRequest {
                reason: format!("a request of class {:?} came as {class:?}", request.class()),
            });
        }
        let response = match self.answer(request).await {
            Err(ReplicaError::BadRequest { reason }) => Response::Failed { reason },
            other => other?,
        };
        Ok(response.encode())
    }

    async fn answer(&self, request: Request) -> Result<Response, ReplicaError> {
        match request {
            Request::Append(append) => self.append(append).await.map(Response::Append),
            Request::Vote(ballot) => {
                let response = self
                    .raft()
                    .vote(ballot.into())
                    .await
                    .map_err(|error| self.fatal_of(error))?;
                Ok(response.into())
            }
            Request::PreVote(ballot) => {
                let response = self
                    .raft()
                    .pre_vote(ballot.into())
                    .await
                    .map_err(|error| self.fatal_of(error))?;
                Ok(response.into())
            }
            Request::TransferLeader { from, to, last } => {
                let request = wire::read_transfer_request(from, to, last);
                let result = self.raft().handle_transfer_leader(request).await;
                Ok(Response::TransferLeader(
                    result.map_err(|fatal| self.stopped(&fatal))?.into(),
                ))
            }
            Request::SnapshotOffer { vote, id, len, last } => self
                .transfers()
                .offer(vote, id, len, last)
                .await
                .map(Response::Snapshot),
            Request::SnapshotPiece {
                vote,
                id,
                offset,
                bytes,
            } => self
                .transfers()
                .piece(vote, id, offset, bytes.0)
                .await
                .map(Response::Snapshot),
            Request::SnapshotInstall { vote, id } => {
                self.transfers().install(vote, id).await.map(Response::Snapshot)
            }
            Request::Propose { command } => self.propose_forwarded(&command.0).await,
            Request::ReadIndex => Ok(self.read_index_asked().await),
            Request::SnapshotWanted { at_least } => self.snapshot_wanted(at_least).await,
            Request::SnapshotRead { id, offset } => self.snapshot_read(id, offset).await,
        }
    }

    async fn append(&self, append: Append) -> Result<AppendOutcome, ReplicaError> {
        let turn = append.turn;
        let request: AppendEntriesRequest<TypeConfig> = append.try_into()?;
        if let Some(turn) = turn {
            return self.appends().append(turn, request).await;
        }
        let previous = request.prev_log_id;
        let last = wire::last_log_id(&request);
        let response = self
            .raft()
            .append_entries(request)
            .await
            .map_err(|error| self.fatal_of(error))?;
        Ok(response.into_stream_result(previous, last).into())
    }

    fn fatal_of(&self, error: RaftError<TypeConfig>) -> ReplicaError {
        match error {
            RaftError::Fatal(fatal) => self.stopped(&fatal),
            RaftError::APIError(never) => match never {},
        }
    }
}
