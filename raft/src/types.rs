//! openraft's type parameters, as this crate chooses them.
//!
//! # Invariants
//! - openraft's own serialisation is not compiled in: what goes to disk or to other nodes is in
//!   [`records`](crate::records) and [`wire`](crate::wire), so that a new openraft cannot change a format.

use std::fmt;

use bytes::Bytes;
use openraft::impls::TokioRuntime;
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::type_config::alias;
use tetryx_protocol::id::NodeId;
use tetryx_state::Reply;

use crate::machine::Machine;

openraft::declare_raft_types!(
    /// What this crate plugs into openraft.
    ///
    /// Election timeouts are drawn from a seed that [`Entropy`](tetryx_environment::Entropy) gave, see
    /// [`Replica::open`](crate::Replica::open).
    pub(crate) TypeConfig:
        D = Proposal,
        R = Answer,
        NodeId = RaftId,
        Node = (),
        AsyncRuntime = DeterministicRng<TokioRuntime>,
);

pub(crate) type Raft = openraft::Raft<TypeConfig, Machine>;
pub(crate) type LogId = alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = alias::VoteOf<TypeConfig>;
pub(crate) type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub(crate) type Entry = alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<RaftId, ()>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Metrics = alias::WatchReceiverOf<TypeConfig, openraft::RaftMetrics<TypeConfig>>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;

/// A [`NodeId`] as openraft's node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct RaftId(pub(crate) NodeId);

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// openraft's storage suite names nodes by number.
#[cfg(test)]
impl From<u64> for RaftId {
    fn from(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        Self(NodeId::from_bytes(bytes))
    }
}

/// A command of the state machine in its encoded form: it is decoded only where it is applied.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// The state machine's reply; `None` for entries that are not commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) Option<Reply>);
