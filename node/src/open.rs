//! Opening a node from its data directory: to found a cluster, to join one, or to go on as a member of one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tetryx_gossip::{Gossip, GossipConfig};
use tetryx_link::{Endpoint, LinkConfig, LinkError, Links, Roster};
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::join::JoinRequest;
use tetryx_protocol::ticket::JoinTicket;
use tetryx_raft::environment::{Clock, Entropy};
use tetryx_raft::{AuditEvery, Compaction, DirectoryFiles, Io, Replica, ReplicaConfig};
use tetryx_state::query;
use tetryx_store::disk::{Disk, RealDisk};
use tetryx_store::{ChunkStore, StoreConfig};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::entropy::SystemEntropy;
use crate::membership::{self, Check};
use crate::peers::{Advertisement, Dispatch, NoLinks, NodeRoster, RaftTransport, RosterFile, advertise};
use crate::places::DataDir;
use crate::secrets::{ClusterSecret, NodeKey};
use crate::{Node, NodeError, Parts, first_start, peers, presence};

/// How long a start waits for a leader to say what this node has missed.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);
/// How often a node that waits for the cluster's state says so.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// Opens everything in the directory, making on the way what a first start makes, and assembles the node. Others can
/// reach it from then on.
///
/// # Errors
/// Whatever cannot be opened, by name.
pub async fn open(config: Config, data_dir: &DataDir) -> Result<Node, NodeError> {
    let ground = Ground::new(&config, data_dir)?;
    let doors = Doors::open(&config, &ground)?;
    let secret = ground.cluster_secret(data_dir)?;
    ground.assemble(config, data_dir, doors, secret).await
}

/// [`open`], out of reach of others: for work on the data of a node that does not run.
///
/// # Errors
/// As [`open`].
pub async fn open_offline(config: Config, data_dir: &DataDir) -> Result<Node, NodeError> {
    let ground = Ground::new(&config, data_dir)?;
    let secret = ground.cluster_secret(data_dir)?;
    ground.assemble(config, data_dir, Doors::closed(), secret).await
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
    let mut config = config;
    let mut doors = Doors::open(&config, &ground)?;
    doors.gossip(&config, &ground, ticket.cluster).await?;
    let name = config.name_or_host();
    let request = JoinRequest {
        cluster: ticket.cluster,
        secret: ticket.secret.clone(),
        name: name.clone(),
        zone: config.zone.as_str().to_owned(),
        addresses: doors.advertised.addresses.clone(),
        gossip: doors.advertised.gossip.clone(),
        http_url: doors.advertised.http_url.clone(),
        weight: config.replication.weight,
        now: ground.clock.utc(),
        feature_level: first_start::FEATURE_LEVEL,
    };
    let links = doors.links.as_ref();
    let welcome =
        membership::join::ask_to_join(links, ground.clock.as_ref(), &ticket, &request, tell).await?;
    // The tokens of a cluster are its root's business: the node that founded it has shown one.
    first_start::mark_shown(data_dir.path())?;
    let members = welcome.members.len();
    ground
        .roster
        .join(welcome.cluster, welcome.epoch, welcome.index, welcome.members)?;
    let secret = ClusterSecret::keep(data_dir, &welcome.cluster_secret)?;
    let zone = ground
        .roster
        .member(ground.node_key.node_id())
        .map_or_else(|| config.zone.as_str().to_owned(), |member| member.zone);
    // The invitation may name another zone than the configuration; this once it goes first.
    config.zone = zone.parse().unwrap_or(config.zone);
    tell(Check::Accepted { name, zone, members });
    let node = ground.assemble(config, data_dir, doors, secret).await?;
    node.replica().wait_applied(welcome.index).await?;
    if node.cluster().token_public_key != ticket.token_public_key {
        return Err(NodeError::WrongCluster);
    }
    tell(Check::CaughtUp {
        index: node.replica().applied_index(),
    });
    Ok(node)
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
            _ if data_dir.raft().exists() => Err(NodeError::DataDirUsed { path }),
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

    async fn assemble(
        self,
        config: Config,
        data_dir: &DataDir,
        mut doors: Doors,
        cluster_secret: ClusterSecret,
    ) -> Result<Node, NodeError> {
        let founds = self.roster.cluster().is_none();
        let store = open_store(&config, data_dir).await?;
        let replica = self.open_replica(&config, data_dir, &doors).await?;
        doors.dispatch.set_replica(replica.clone());
        if founds {
            first_start::found_cluster(&replica, &cluster_secret, self.entropy.as_ref()).await?;
        } else {
            wait_for_state(&replica, doors.links.as_ref(), &self.roster).await?;
        }
        let cluster = query::cluster(&replica.view()?)?.ok_or(NodeError::NoCluster)?;
        doors.gossip(&config, &self, cluster.id).await?;
        let alone = replica.status().voters.iter().eq([&self.node_key.node_id()]);
        if alone {
            // It leads in a moment: do not begin with refusing changes.
            replica.wait_leader().await?;
        } else if !founds && doors.endpoint.is_some() {
            // What was shown before the stop shows again; a node that is cut off serves what it has.
            match tokio::time::timeout(CATCH_UP_PATIENCE, replica.wait_caught_up()).await {
                Ok(caught_up) => caught_up?,
                Err(_) => tracing::warn!(
                    "no leader with a majority answers: this node serves what it has, which may be old"
                ),
            }
        }
        let node = Node::assemble(Parts {
            config,
            clock: self.clock,
            entropy: self.entropy,
            replica,
            store,
            outbox: open_outbox(data_dir)?,
            node_key: self.node_key,
            cluster_secret,
            links: doors.links,
            endpoint: doors.endpoint,
            gossip: doors.gossip,
            roster: self.roster,
            advertised: doors.advertised,
        })?;
        doors.dispatch.set_node(&node);
        if alone {
            membership::introduce(&node).await?;
        }
        Ok(node)
    }

    async fn open_replica(
        &self,
        config: &Config,
        data_dir: &DataDir,
        doors: &Doors,
    ) -> Result<Replica, NodeError> {
        let path = data_dir.raft();
        let files = DirectoryFiles::new(&path).map_err(|source| NodeError::file("opening", &path, source))?;
        let replica = Replica::open(ReplicaConfig {
            node_id: self.node_key.node_id(),
            files: Arc::new(files),
            io: Io::Pool,
            profile: peers::profile(config, &self.roster),
            compaction: Compaction::default(),
            audit: AuditEvery::new(config.raft.audit_every),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            transport: Arc::new(RaftTransport::new(Arc::clone(&doors.links))),
        });
        Ok(replica.await?)
    }
}

