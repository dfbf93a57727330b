//! The one error type of this crate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tetryx_protocol::id::NodeId;

/// Why something between two nodes did not work.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The request was certainly not carried out: there is no way to the node at the moment. Try again later.
    #[error("no connection to node {}: {reason}", node.fmt_short())]
    Unreachable {
        /// The node that was called.
        node: NodeId,
        /// What was tried, and what came of it.
        reason: String,
    },
    /// The request may or may not have been carried out.
    #[error("no answer from node {}: {reason}", node.fmt_short())]
    NoAnswer {
        /// The node that was called.
        node: NodeId,
        /// What broke.
        reason: String,
    },
    /// The other side declined, in its own words.
    #[error("refused by node {}: {reason}", node.fmt_short())]
    Refused {
        /// The node that was called.
        node: NodeId,
        /// What it said.
        reason: String,
    },
    /// A request or an answer is longer than what the receiver takes.
    #[error("{len} bytes or more with node {}, and at most {max} are taken; ask for less at once", node.fmt_short())]
    TooLarge {
        /// The other node.
        node: NodeId,
        /// The length as far as it is known, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// An open stream broke: it was reset, stopped, or its connection is gone.
    #[error("stream with node {} broke: {reason}", node.fmt_short())]
    Broken {
        /// The other node.
        node: NodeId,
        /// What broke.
        reason: String,
    },
    /// The UDP socket cannot be had.
    #[error("cannot listen on UDP {address}; choose another address with p2p.listen")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The key cannot be used for TLS.
    #[error("the node's key cannot be used for TLS")]
    Key(#[source] Arc<rustls::Error>),
}
