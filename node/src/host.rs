//! What a node runs on, and how it comes up there: it founds a cluster, joins one, or goes on as a member of one.
//!
//! The daemon makes a host from a data directory and sockets ([`crate::open`]), a simulation makes one from memory;
//! what happens from then on is the same.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tetryx_environment::{Clock, Entropy, Io};
use tetryx_gossip::Gossip;
use tetryx_link::{Endpoint, Links, Roster as _};
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::join::{JoinRequest, Welcome};
use tetryx_protocol::ticket::JoinTicket;
use tetryx_raft::{AuditEvery, Compaction, DataFiles, Replica, ReplicaConfig};
use tetryx_state::query;
use tetryx_store::disk::Disk;
use tetryx_store::{ChunkStore, StoreConfig};

use crate::config::Config;
use crate::membership::{self, Check};
use crate::peers::{Advertisement, Dispatch, NodeRoster, RaftTransport};
use crate::secrets::{ClusterSecret, NodeKey};
use crate::{Node, NodeError, Parts, first_start, peers};

/// How long a start waits for a leader to say what this node has missed.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);
/// How often a node that waits for the cluster's state says so.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// What a node runs on.
#[derive(Debug)]
pub struct Host {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Where blocking work runs.
    pub io: Io,
    /// How long the log may grow.
    pub compaction: Compaction,
    /// The newest commands and records that this program understands.
    pub feature_level: u32,
    pub node_key: NodeKey,
    /// Who the other nodes are, as this one remembers them.
    pub roster: Arc<NodeRoster>,
    /// Where the replica keeps log and state.
    pub raft_files: Arc<dyn DataFiles>,
    /// Where the chunk store keeps its segments.
    pub store: Arc<dyn Disk>,
    /// Where the outbox keeps its journal.
    pub outbox: Arc<dyn Disk>,
    pub doors: Box<dyn Doors>,
    /// Who answers behind the doors, as soon as there is somebody.
    pub dispatch: Dispatch,
}

/// How a node reaches others, and how they reach it.
pub trait Doors: Send + Sync + Debug {
    /// The ways to other nodes.
    fn links(&self) -> Arc<dyn Links>;

    /// What the links go through, when it is this node's to close.
    fn endpoint(&self) -> Option<Endpoint>;

    /// Whether others are reached at all.
    fn is_open(&self) -> bool;

    /// Begins to gossip among the members of a cluster, unless that has begun; nothing where the doors are closed.
    fn open_gossip(&mut self, cluster: ClusterId) -> BoxFuture<'_, Result<(), NodeError>>;

    /// What is said among the members, once that is open.
    fn gossip(&self) -> Option<Arc<dyn Gossip>>;

    /// Where this node tells others it is.
    fn advertised(&self) -> Advertisement;
}

impl Host {
    /// Brings the node up on what is stored, or founds a cluster if nothing is. Others can reach it from then on.
    ///
    /// # Errors
    /// Whatever cannot be opened, by name.
    pub async fn start(mut self, cluster_secret: ClusterSecret) -> Result<Node, NodeError> {
        let founds = self.roster.cluster().is_none();
        let store = self.open_store().await?;
        let replica = self.open_replica().await?;
        self.dispatch.set_replica(replica.clone());
        if founds {
            let entropy = self.entropy.as_ref();
            first_start::found_cluster(&replica, &cluster_secret, self.feature_level, entropy).await?;
        } else {
            wait_for_state(&replica, self.doors.links().as_ref(), &self.roster).await?;
        }
        let cluster = query::cluster(&replica.view()?)?.ok_or(NodeError::NoCluster)?;
        self.doors.open_gossip(cluster.id).await?;
        let alone = replica.status().voters.iter().eq([&self.node_key.node_id()]);
        if alone {
            // It leads in a moment: do not begin with refusing changes.
            replica.wait_leader().await?;
        } else if !founds && self.doors.is_open() {
            // What was shown before the stop shows again; a node that is cut off serves what it has.
            match tokio::time::timeout(CATCH_UP_PATIENCE, replica.wait_caught_up()).await {
                Ok(caught_up) => caught_up?,
                Err(_) => tracing::warn!(
                    "no leader with a majority answers: this node serves what it has, which may be old"
                ),
            }
        }
        let node = Node::assemble(Parts {
            config: self.config,
            clock: self.clock,
            entropy: self.entropy,
            io: self.io,
            feature_level: self.feature_level,
            replica,
            store,
            outbox: self.outbox,
            node_key: self.node_key,
            cluster_secret,
            links: self.doors.links(),
            endpoint: self.doors.endpoint(),
            gossip: self.doors.gossip(),
            roster: self.roster,
            advertised: self.doors.advertised(),
        })?;
        self.dispatch.set_node(&node);
        if alone {
            membership::introduce(&node).await?;
        }
        Ok(node)
    }

