//! openraft under the Tetryx state machine: durable log and state, snapshots, proposals.
//!
//! [`Replica`] is one member of the cluster. It is assembled from files ([`DataFiles`]), a way to the other members
//! ([`transport::Transport`]), a clock and a source of randomness (`tetryx_environment`), and it is the same for a cluster
//! of one as for one of seven. What the cluster agrees on is the state of `tetryx-state`; a [`StateView`] reads it.
//!
//! # Invariants
//! - A proposal whose reply was given survives the crash of any minority of the voters.
//! - What a [`StateView`] shows is committed: durable in the logs of a majority. This node's own copy of it is made
//!   durable later, so that after a crash a view may show an earlier state, until the log is applied again.
//! - openraft's types stay in this crate, and its formats out of files and messages.
//!
//! # Non-goals
//! - Who may propose what, and who may be a member: the node above decides, and authenticates its peers.
//! - Measuring links: the node above chooses the [`Profile`].

mod appends;
mod audit;
mod compaction;
mod data;
mod error;
mod log_store;
mod machine;
mod membership;
mod network;
mod observe;
mod patience;
mod profile;
mod propose;
mod reads;
mod rebuild;
mod records;
mod recover;
mod replica;
mod rpc;
mod seeds;
mod snapshot;
mod state_store;
mod status;
pub mod supervisor;
mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transfers;
pub mod transport;
mod types;
mod view;
mod wire;

pub use self::audit::{AuditEvery, Audited, Divergence};
pub use self::compaction::Compaction;
pub use self::data::{DataFiles, DirectoryFiles};
pub use self::error::{ProposeError, ReadError, ReplicaError};
pub use self::observe::{EntryKind, EntryMark, LogPosition, Observation, ObservedVote, Queues};
pub use self::profile::Profile;
pub use self::propose::Applied;
pub use self::reads::{Freshness, ReadLevel};
pub use self::recover::{Inspection, RecoverConfig, Recovered, inspect, recover};
pub use self::replica::{Replica, ReplicaConfig};
pub use self::status::{ReplicaRole, ReplicaStatus};
pub use self::supervisor::Patience;
pub use self::transport::{NoPeers, RpcClass, Transport, TransportError};
pub use self::view::StateView;
/// What [`DataFiles`] hand out: a file that redb, and the snapshots, read and write.
pub use redb::StorageBackend;

/// The largest piece of a snapshot that travels in one call, in bytes.
pub const SNAPSHOT_PIECE_MAX: usize = 256 * 1024;
