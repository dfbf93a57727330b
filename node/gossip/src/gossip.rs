//! What the rest of the node sees of gossip, whatever carries it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;
use tokio::sync::watch;

/// A running overlay: [`Overlay`](crate::Overlay) in production, [`memory::Mesh`](crate::memory::Mesh) in a
/// simulation.
pub trait Gossip: Send + Sync + fmt::Debug {
    /// Tells all members. The presence must be of this node, and its number higher than the last one's. Until the
    /// next call it is also told to members that connect later. At most two a second reach anybody in the long run.
    fn announce(&self, presence: Presence);

    /// What was last heard of every other member. An old one says so by its age; it is not removed while its node is
    /// a member and behaves.
    fn presences(&self) -> Presences;

    /// The members that are connected now.
    fn connected(&self) -> Connected;

    /// [`Self::connected`], to wait for changes.
    fn watch_connected(&self) -> watch::Receiver<Connected>;

    /// The member does not hold what its digest says, far beyond the digest's own error. A few of these within minutes
    /// drop it for a while, and its presence with it.
    fn report_false_claim(&self, node: NodeId);

    /// Derives all timers from this round trip, the longest measured between members. Does nothing while the present
    /// timers fit; otherwise the connections are made anew.
    fn retime(&self, rtt: Duration);

    /// Where it listens, if it does: the configured address with the port that was taken.
    fn listening(&self) -> Option<SocketAddr>;

    /// Says goodbye to the members, and lets go of what it held.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Who may take part, and where they are. Asked again every second.
pub trait GossipRoster: Send + Sync + fmt::Debug + 'static {
    /// Every member, with the addresses where it listens for gossip: `host:port`, UDP, best first. A member without
    /// addresses may connect but is not dialled. This node may be among them.
    fn members(&self) -> Vec<(NodeId, Vec<String>)>;

    /// Changes with what [`Self::members`] says, so that nobody has to compare it; `None` where nobody counts.
    fn version(&self) -> Option<u64> {
        None
    }

    /// Whether the node is a member now: asked when somebody knocks that [`Self::members`] did not name.
    fn is_member(&self, node: NodeId) -> bool;
}

/// The last presence of every other member that was heard since this node started.
pub type Presences = Arc<BTreeMap<NodeId, Seen>>;

/// The members that are connected.
pub type Connected = Arc<BTreeSet<NodeId>>;

/// A presence, and when it was heard.
#[derive(Clone, Debug)]
pub struct Seen {
    pub presence: Arc<Presence>,
    /// By this process's monotonic clock.
    pub heard: Elapsed,
}

impl Seen {
    /// How long ago it was heard.
    pub fn age(&self, now: Elapsed) -> Duration {
        now.saturating_sub(self.heard)
    }
}
