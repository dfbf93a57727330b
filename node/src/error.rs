//! What can go wrong in the daemon, outside a single request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::ConfigError;

/// A failure of the node: to start, to run, or to reach its own parts.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    #[error("the configuration cannot be used")]
    Config(#[source] ConfigError),
    #[error("no place for the node's {what}: neither {variable} nor HOME is set; pass {flag} or set one of them")]
    NoHome { what: &'static str, variable: &'static str, flag: &'static str },
    #[error("{action} {path} failed; check that the folder exists, is writable by this user and has space")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another tetryx-node uses {path}; stop it, or give this one another folder with --data-dir")]
    DataDirInUse { path: PathBuf },
    #[error("{address} is already in use; stop what listens there, or choose another address with --listen")]
    AddressInUse { address: SocketAddr },
    #[error("cannot listen on {address}; choose an address of this machine with --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{path} does not hold {what}; restore the file from a backup")]
    BadSecretFile { path: PathBuf, what: &'static str },
    #[error("the sealed {what} does not open with this node's cluster secret; restore cluster.secret from a backup")]
    Unseal { what: String },
    #[error("the replicated state cannot be read")]
    Replica(#[source] tetryx_raft::ReplicaError),
    #[error("the cluster refused a command it must accept: {0}")]
    Refused(String),
    #[error("the chunk store failed")]
    Store(#[source] tetryx_store::StoreError),
}
