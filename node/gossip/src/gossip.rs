//! The handle: what the rest of the node sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::driver::{self, Order};
use crate::{GossipError, Timing};

/// Who may take part, and where they are. Asked again every second and on [`Gossip::roster_changed`].
pub trait GossipRoster: Send + Sync + fmt::Debug + 'static {
    /// Every member, with the addresses where it listens for gossip: `host:port`, UDP, best first. A member without
    /// addresses may connect but is not dialled. This node may be among them.
    fn members(&self) -> Vec<(NodeId, Vec<String>)>;

    /// Whether the node is a member now: asked when somebody knocks that [`Self::members`] did not name.
    fn is_member(&self, node: NodeId) -> bool;
}

/// What [`Gossip::start`] needs.
pub struct GossipConfig {
    /// The seed of the node's ed25519 key.
    pub key_seed: Zeroizing<[u8; 32]>,
    /// Presences of other clusters are not heard.
    pub cluster: ClusterId,
    /// The UDP port. An unspecified IPv6 address listens on IPv4 as well. Port 0 takes any free one.
    pub listen: SocketAddr,
    pub roster: Arc<dyn GossipRoster>,
    /// Whether to look for members on the local network. Only members are dialled; the network sees this node's key
    /// and port.
    pub mdns: bool,
    pub timing: Timing,
    /// The process's monotonic clock.
    pub elapsed: Arc<dyn Fn() -> Elapsed + Send + Sync>,
}

/// The last presence of every other member that was heard since this node started.
pub type Presences = Arc<BTreeMap<NodeId, Seen>>;

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

/// A running overlay. Ends when [`Self::shutdown`] is called or the handle is dropped.
pub struct Gossip {
    orders: mpsc::UnboundedSender<Order>,
    presences: watch::Receiver<Presences>,
    connected: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    listen_addr: SocketAddr,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    ended: watch::Receiver<bool>,
}

impl Gossip {
    /// Binds the port and starts the thread that runs the overlay.
    ///
    /// # Errors
    /// [`GossipError`]: the port cannot be had, the key is none, or the thread cannot be made.
    pub async fn start(config: GossipConfig) -> Result<Self, GossipError> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (presences_in, presences) = watch::channel(Presences::default());
        let (connected_in, connected) = watch::channel(Arc::default());
        let (ended_in, ended) = watch::channel(false);
        let (ready, started) = oneshot::channel();
        let board = driver::Board {
            presences: presences_in,
            connected: connected_in,
        };
        let thread = std::thread::Builder::new()
            .name("gossip".to_owned())
            .spawn(move || {
                driver::run(config, ready, inbox, board);
                ended_in.send_replace(true);
            })
            .map_err(|source| GossipError::Thread { source })?;
        let listen_addr = started.await.map_err(|_| GossipError::Ended)??;
        Ok(Self {
            orders,
            presences,
            connected,
            listen_addr,
            thread: Mutex::new(Some(thread)),
            ended,
        })
    }

    /// Tells all members. The presence must be of this node, and its number higher than the last one's. Until the
    /// next call it is also told to members that connect later. At most two a second reach anybody in the long run.
    pub fn announce(&self, presence: Presence) {
        self.order(Order::Announce(Box::new(presence)));
    }

    /// What was last heard of every other member. An old one says so by its age; it is not removed while its node is
    /// a member and behaves.
    pub fn presences(&self) -> Presences {
        Arc::clone(&self.presences.borrow())
    }

    /// [`Self::presences`], to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Presences> {
        self.presences.clone()
    }

    /// The members that are connected now.
    pub fn connected(&self) -> Arc<BTreeSet<NodeId>> {
        Arc::clone(&self.connected.borrow())
    }

    /// [`Self::connected`], to wait for changes.
    pub fn watch_connected(&self) -> watch::Receiver<Arc<BTreeSet<NodeId>>> {
        self.connected.clone()
    }

    /// Has the roster read again now.
    pub fn roster_changed(&self) {
        self.order(Order::RosterChanged);
    }

    /// The member does not hold what its digest says, far beyond the digest's own error. A few of these within minutes
    /// drop it for a while, and its presence with it.
    pub fn report_false_claim(&self, node: NodeId) {
        self.order(Order::FalseClaim(node));
    }

    /// Derives all timers from this round trip, the longest measured between members. Does nothing while the present
    /// timers fit; otherwise the connections are made anew.
    pub fn retime(&self, rtt: Duration) {
        self.order(Order::Retime(rtt));
    }

    /// Where it listens: the configured address with the port that was taken.
    pub const fn listen_addr(&self) -> SocketAddr {
        self.listen_addr
    }

    /// Says goodbye to the members and frees the port.
    pub async fn shutdown(&self) {
        self.order(Order::Shutdown);
        // An error means that the thread has ended and taken its end of the channel along.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(
                "the gossip thread panicked; the node works without presence until it is restarted"
            );
        }
    }

    /// Orders to a thread that has ended are void.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("listen_addr", &self.listen_addr)
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for GossipConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipConfig")
            .field("cluster", &self.cluster)
            .field("listen", &self.listen)
            .field("mdns", &self.mdns)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}
