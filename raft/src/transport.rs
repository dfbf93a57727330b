//! How a replica's requests reach the other replicas.
//!
//! The replica serialises what it wants to say and hands over bytes; whoever owns the sockets carries them to the
//! named node, calls [`Replica::handle_rpc`](crate::Replica::handle_rpc) there, and brings the answer back.
//!
//! # Invariants
//! - The transport authenticates: bytes handed to `handle_rpc` come from a member of the cluster.
//! - A call is delivered at most once. It may be lost, and its answer may be lost.
//!
//! # Non-goals
//! - Deadlines. The caller drops the future when it has waited long enough; dropping must not leak.

use std::fmt::Debug;

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_protocol::id::NodeId;

/// What a call carries, so that a transport can choose a connection and a priority for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RpcClass {
    /// Votes, heartbeats and log entries: small, and elections depend on their latency.
    Consensus,
    /// A piece of a snapshot, at most [`SNAPSHOT_PIECE_MAX`](crate::SNAPSHOT_PIECE_MAX) bytes and a small header:
    /// bulk, must not delay [`RpcClass::Consensus`].
    Snapshot,
    /// A proposal or question forwarded to the leader on behalf of a client.
    Forward,
}

/// Carries a request to another node and brings back its answer.
pub trait Transport: Send + Sync + Debug {
    /// Calls [`Replica::handle_rpc`](crate::Replica::handle_rpc) on node `to` and returns what it answers.
    ///
    /// # Errors
    /// [`TransportError`] tells whether the request can have been carried out.
    fn call(
        &self,
        to: NodeId,
        class: RpcClass,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Why a call brought no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The request was certainly not carried out: there is no way to the node at the moment.
    #[error("no connection to node {node}: {reason}")]
    Unreachable {
        /// The node that was called.
        node: NodeId,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// The request may or may not have been carried out.
    #[error("no answer from node {node}: {reason}")]
    NoAnswer {
        /// The node that was called.
        node: NodeId,
        /// What broke.
        reason: String,
    },
}

/// The transport of a node that knows no other: every call fails at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn call(
        &self,
        to: NodeId,
        _class: RpcClass,
        _body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let error = TransportError::Unreachable {
            node: to,
            reason: "this node has no peers configured".to_owned(),
        };
        Box::pin(std::future::ready(Err(error)))
    }
}
