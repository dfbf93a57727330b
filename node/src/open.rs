//! Opening a node from its data directory: to found a cluster, to join one, or to go on as a member of one.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tetryx_environment::{Clock, Entropy, Io};
use tetryx_gossip::{Gossip, GossipConfig, Overlay};
use tetryx_link::{Endpoint, LinkConfig, LinkError, Links, Roster};
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::join::Welcome;
use tetryx_protocol::ticket::JoinTicket;
use tetryx_raft::{Compaction, DirectoryFiles};
use tetryx_store::disk::{Disk, RealDisk};
use zeroize::Zeroizing;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::SystemEntropy;
use crate::host::{Doors, Host};
use crate::membership::Check;
use crate::peers::{Advertisement, Dispatch, NoLinks, NodeRoster, RosterFile, advertise};
use crate::places::DataDir;
use crate::secrets::{ClusterSecret, NodeKey};
use crate::{Node, NodeError, first_start, presence};

/// Opens everything in the directory, making on the way what a first start makes, and assembles the node. Others can
/// reach it from then on.
///
/// # Errors
/// Whatever cannot be opened, by name.
pub async fn open(config: Config, data_dir: &DataDir) -> Result<Node, NodeError> {
    let ground = Ground::new(&config, data_dir)?;
    let sockets = Sockets::open(&config, &ground)?;
    let dispatch = sockets.dispatch.clone();
    let secret = ground.cluster_secret(data_dir)?;
    let host = ground.host(config, data_dir, Box::new(sockets), dispatch)?;
    host.start(secret).await
}

/// [`open`], out of reach of others: for work on the data of a node that does not run.
///
/// # Errors
/// As [`open`].
pub async fn open_offline(config: Config, data_dir: &DataDir) -> Result<Node, NodeError> {
    let ground = Ground::new(&config, data_dir)?;
    let secret = ground.cluster_secret(data_dir)?;
    let host = ground.host(config, data_dir, Box::new(Closed), Dispatch::default())?;
    host.start(secret).await
}

/// Makes the node of an empty directory a member of the cluster that the ticket is for, and waits until it has the
/// cluster's state. Each check that passes is told.
///
/// # Errors
/// When the directory is not empty, the ticket or the node is refused, or nobody answers.
pub async fn join(
    config: Config,
    data_dir: &DataDir,
    ticket: &str,
    tell: &mut (dyn FnMut(Check) + Send),
) -> Result<Node, NodeError> {
    let ticket: JoinTicket = ticket.parse().map_err(NodeError::Ticket)?;
    let ground = Ground::new(&config, data_dir)?;
    ground.refuse_if_used(data_dir)?;
    let sockets = Sockets::open(&config, &ground)?;
    let dispatch = sockets.dispatch.clone();
    let host = ground.host(config, data_dir, Box::new(sockets), dispatch)?;
    let keep = |welcome: &Welcome| {
        // The tokens of a cluster are its root's business: the node that founded it has shown one.
        first_start::mark_shown(data_dir.path())?;
        ClusterSecret::keep(data_dir, &welcome.cluster_secret)
    };
    host.join(&ticket, keep, tell).await
}

/// What every way of opening a node begins with.
struct Ground {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    node_key: NodeKey,
    roster: Arc<NodeRoster>,
}

impl Ground {
    fn new(config: &Config, data_dir: &DataDir) -> Result<Self, NodeError> {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let node_key = NodeKey::load_or_create(data_dir, entropy.as_ref())?;
        let file = RosterFile::in_dir(data_dir.path());
        let roster = NodeRoster::load(node_key.node_id(), config.p2p.clone(), file)?;
        Ok(Self {
            clock: Arc::new(SystemClock::new()),
            entropy,
            node_key,
            roster: Arc::new(roster),
        })
    }

    /// A directory that holds a node stays what it is. One in which a join was cut off can join again.
    fn refuse_if_used(&self, data_dir: &DataDir) -> Result<(), NodeError> {
        let path = data_dir.path().to_owned();
        let joined = ClusterSecret::load(data_dir)?.is_some();
        match self.roster.cluster() {
            Some((cluster, _)) if joined => Err(NodeError::AlreadyInCluster { path, cluster }),
            _ if holds_files(&data_dir.raft()) => Err(NodeError::DataDirUsed { path }),
            _ => Ok(()),
        }
    }

    /// The secret that is there; a new one only where there is no cluster yet.
    fn cluster_secret(&self, data_dir: &DataDir) -> Result<ClusterSecret, NodeError> {
        let Some((cluster, _)) = self.roster.cluster() else {
            return ClusterSecret::load_or_create(data_dir, self.entropy.as_ref());
        };
        if self.roster.has_state() {
            if !data_dir.raft().exists() {
                return Err(NodeError::LogLost {
                    path: data_dir.raft(),
                });
            }
            return ClusterSecret::load_or_create(data_dir, self.entropy.as_ref());
        }
        ClusterSecret::load(data_dir)?.ok_or(NodeError::JoinUnfinished { cluster })
    }

