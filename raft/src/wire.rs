//! What replicas say to each other.
//!
//! Format: a request is postcard sealed in an envelope of kind `TXRQ`, an answer in one of kind `TXRS`. Variants are
//! append-only; a change of a variant's fields is a new schema.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use tetryx_protocol::id::NodeId;
use tetryx_state::Reply;

use crate::error::ReplicaError;
use crate::records::{self, Blob, EntryRecord, LogIdRecord, VoteRecord};
use crate::snapshot::SnapshotId;
use crate::transport::RpcClass;
use crate::types::{LogId, RaftId, TypeConfig, Vote};

const REQUEST_KIND: [u8; 4] = *b"TXRQ";
const RESPONSE_KIND: [u8; 4] = *b"TXRS";
const SCHEMA: u16 = 1;

/// What a replica asks another one. Append-only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    Append(Append),
    Vote(Ballot),
    PreVote(Ballot),
    TransferLeader {
        from: VoteRecord,
        to: NodeId,
        last: Option<LogIdRecord>,
    },
    /// "I want to send this snapshot: how much of it do you have?"
    SnapshotOffer {
        vote: VoteRecord,
        id: SnapshotId,
        len: u64,
        /// The last entry that it includes.
        last: Option<LogIdRecord>,
    },
    SnapshotPiece {
        vote: VoteRecord,
        id: SnapshotId,
        offset: u64,
        bytes: Blob,
    },
    /// "Make the snapshot, which you have in full, your state."
    SnapshotInstall {
        vote: VoteRecord,
        id: SnapshotId,
    },
    /// An encoded command, to be proposed by the leader.
    Propose {
        command: Blob,
    },
    /// "Up to which index is everything committed?"
    ReadIndex,
    /// "Which snapshot do you have, that includes at least this entry?"
    SnapshotWanted {
        at_least: u64,
    },
    /// "Give me the bytes of that snapshot from here on."
    SnapshotRead {
        id: SnapshotId,
        offset: u64,
    },
}

/// Entries to append, or none: a heartbeat.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Append {
    /// Requests of one stream are sent without waiting for answers, and must take effect in their order.
    pub(crate) turn: Option<Turn>,
    pub(crate) vote: VoteRecord,
    pub(crate) previous: Option<LogIdRecord>,
    pub(crate) committed: Option<LogIdRecord>,
    pub(crate) entries: Vec<EntryRecord>,
}

/// The place of a request in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Grows with every stream that the leader opens.
    pub(crate) stream: u64,
    /// 0, 1, 2, …
    pub(crate) number: u64,
}

/// A candidate's, or a would-be candidate's, request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ballot {
    vote: VoteRecord,
    last: Option<LogIdRecord>,
    leadership_transfer: bool,
}

/// The answer to a [`Request`]. Append-only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Response {
    Append(AppendOutcome),
    Vote {
        vote: VoteRecord,
        granted: bool,
        last: Option<LogIdRecord>,
    },
    TransferLeader(TransferOutcome),
    Snapshot(SnapshotOutcome),
    /// The command was applied at this index.
    Proposed {
        index: u64,
        reply: Reply,
    },
    /// The command was not appended: this node does not lead.
    NotLeader {
        leader: Option<NodeId>,
    },
    /// The command was appended, and then the leader lost its role: it may yet be applied.
    InDoubt {
        leader: Option<NodeId>,
    },
    /// Nothing was done.
    Failed {
        reason: String,
    },
    /// Everything up to this index is committed, and nothing was acknowledged beyond it.
    ReadIndex {
        index: u64,
    },
    /// There is a snapshot of so many bytes.
    SnapshotThere {
        id: SnapshotId,
        len: u64,
    },
    /// Bytes of a snapshot.
    SnapshotBytes {
        bytes: Blob,
    },
}

/// What came of an [`Append`]. Append-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AppendOutcome {
    /// The log agrees with the leader's up to here.
    Matched(Option<LogIdRecord>),
    /// The log differs from the leader's at this entry.
    Conflict(LogIdRecord),
    /// There is another leader.
    HigherVote(VoteRecord),
}

/// What came of a request to take over the leadership. Append-only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransferOutcome {
    Accepted,
    VoteChanged {
        expected: VoteRecord,
        actual: VoteRecord,
    },
    LogNotFlushed {
        expected: Option<LogIdRecord>,
        actual: Option<LogIdRecord>,
    },
}

/// What came of a snapshot request. Append-only.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SnapshotOutcome {
    /// So many bytes of it are here.
    Has(u64),
    /// It is the state now, or the state is newer.
    Installed(VoteRecord),
    /// There is another leader.
    HigherVote(VoteRecord),
    /// All bytes are here, but they are not a snapshot.
    Damaged,
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        records::seal(REQUEST_KIND, SCHEMA, self).into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ReplicaError> {
        records::open(REQUEST_KIND, SCHEMA, "a request of another node", bytes)
    }

    pub(crate) fn class(&self) -> RpcClass {
        match self {
            Self::Append(_) | Self::Vote(_) | Self::PreVote(_) | Self::TransferLeader { .. } => {
                RpcClass::Consensus
            }
            Self::SnapshotOffer { .. }
            | Self::SnapshotPiece { .. }
            | Self::SnapshotInstall { .. }
            | Self::SnapshotWanted { .. }
            | Self::SnapshotRead { .. } => RpcClass::Snapshot,
            Self::Propose { .. } | Self::ReadIndex => RpcClass::Forward,
        }
    }
}

