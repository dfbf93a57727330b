//! The handle of the overlay over libp2p.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use crate::driver::{self, Order};
use crate::{Connected, Gossip, GossipError, GossipRoster, Presences, Timing};

/// What [`Overlay::start`] needs.
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

/// Presence over libp2p. Ends when [`Gossip::shutdown`] is called or the handle is dropped.
pub struct Overlay {
    orders: mpsc::UnboundedSender<Order>,
    presences: watch::Receiver<Presences>,
    connected: watch::Receiver<Connected>,
    listen_addr: SocketAddr,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    ended: watch::Receiver<bool>,
}

impl Overlay {
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

    /// [`Gossip::presences`], to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Presences> {
        self.presences.clone()
    }

    /// Has the roster read again now.
    pub fn roster_changed(&self) {
        self.order(Order::RosterChanged);
    }

    /// Where it listens: the configured address with the port that was taken.
    pub const fn listen_addr(&self) -> SocketAddr {
        self.listen_addr
    }

    /// Orders to a thread that has ended are void.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

impl Gossip for Overlay {
    fn announce(&self, presence: Presence) {
        self.order(Order::Announce(Box::new(presence)));
    }

    fn presences(&self) -> Presences {
        Arc::clone(&self.presences.borrow())
    }

    fn connected(&self) -> Connected {
        Arc::clone(&self.connected.borrow())
    }

    fn watch_connected(&self) -> watch::Receiver<Connected> {
        self.connected.clone()
    }

    fn report_false_claim(&self, node: NodeId) {
        self.order(Order::FalseClaim(node));
    }

    fn retime(&self, rtt: Duration) {
        self.order(Order::Retime(rtt));
    }

    fn listening(&self) -> Option<SocketAddr> {
        Some(self.listen_addr)
    }

    /// Returns when the port is free.
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
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
        })
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
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