/// The sockets for other nodes, and who answers behind them.
struct Doors {
    links: Arc<dyn Links>,
    endpoint: Option<Endpoint>,
    gossip: Option<Gossip>,
    dispatch: Dispatch,
    advertised: Advertisement,
}

impl Doors {
    fn closed() -> Self {
        Self {
            links: Arc::new(NoLinks),
            endpoint: None,
            gossip: None,
            dispatch: Dispatch::default(),
            advertised: Advertisement::default(),
        }
    }

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
            links: Arc::new(endpoint.clone()),
            endpoint: Some(endpoint),
            dispatch,
            ..Self::closed()
        })
    }

    /// Opens the socket for gossip, which is heard among the members of one cluster only, and finds out what to
    /// tell others. Nothing where the door is closed, or open already.
    async fn gossip(
        &mut self,
        config: &Config,
        ground: &Ground,
        cluster: ClusterId,
    ) -> Result<(), NodeError> {
        let Some(endpoint) = self.endpoint.as_ref().filter(|_| self.gossip.is_none()) else {
            return Ok(());
        };
        let clock = Arc::clone(&ground.clock);
        let gossip = Gossip::start(GossipConfig {
            key_seed: ground.node_key.seed(),
            cluster,
            listen: config.p2p.gossip_listen,
            roster: Arc::clone(&ground.roster) as _,
            mdns: config.p2p.mdns && !config.p2p.gossip_listen.ip().is_loopback(),
            timing: presence::timing(config),
            elapsed: Arc::new(move || clock.elapsed()),
        })
        .await?;
        let listened = endpoint.local_addr().map_err(|source| NodeError::Listen {
            address: config.p2p.listen,
            source,
        })?;
        self.advertised = advertise(config, listened, gossip.listen_addr());
        self.gossip = Some(gossip);
        Ok(())
    }
}

/// Whether the address is `[::]`.
fn is_everything(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Waits until the leader has sent what the cluster is.
async fn wait_for_state(replica: &Replica, links: &dyn Links, roster: &NodeRoster) -> Result<(), NodeError> {
    loop {
        if query::cluster(&replica.view()?)?.is_some() {
            return Ok(());
        }
        let nothing_came = async {
            peers::greet(links, roster.others()).await;
            tokio::time::sleep(STILL_WAITING).await;
        };
        tokio::select! {
            applied = replica.wait_applied(replica.applied_index() + 1) => {
                applied?;
            }
            () = nothing_came => tracing::warn!(
                "the cluster's state has not come yet; check that the other members are up and reach this node"
            ),
        }
    }
}

/// Opens the chunk store. After a crash this may take a while: it reads back what was being written.
async fn open_store(config: &Config, data_dir: &DataDir) -> Result<Arc<ChunkStore>, NodeError> {
    let path = data_dir.store();
    let settings = store_config(config);
    let open = move || {
        let disk = RealDisk::new(path.clone()).map_err(|source| NodeError::file("opening", &path, source))?;
        ChunkStore::open(Arc::new(disk), settings)
            .map(Arc::new)
            .map_err(NodeError::from)
    };
    tokio::task::spawn_blocking(open).await?
}

/// Takes the folder of the outbox into use.
fn open_outbox(data_dir: &DataDir) -> Result<Arc<dyn Disk>, NodeError> {
    let path = data_dir.outbox();
    let disk = RealDisk::new(path.clone()).map_err(|source| NodeError::file("opening", &path, source))?;
    Ok(Arc::new(disk))
}

/// What the configuration says about the store.
pub fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        segment_bytes: config.store.segment_size.bytes(),
        index_cache_bytes: config.store.index_cache.bytes(),
        quota: config.store.quota.map(|quota| quota.bytes()),
    }
}
