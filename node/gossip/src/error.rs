//! Why gossip cannot start.

use std::io;
use std::net::SocketAddr;

/// Why [`Overlay::start`](crate::Overlay::start) failed. A gossip that has started does not fail: it tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// The UDP port cannot be had.
    #[error(
        "cannot listen for gossip on {listen} (UDP); is another process using the port, or is the address not this \
         machine's? Change p2p.gossip_listen, or stop the other process"
    )]
    Listen {
        /// Where it should have listened.
        listen: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The key's seed was not one of ed25519.
    #[error("the node's key cannot be used for gossip: {reason}; restore node.key from a backup")]
    Key { reason: String },
    /// The thread or its runtime could not be made.
    #[error("cannot start the gossip thread; is the limit on threads or open files reached?")]
    Thread {
        #[source]
        source: io::Error,
    },
    /// The thread ended before it was listening.
    #[error("the gossip thread ended while starting; the log above says why")]
    Ended,
}
