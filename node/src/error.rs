//! What can go wrong in the daemon, outside a single request.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tetryx_environment::WorkPanicked;
use tetryx_gossip::GossipError;
use tetryx_link::LinkError;
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::join::JoinRefusal;
use tetryx_protocol::ticket::TicketError;
use tetryx_state::{Refusal, StateError};
use tetryx_store::StoreError;
use thiserror::Error as ThisError;

use crate::config::ConfigError;
use crate::outbox::OutboxError;
use crate::replication::NotEnoughCopies;

/// A failure of the node: to start, to run, or to reach its own parts.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum NodeError {
    #[error("the configuration cannot be used")]
    Config(#[source] ConfigError),
    #[error(
        "there is no place for the node's {what}: neither {variable} nor HOME is an absolute path; pass {flag}"
    )]
    NoHome {
        what: &'static str,
        variable: &'static str,
        flag: &'static str,
    },
    #[error("{action} {path} failed; check that its folder exists, belongs to this user and has space", path = path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("another tetryx-node uses {path}; stop that one, or give this one a folder of its own with --data-dir", path = path.display())]
    DataDirInUse { path: PathBuf },
    #[error(
        "{address} is in use; stop the program that listens there, or choose another address with --listen"
    )]
    AddressInUse { address: SocketAddr },
    #[error("cannot listen on {address}; choose an address of this machine with --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{path} does not hold a {label}; restore it from a backup", path = path.display())]
    BadSecretFile { path: PathBuf, label: &'static str },
    #[error("{path} is missing, and the data beside it cannot be used without; restore it from a backup", path = path.display())]
    SecretLost { path: PathBuf },
    #[error("{path} can be read by other users; run 'chmod 600 {path}', and replace the secret if others had access", path = path.display())]
    SecretExposed { path: PathBuf },
    #[error(
        "the sealed {what} does not open with this node's cluster.secret; restore that file from a backup"
    )]
    Unseal { what: String },
    #[error("the replicated log failed")]
    Replica(#[from] tetryx_raft::ReplicaError),
    #[error("a command could not be committed")]
    Propose(#[from] tetryx_raft::ProposeError),
    /// The text of the refusal says it all.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the replicated state cannot be read")]
    State(#[source] Box<dyn Error + Send + Sync>),
    #[error("this replica holds no cluster yet; start it with tetryx-node run")]
    NoCluster,
    #[error("{path} cannot be used: {reason}; restore it from a backup", path = path.display())]
    BadRoster { path: PathBuf, reason: String },
    #[error("the ticket cannot be used")]
    Ticket(#[source] TicketError),
    #[error("the cluster refused this node")]
    JoinRefused(#[source] JoinRefusal),
    #[error("no member of the cluster could be asked ({tried}); check that UDP reaches them, and join again")]
    NobodyToJoin { tried: String },
    #[error(
        "{path} belongs to cluster {cluster} already; start it with 'tetryx-node run', or join with an empty folder by --data-dir", path = path.display()
    )]
    AlreadyInCluster { path: PathBuf, cluster: ClusterId },
    #[error(
        "{path} holds the data of a node already; start it with 'tetryx-node run', or join with an empty folder by --data-dir", path = path.display()
    )]
    DataDirUsed { path: PathBuf },
    #[error(
        "joining cluster {cluster} was cut off; run 'tetryx-node join TICKET' again, with the same ticket"
    )]
    JoinUnfinished { cluster: ClusterId },
    #[error(
        "the replicated log is missing from {path}, where it was before: a node that forgot what it voted for must not come back; restore it, or join with an empty folder", path = path.display()
    )]
    LogLost { path: PathBuf },
    #[error("{path} holds no cluster that could be recovered; name the data directory with --data-dir", path = path.display())]
    NothingToRecover { path: PathBuf },
    #[error("the cluster that answered is not the one of the ticket: it signs tokens with another key")]
    WrongCluster,
    #[error("the links to other nodes cannot be opened")]
    Link(#[from] LinkError),
    #[error("gossip with other nodes cannot begin")]
    Gossip(#[from] GossipError),
    /// What is missing says it all.
    #[error(transparent)]
    NotEnoughCopies(#[from] NotEnoughCopies),
    #[error("{why}")]
    Busy { why: String },
    #[error(
        "no room for {needed} bytes: {free} may still be stored ({limit}); raise store.quota or give the node more disk, run a collection with 'tetryx-node gc --once', or shorten the retention of caches"
    )]
    NoRoom { needed: u64, free: u64, limit: String },
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("the chunk store failed")]
    Store(#[source] Box<StoreError>),
    #[error("the running node could not do it: {why}")]
    Control { why: String },
    #[error("a task of the node ended without a result")]
    Task(#[from] WorkPanicked),
}

impl NodeError {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl NodeError {
    /// The error with its causes, on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl<E: Error + Send + Sync + 'static> From<StateError<E>> for NodeError {
    fn from(error: StateError<E>) -> Self {
        Self::State(Box::new(error))
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