    /// Makes the node a member of the cluster that the ticket is for, and waits until it has the cluster's state.
    /// `keep` stores the cluster's secret. Each check that passes is told.
    ///
    /// # Errors
    /// When the ticket or the node is refused, nobody answers, or something cannot be opened.
    pub async fn join(
        mut self,
        ticket: &JoinTicket,
        keep: impl FnOnce(&Welcome) -> Result<ClusterSecret, NodeError>,
        tell: &mut (dyn FnMut(Check) + Send),
    ) -> Result<Node, NodeError> {
        self.doors.open_gossip(ticket.cluster).await?;
        let name = self.config.name_or_host();
        let advertised = self.doors.advertised();
        let request = JoinRequest {
            cluster: ticket.cluster,
            secret: ticket.secret.clone(),
            name: name.clone(),
            zone: self.config.zone.as_str().to_owned(),
            addresses: advertised.addresses,
            gossip: advertised.gossip,
            http_url: advertised.http_url,
            weight: self.config.replication.weight,
            now: self.clock.utc(),
            feature_level: self.feature_level,
        };
        let links = self.doors.links();
        let asked =
            membership::join::ask_to_join(links.as_ref(), self.clock.as_ref(), ticket, &request, tell);
        let welcome = asked.await?;
        let (index, members) = (welcome.index, welcome.members.len());
        self.roster.join(
            welcome.cluster,
            welcome.epoch,
            welcome.index,
            welcome.members.clone(),
        )?;
        let secret = keep(&welcome)?;
        let zone = self
            .roster
            .member(self.node_key.node_id())
            .map_or_else(|| self.config.zone.as_str().to_owned(), |member| member.zone);
        // The invitation may name another zone than the configuration; this once it goes first.
        self.config.zone = zone.parse().unwrap_or(self.config.zone);
        tell(Check::Accepted { name, zone, members });
        let node = self.start(secret).await?;
        node.replica().wait_applied(index).await?;
        if node.cluster().token_public_key != ticket.token_public_key {
            return Err(NodeError::WrongCluster);
        }
        tell(Check::CaughtUp {
            index: node.replica().applied_index(),
        });
        Ok(node)
    }

    /// Opens the chunk store. After a crash this may take a while: it reads back what was being written.
    async fn open_store(&self) -> Result<Arc<ChunkStore>, NodeError> {
        let (disk, settings) = (Arc::clone(&self.store), store_config(&self.config));
        let opened = self.io.run(move || ChunkStore::open(disk, settings)).await?;
        Ok(Arc::new(opened?))
    }

    async fn open_replica(&self) -> Result<Replica, NodeError> {
        let replica = Replica::open(ReplicaConfig {
            node_id: self.node_key.node_id(),
            feature_level: self.feature_level,
            files: Arc::clone(&self.raft_files),
            io: self.io.clone(),
            profile: peers::profile(&self.config, &self.roster),
            compaction: self.compaction,
            audit: AuditEvery::new(self.config.raft.audit_every),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            transport: Arc::new(RaftTransport::new(self.doors.links())),
        });
        Ok(replica.await?)
    }
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
            biased;
            applied = replica.wait_applied(replica.applied_index() + 1) => {
                applied?;
            }
            () = nothing_came => tracing::warn!(
                "the cluster's state has not come yet; check that the other members are up and reach this node"
            ),
        }
    }
}

/// What the configuration says about the store.
pub fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        segment_bytes: config.store.segment_size.bytes(),
        index_cache_bytes: config.store.index_cache.bytes(),
        quota: config.store.quota.map(|quota| quota.bytes()),
        reserve: config.store.reserve.map(|reserve| reserve.bytes()),
        garbage_max_percent: config.gc.garbage_max_percent,
    }
}