    fn host(
        self,
        config: Config,
        data_dir: &DataDir,
        doors: Box<dyn Doors>,
        dispatch: Dispatch,
    ) -> Result<Host, NodeError> {
        let raft = data_dir.raft();
        let raft_files =
            DirectoryFiles::new(&raft).map_err(|source| NodeError::file("opening", &raft, source))?;
        Ok(Host {
            config,
            clock: self.clock,
            entropy: self.entropy,
            io: Io::pool(),
            compaction: Compaction::default(),
            feature_level: first_start::FEATURE_LEVEL,
            node_key: self.node_key,
            roster: self.roster,
            raft_files: Arc::new(raft_files),
            store: disk(data_dir.store())?,
            outbox: disk(data_dir.outbox())?,
            doors,
            dispatch,
        })
    }
}

/// Whether there is anything in a folder. A join that was refused leaves its folders empty.
fn holds_files(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Takes a folder into use.
fn disk(path: PathBuf) -> Result<Arc<dyn Disk>, NodeError> {
    let disk = RealDisk::new(path.clone()).map_err(|source| NodeError::file("opening", &path, source))?;
    Ok(Arc::new(disk))
}

/// The doors of a node that nobody reaches.
#[derive(Debug)]
struct Closed;

impl Doors for Closed {
    fn links(&self) -> Arc<dyn Links> {
        Arc::new(NoLinks)
    }

    fn endpoint(&self) -> Option<Endpoint> {
        None
    }

    fn is_open(&self) -> bool {
        false
    }

    fn open_gossip(&mut self, _cluster: ClusterId) -> BoxFuture<'_, Result<(), NodeError>> {
        async { Ok(()) }.boxed()
    }

    fn gossip(&self) -> Option<Arc<dyn Gossip>> {
        None
    }

    fn advertised(&self) -> Advertisement {
        Advertisement::default()
    }
}

/// The sockets for other nodes, and who answers behind them.
#[derive(Debug)]
struct Sockets {
    endpoint: Endpoint,
    overlay: Option<Arc<Overlay>>,
    dispatch: Dispatch,
    advertised: Advertisement,
    /// What gossip is opened with.
    config: Config,
    key_seed: Zeroizing<[u8; 32]>,
    roster: Arc<NodeRoster>,
    clock: Arc<dyn Clock>,
}

impl Sockets {
    /// Opens the socket for data and control. Whoever knocks waits until there is somebody to answer.
    fn open(config: &Config, ground: &Ground) -> Result<Self, NodeError> {
        let bind = |listen: SocketAddr| {
            Endpoint::bind(LinkConfig {
                key: ground.node_key.signing_key(),
                listen,
                roster: ground.roster.as_roster(),
            })
        };
        let endpoint = match bind(config.p2p.listen) {
            // A machine without IPv6.
            Err(LinkError::Bind { .. }) if is_everything(config.p2p.listen) => {
                bind((Ipv4Addr::UNSPECIFIED, config.p2p.listen.port()).into())?
            }
            bound => bound?,
        };
        let dispatch = Dispatch::default();
        endpoint.serve(Arc::new(dispatch.clone()));
        Ok(Self {
            endpoint,
            overlay: None,
            dispatch,
            advertised: Advertisement::default(),
            config: config.clone(),
            key_seed: ground.node_key.seed(),
            roster: Arc::clone(&ground.roster),
            clock: Arc::clone(&ground.clock),
        })
    }

    /// Opens the socket for gossip, which is heard among the members of one cluster only, and finds out what to
    /// tell others.
    async fn start_overlay(&mut self, cluster: ClusterId) -> Result<(), NodeError> {
        if self.overlay.is_some() {
            return Ok(());
        }
        let (config, clock) = (&self.config, Arc::clone(&self.clock));
        let overlay = Overlay::start(GossipConfig {
            key_seed: self.key_seed.clone(),
            cluster,
            listen: config.p2p.gossip_listen,
            roster: Arc::clone(&self.roster) as _,
            mdns: config.p2p.mdns && !config.p2p.gossip_listen.ip().is_loopback(),
            timing: presence::timing(config),
            elapsed: Arc::new(move || clock.elapsed()),
        })
        .await?;
        let listened = self.endpoint.local_addr().map_err(|source| NodeError::Listen {
            address: config.p2p.listen,
            source,
        })?;
        self.advertised = advertise(config, listened, overlay.listen_addr());
        self.overlay = Some(Arc::new(overlay));
        Ok(())
    }
}

impl Doors for Sockets {
    fn links(&self) -> Arc<dyn Links> {
        Arc::new(self.endpoint.clone())
    }

    fn endpoint(&self) -> Option<Endpoint> {
        Some(self.endpoint.clone())
    }

    fn is_open(&self) -> bool {
        true
    }

    fn open_gossip(&mut self, cluster: ClusterId) -> BoxFuture<'_, Result<(), NodeError>> {
        self.start_overlay(cluster).boxed()
    }

    fn gossip(&self) -> Option<Arc<dyn Gossip>> {
        self.overlay.clone().map(|overlay| overlay as _)
    }

    fn advertised(&self) -> Advertisement {
        self.advertised.clone()
    }
}

/// Whether the address is `[::]`.
fn is_everything(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}
