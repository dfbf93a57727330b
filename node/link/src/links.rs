//! The traits between this crate and everything above it.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_protocol::id::{ClusterId, NodeId};

use crate::{Channel, LinkError, Service};

/// The most bytes that a call's request or answer may have.
pub const CALL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most bytes of a [`Handler::call`]'s reason that travel to the caller; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 4096;

/// What the caller is told if the handler's answer is longer than [`CALL_BYTES_MAX`].
pub(crate) fn answer_too_long(len: usize) -> String {
    format!("the answer has {len} bytes, and at most {CALL_BYTES_MAX} are sent; ask for less at once")
}

/// The ways from this node to the others.
///
/// Two implementations: [`Endpoint`](crate::Endpoint) over QUIC, and [`memory::Hub`](crate::memory::Hub) within a
/// process. Every future is its own task's business: dropping it gives up waiting, and leaks nothing.
pub trait Links: Send + Sync + Debug + 'static {
    /// One request, one answer, on a stream of their own; each at most [`CALL_BYTES_MAX`] bytes.
    ///
    /// There is no deadline besides the connection's own idle timeout: the caller drops the future when it has
    /// waited long enough. The other side's handler then still runs to its end, and its answer is thrown away.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`]: the request was certainly not carried out. [`LinkError::NoAnswer`]: unknown.
    /// [`LinkError::Refused`]: the other side declined, and says why; a handler's own refusal says in its words what
    /// was done, and one of the whole connection leaves that open. [`LinkError::TooLarge`]: nothing was sent.
    fn call(&self, to: NodeId, service: Service, body: Bytes)
    -> BoxFuture<'static, Result<Bytes, LinkError>>;

    /// Opens a stream in both directions. The other side's [`Handler::open`] gets the other end.
    ///
    /// # Errors
    /// As [`Links::call`]. A refusal may also show up later, as [`LinkError::Refused`] of the first read.
    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'static, Result<Channel, LinkError>>;

    /// A call to a node that is not in the roster yet, at the given addresses (`host:port`, best first).
    ///
    /// For joiners: the other side is authenticated by `expect` alone, on a connection used for nothing else.
    ///
    /// # Errors
    /// As [`Links::call`]. A node with another key than `expect` counts as unreachable.
    fn call_stranger(
        &self,
        addresses: Vec<String>,
        expect: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>>;

    /// The state of the path to a node; `None` if there is no connection at the moment.
    fn path(&self, to: NodeId) -> Option<PathInfo>;

    /// Drops every connection with a node, such as one that was removed. A later call dials again.
    fn forget(&self, node: NodeId);
}

/// What a connection knows of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathInfo {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// Packets sent since the connection was made.
    pub packets_sent: u64,
    /// Packets of those that were taken for lost.
    pub packets_lost: u64,
    /// The congestion window of the connection for chunks, or of the one measured, in bytes.
    pub congestion_window: u64,
    /// How long the connection has stood.
    pub connected_for: Duration,
}

/// Answers what other nodes ask of this one.
///
/// # Invariants
/// - `from` has proved that it holds the key of that id, and is a member, except with [`Service::Join`].
/// - A handler that was started runs to its end, unless the endpoint is closed or dropped. Deadlines are its own
///   business.
pub trait Handler: Send + Sync + Debug + 'static {
    /// Answers a call. `Err(reason)` becomes [`LinkError::Refused`] at the caller.
    fn call(&self, from: NodeId, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;

    /// Serves a stream until it is done with it.
    fn open(&self, from: NodeId, service: Service, channel: Channel) -> BoxFuture<'static, ()>;
}

/// What an endpoint has to know of the cluster. Asked often: answers come from memory.
pub trait Roster: Send + Sync + Debug + 'static {
    /// The cluster that this node belongs to, and its epoch; `None` before it has joined one.
    fn cluster(&self) -> Option<(ClusterId, u64)>;

    /// Whether a node may talk to this one.
    fn admission(&self, node: NodeId) -> Admission;

    /// Where a node can be reached, as `host:port`, best first.
    fn addresses(&self, node: NodeId) -> Vec<String>;

    /// What is configured for the link to a node.
    fn link_settings(&self, node: NodeId) -> LinkSettings {
        let _ = node;
        LinkSettings::default()
    }

    /// A node that this roster does not know has knocked, with a proven key: the roster may be out of date.
    fn knocked(&self, node: NodeId) {
        let _ = node;
    }
}

/// What a roster says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is a member, draining or not.
    Member,
    /// It was a member, and its key is refused for ever.
    Removed,
    /// The roster has never heard of it.
    Unknown,
}

/// What is known of a link beforehand. Both empty: measured, with cubic until the round trip turns out long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// The rate of the bottleneck, in bits per second. Given, the paced controller sends no faster.
    pub rate: Option<u64>,
    /// The round-trip time to assume until it is measured.
    pub rtt: Option<Duration>,
    /// How to find the speed to send at.
    pub congestion: Congestion,
}

/// How a connection finds the speed to send at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Congestion {
    /// [`Congestion::Paced`] where a rate is configured or the round trip is longer than 200 ms, else
    /// [`Congestion::Cubic`].
    #[default]
    Auto,
    /// As TCP does: every loss is taken for congestion.
    Cubic,
    /// Quinn's BBR. For comparison: it is not maintained.
    Bbr,
    /// Our own, for long or lossy paths: at the configured or probed rate, backing off on growing delay and on loss
    /// well above the link's own.
    Paced,
}