impl Response {
    pub(crate) fn encode(&self) -> Bytes {
        records::seal(RESPONSE_KIND, SCHEMA, self).into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ReplicaError> {
        records::open(RESPONSE_KIND, SCHEMA, "an answer of another node", bytes)
    }
}

impl Append {
    pub(crate) fn new(request: &AppendEntriesRequest<TypeConfig>, turn: Option<Turn>) -> Self {
        Self {
            turn,
            vote: (&request.vote).into(),
            previous: log_id_record(request.prev_log_id.as_ref()),
            committed: log_id_record(request.leader_commit.as_ref()),
            entries: request.entries.iter().map(EntryRecord::from).collect(),
        }
    }
}

impl TryFrom<Append> for AppendEntriesRequest<TypeConfig> {
    type Error = ReplicaError;

    fn try_from(append: Append) -> Result<Self, ReplicaError> {
        Ok(Self {
            vote: append.vote.into(),
            prev_log_id: append.previous.map(LogId::from),
            leader_commit: append.committed.map(LogId::from),
            entries: append
                .entries
                .into_iter()
                .map(EntryRecord::into_entry)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The last entry of a request, which is what a full success matches.
pub(crate) fn last_log_id(request: &AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
    request
        .entries
        .last()
        .map(|entry| entry.log_id)
        .or(request.prev_log_id)
}

impl From<StreamAppendResult<TypeConfig>> for AppendOutcome {
    fn from(result: StreamAppendResult<TypeConfig>) -> Self {
        match result {
            Ok(matched) => Self::Matched(log_id_record(matched.as_ref())),
            Err(StreamAppendError::Conflict(at)) => Self::Conflict((&at).into()),
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote((&vote).into()),
        }
    }
}

impl From<AppendOutcome> for StreamAppendResult<TypeConfig> {
    fn from(outcome: AppendOutcome) -> Self {
        match outcome {
            AppendOutcome::Matched(matched) => Ok(matched.map(LogId::from)),
            AppendOutcome::Conflict(at) => Err(StreamAppendError::Conflict(at.into())),
            AppendOutcome::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote.into())),
        }
    }
}

impl From<&VoteRequest<TypeConfig>> for Ballot {
    fn from(request: &VoteRequest<TypeConfig>) -> Self {
        Self {
            vote: (&request.vote).into(),
            last: log_id_record(request.last_log_id.as_ref()),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

impl From<Ballot> for VoteRequest<TypeConfig> {
    fn from(ballot: Ballot) -> Self {
        let mut request = Self::new(ballot.vote.into(), ballot.last.map(LogId::from));
        request.leadership_transfer = ballot.leadership_transfer;
        request
    }
}

impl From<VoteResponse<TypeConfig>> for Response {
    fn from(response: VoteResponse<TypeConfig>) -> Self {
        Self::Vote {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last: log_id_record(response.last_log_id.as_ref()),
        }
    }
}

/// A request of openraft to take over the leadership, as it is sent.
pub(crate) fn transfer_request(request: &TransferLeaderRequest<TypeConfig>) -> Request {
    Request::TransferLeader {
        from: request.from_leader().into(),
        to: request.to_node_id().0,
        last: log_id_record(request.last_log_id()),
    }
}

/// The opposite of [`transfer_request`].
pub(crate) fn read_transfer_request(
    from: VoteRecord,
    to: NodeId,
    last: Option<LogIdRecord>,
) -> TransferLeaderRequest<TypeConfig> {
    TransferLeaderRequest::new(from.into(), RaftId(to), last.map(LogId::from))
}

impl From<Result<(), TransferLeaderError<TypeConfig>>> for TransferOutcome {
    fn from(result: Result<(), TransferLeaderError<TypeConfig>>) -> Self {
        match result {
            Ok(()) => Self::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => Self::VoteChanged {
                expected: (&expected).into(),
                actual: (&actual).into(),
            },
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Self::LogNotFlushed {
                expected: log_id_record(expected.as_ref()),
                actual: log_id_record(actual.as_ref()),
            },
        }
    }
}

impl From<TransferOutcome> for Result<(), TransferLeaderError<TypeConfig>> {
    fn from(outcome: TransferOutcome) -> Self {
        match outcome {
            TransferOutcome::Accepted => Ok(()),
            TransferOutcome::VoteChanged { expected, actual } => Err(TransferLeaderError::VoteChanged {
                expected: expected.into(),
                actual: actual.into(),
            }),
            TransferOutcome::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(LogId::from),
                actual: actual.map(LogId::from),
            }),
        }
    }
}

/// A vote answer in openraft's form.
pub(crate) fn vote_response(
    vote: VoteRecord,
    granted: bool,
    last: Option<LogIdRecord>,
) -> VoteResponse<TypeConfig> {
    VoteResponse::new(Vote::from(vote), last.map(LogId::from), granted)
}

fn log_id_record(id: Option<&LogId>) -> Option<LogIdRecord> {
    id.map(LogIdRecord::from)
}
