//! The stored and sent forms of what openraft keeps: log ids, votes, memberships and entries.
//!
//! Format: postcard, positional. A log entry is sealed in an envelope of kind `TXLE`; the fields of every record are
//! fixed for schema 1, and a change is a new schema (`docs/wire.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use openraft::EntryPayload;
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use tetryx_protocol::envelope::{self, EnvelopeError};
use tetryx_protocol::id::NodeId;

use crate::error::ReplicaError;
use crate::types::{Entry, LeaderId, LogId, Membership, Proposal, RaftId, StoredMembership, Vote};

const ENTRY_KIND: [u8; 4] = *b"TXLE";
const ENTRY_SCHEMA: u16 = 1;

/// Bytes that postcard writes as one block.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BlobVisitor;

        impl Visitor<'_> for BlobVisitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
        }

        deserializer.deserialize_bytes(BlobVisitor)
    }
}

/// Where an entry stands in the log, and under which leader it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    term: u64,
    leader: NodeId,
    index: u64,
}

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> Self {
        Self {
            term: id.leader_id.term,
            leader: id.leader_id.node_id.0,
            index: id.index,
        }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        Self {
            leader_id: LeaderId {
                term: record.term,
                node_id: RaftId(record.leader),
            },
            index: record.index,
        }
    }
}

/// Whom a node has voted for in which term, and whether a majority did so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    term: u64,
    node: NodeId,
    committed: bool,
}

impl From<&Vote> for VoteRecord {
    fn from(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id.0,
            committed: vote.committed,
        }
    }
}

impl From<VoteRecord> for Vote {
    fn from(record: VoteRecord) -> Self {
        Self {
            leader_id: LeaderId {
                term: record.term,
                node_id: RaftId(record.node),
            },
            committed: record.committed,
        }
    }
}

/// Who votes (two sets while the members change) and who follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    voters: Vec<BTreeSet<NodeId>>,
    members: BTreeSet<NodeId>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership
                .get_joint_config()
                .iter()
                .map(|voters| voters.iter().map(|id| id.0).collect())
                .collect(),
            members: membership.nodes().map(|(id, ())| id.0).collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = ReplicaError;

    fn try_from(record: MembershipRecord) -> Result<Self, ReplicaError> {
        if record.voters.is_empty() && record.members.is_empty() {
            return Ok(Self::default());
        }
        let voters = record
            .voters
            .into_iter()
            .map(|set| set.into_iter().map(RaftId).collect())
            .collect();
        let members: BTreeMap<RaftId, ()> = record.members.into_iter().map(|id| (RaftId(id), ())).collect();
        Self::new(voters, members).map_err(|error| ReplicaError::damaged("a list of members", error))
    }
}

/// A membership and the entry that brought it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMembershipRecord {
    log_id: Option<LogIdRecord>,
    membership: MembershipRecord,
}

impl From<&StoredMembership> for StoredMembershipRecord {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            log_id: stored.log_id().as_ref().map(LogIdRecord::from),
            membership: stored.membership().into(),
        }
    }
}

impl TryFrom<StoredMembershipRecord> for StoredMembership {
    type Error = ReplicaError;

    fn try_from(record: StoredMembershipRecord) -> Result<Self, ReplicaError> {
        Ok(Self::new(
            record.log_id.map(LogId::from),
            record.membership.try_into()?,
        ))
    }
}

/// What an entry says. Append-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum PayloadRecord {
    Blank,
    Command(Blob),
    Membership(MembershipRecord),
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryRecord {
    log_id: LogIdRecord,
    payload: PayloadRecord,
}

impl From<&Entry> for EntryRecord {
    fn from(entry: &Entry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => PayloadRecord::Blank,
            EntryPayload::Normal(proposal) => PayloadRecord::Command(Blob(proposal.0.clone())),
            EntryPayload::Membership(membership) => PayloadRecord::Membership(membership.into()),
        };
        Self {
            log_id: (&entry.log_id).into(),
            payload,
        }
    }
}

impl EntryRecord {
    /// The entry this is the record of.
    pub(crate) fn into_entry(self) -> Result<Entry, ReplicaError> {
        let payload = match self.payload {
            PayloadRecord::Blank => EntryPayload::Blank,
            PayloadRecord::Command(blob) => EntryPayload::Normal(Proposal(blob.0)),
            PayloadRecord::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Entry {
            log_id: self.log_id.into(),
            payload,
        })
    }
}

/// An entry as it is stored.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    seal(ENTRY_KIND, ENTRY_SCHEMA, &EntryRecord::from(entry))
}

/// The entry that [`encode_entry`] made these bytes from.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, ReplicaError> {
    open::<EntryRecord>(ENTRY_KIND, ENTRY_SCHEMA, "a log entry", bytes)?.into_entry()
}

/// Seals a record in an envelope that only readers of this schema open.
pub(crate) fn seal(kind: [u8; 4], schema: u16, record: &impl Serialize) -> Vec<u8> {
    let payload =
        postcard::to_allocvec(record).expect("records are finite and postcard writes them into memory");
    envelope::seal(kind, schema, schema, &payload)
}

/// Opens what [`seal`] made. `what` names it in errors.
pub(crate) fn open<T: for<'de> Deserialize<'de>>(
    kind: [u8; 4],
    schema: u16,
    what: &str,
    bytes: &[u8],
) -> Result<T, ReplicaError> {
    let (_, payload) = envelope::open(kind, schema, bytes).map_err(|error| match error {
        EnvelopeError::NeedsUpgrade { .. } => ReplicaError::NeedsUpgrade {
            what: what.to_owned(),
        },
        other => ReplicaError::damaged(what, other),
    })?;
    match postcard::take_from_bytes(payload) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(ReplicaError::damaged(
            what,
            format!("{} bytes too many", rest.len()),
        )),
        Err(error) => Err(ReplicaError::damaged(what, error)),
    }
}
