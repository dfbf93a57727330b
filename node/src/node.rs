//! The node: its parts put together, and its work in the background.
//!
//! # Invariants
//! - Nothing here is global: two nodes in one process share nothing but what their [`Parts`] share.
//! - A task the node starts ends when the node shuts down.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tetryx_environment::{Clock, Entropy, Io};
use tetryx_gossip::Gossip;
use tetryx_link::{Endpoint, Links};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::Grants;
use tetryx_protocol::id::{NodeId, TokenId};
use tetryx_protocol::signature::NixSecretKey;
use tetryx_protocol::time::{Elapsed, UtcTime};
use tetryx_protocol::token::TokenClaims;
use tetryx_raft::Replica;
use tetryx_state::command::RegisterToken;
use tetryx_state::records::{CacheRecord, ClusterRecord};
use tetryx_state::{Body, Outcome, query};
use tetryx_store::ChunkStore;
use tetryx_store::disk::Disk;
use tetryx_transfer::{Budgets, ChunkServer, Fetcher};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Counts;
use crate::collect::CollectSummary;
use crate::config::{Config, Zone};
use crate::http::tokens::TokenDesk;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::peers::{Advertisement, NodeRoster};
use crate::replication::Replication;
use crate::retention::Accesses;
use crate::room::Room;
use crate::scrub::Scrub;
use crate::secrets::{ClusterSecret, NodeKey};
use crate::substituter::Substituter;
use crate::uploads::Uploads;
use crate::{
    NodeError, gc, membership, outbox, peers, presence, replication, retention, room, scrub, secrets,
};

/// What a node is made of. Production opens these from disk; a test or a simulation brings its own.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Where blocking work runs.
    pub io: Io,
    /// The newest commands and records that this program understands.
    pub feature_level: u32,
    /// A replica whose cluster exists and is applied here ([`crate::first_start::found_cluster`]).
    pub replica: Replica,
    pub store: Arc<ChunkStore>,
    /// Where the outbox keeps its journal; nobody else may use it.
    pub outbox: Arc<dyn Disk>,
    pub node_key: NodeKey,
    pub cluster_secret: ClusterSecret,
    /// The ways to other nodes; [`peers::NoLinks`] for a node alone.
    pub links: Arc<dyn Links>,
    /// What the links go through, when it is this node's to close.
    pub endpoint: Option<Endpoint>,
    /// What is said among the members without promise.
    pub gossip: Option<Arc<dyn Gossip>>,
    /// Who the other nodes are. The links go by the same roster.
    pub roster: Arc<NodeRoster>,
    /// Where this node tells others it is.
    pub advertised: Advertisement,
}

/// A running node. Cheap to clone; every request handler holds one.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    name: String,
    started: Elapsed,
    cluster: ClusterRecord,
    tokens: TokenDesk,
    signing_keys: Cache<Vec<u8>, Arc<NixSecretKey>>,
    metrics: Metrics,
    counts: Mutex<Option<(u64, Counts)>>,
    substituter: Substituter,
    uploads: Uploads,
    outbox: Outbox,
    chunk_server: ChunkServer,
    fetcher: Fetcher,
    replication: Replication,
    scrub: Scrub,
    room: Room,
    claims: presence::Claims,
    accesses: Accesses,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

/// A node that may have been dropped. What the node's own links hold, so that they do not keep it alive.
#[derive(Clone)]
pub(crate) struct WeakNode {
    inner: Weak<Inner>,
}

/// Unsealed signing keys kept in memory.
const SIGNING_KEYS_KEPT: usize = 256;
/// A token is valid from this long before it is issued.
const TOKEN_CLOCK_LEEWAY_MS: i64 = 60_000;

impl Node {
    /// Puts the parts together. Starts nothing: see [`Self::start_tasks`].
    ///
    /// # Errors
    /// When the replica holds no cluster yet, its keys were sealed under another secret, or the outbox cannot be read.
    pub fn assemble(parts: Parts) -> Result<Self, NodeError> {
        let cluster = query::cluster(&parts.replica.view()?)?.ok_or(NodeError::NoCluster)?;
        let tokens = TokenDesk::open(&cluster, &parts.cluster_secret)?;
        let inner = Inner {
            name: parts.config.name_or_host(),
            started: parts.clock.elapsed(),
            cluster,
            tokens,
            signing_keys: Cache::new(SIGNING_KEYS_KEPT),
            metrics: Metrics::new(),
            counts: Mutex::default(),
            substituter: Substituter::new(&parts.config),
            uploads: Uploads::new(&parts.config),
            outbox: Outbox::open(
                Arc::clone(&parts.outbox),
                parts.io.clone(),
                parts.entropy.as_ref(),
            )?,
            chunk_server: ChunkServer::new(Arc::clone(&parts.store), parts.io.clone()),
            fetcher: fetcher(&parts),
            replication: Replication::new(parts.clock.elapsed()),
            scrub: Scrub::default(),
            room: Room::default(),
            claims: presence::Claims::default(),
            accesses: Accesses::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            parts,
        };
        let node = Self {
            inner: Arc::new(inner),
        };
        peers::take_over(&node)?;
        Ok(node)
    }

    /// A handle that does not keep the node alive.
    pub(crate) fn downgrade(&self) -> WeakNode {
        WeakNode {
            inner: Arc::downgrade(&self.inner),
        }
    }

    /// The node's configuration, as started with.
    pub fn config(&self) -> &Config {
        &self.inner.parts.config
    }

    pub fn clock(&self) -> &dyn Clock {
        self.inner.parts.clock.as_ref()
    }

    pub fn entropy(&self) -> &dyn Entropy {
        self.inner.parts.entropy.as_ref()
    }

    /// Where work that blocks a thread runs.
    pub fn io(&self) -> &Io {
        &self.inner.parts.io
    }

    /// The newest commands and records that this program understands.
    pub fn feature_level(&self) -> u32 {
        self.inner.parts.feature_level
    }

    /// This node's identity.
    pub fn node_id(&self) -> NodeId {
        self.inner.parts.node_key.node_id()
    }

    pub(crate) fn cluster_secret(&self) -> &ClusterSecret {
        &self.inner.parts.cluster_secret
    }

    /// What people call this node.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Time since the node was assembled.
    pub(crate) fn uptime(&self) -> Duration {
        self.clock().elapsed().saturating_sub(self.inner.started)
    }

    /// What the state held when it was last counted, and at which index.
    pub(crate) fn counts(&self) -> &Mutex<Option<(u64, Counts)>> {
        &self.inner.counts
    }

    /// Whether [`Self::shutdown`] was called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// The replicated state, and the way to change it.
    pub fn replica(&self) -> &Replica {
        &self.inner.parts.replica
    }

    /// The chunks on this node's disk. Its calls block: use [`Self::io`].
    pub fn store(&self) -> &Arc<ChunkStore> {
        &self.inner.parts.store
    }

    /// The ways to other nodes.
    pub fn links(&self) -> &Arc<dyn Links> {
        &self.inner.parts.links
    }

    /// Who the members are, as far as this node knows.
    pub fn roster(&self) -> &Arc<NodeRoster> {
        &self.inner.parts.roster
    }

    /// What is said among the members without promise; nothing for a node alone.
    pub fn gossip(&self) -> Option<&dyn Gossip> {
        self.inner.parts.gossip.as_deref()
    }

    /// Brings chunks from other nodes into the store.
    pub fn fetcher(&self) -> &Fetcher {
        &self.inner.fetcher
    }

    /// What keeps every NAR on as many nodes as it should be.
    pub fn replication(&self) -> &Replication {
        &self.inner.replication
    }

    /// How far reading everything back is, and what it found.
    pub(crate) fn scrub(&self) -> &Scrub {
        &self.inner.scrub
    }

    /// What makes room on the disk.
    pub(crate) fn room(&self) -> &Room {
        &self.inner.room
    }

    /// What other members have denied to hold.
    pub(crate) fn claims(&self) -> &presence::Claims {
        &self.inner.claims
    }

    /// What was pulled here and the cluster does not know yet.
    pub(crate) fn accesses(&self) -> &Accesses {
        &self.inner.accesses
    }

    /// The pushes that wait for the cluster, and what became of others.
    pub fn outbox(&self) -> &Outbox {
        &self.inner.outbox
    }

    /// Hands chunks of the store to other nodes.
    pub(crate) fn chunk_server(&self) -> &ChunkServer {
        &self.inner.chunk_server
    }

    /// Bytes of chunks that other nodes have taken from this one since it started.
    pub fn chunk_bytes_sent(&self) -> u64 {
        self.inner.chunk_server.bytes_sent()
    }

    /// Where other nodes reach this one: data and control, then gossip. Nothing for a node alone.
    pub fn peer_addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let parts = &self.inner.parts;
        let links = parts.endpoint.as_ref()?.local_addr().ok()?;
        Some((links, parts.gossip.as_ref()?.listening()?))
    }

    /// Where this node tells others it is.
    pub(crate) fn advertised(&self) -> &Advertisement {
        &self.inner.parts.advertised
    }

    /// The failure zone this node is in: the configured one, or the one it was invited into.
    pub fn zone(&self) -> String {
        let configured = &self.config().zone;
        let invited = || Some(self.roster().member(self.node_id())?.zone);
        if *configured == Zone::default() {
            invited().unwrap_or_else(|| configured.as_str().to_owned())
        } else {
            configured.as_str().to_owned()
        }
    }

    /// Who this cluster is.
    pub(crate) fn cluster(&self) -> &ClusterRecord {
        &self.inner.cluster
    }

    /// Where tokens are signed and checked.
    pub(crate) fn tokens(&self) -> &TokenDesk {
        &self.inner.tokens
    }

    /// The counters and gauges that `/metrics` shows.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What the substituter routes keep between requests.
    pub(crate) fn substituter(&self) -> &Substituter {
        &self.inner.substituter
    }

    /// The open upload sessions.
    pub(crate) fn uploads(&self) -> &Uploads {
        &self.inner.uploads
    }

    /// The cache's signing key, unsealed; remembered by its sealed bytes, so a changed key is never stale.
    ///
    /// # Errors
    /// When the key was sealed under another cluster secret, or its record is damaged.
    pub fn signing_key(
        &self,
        record: &CacheRecord,
        name: &CacheName,
    ) -> Result<Arc<NixSecretKey>, NodeError> {
        let keys = &self.inner.signing_keys;
        if let Some(key) = keys.get(record.sealed_secret_key.as_slice()) {
            return Ok(key);
        }
        let key = Arc::new(secrets::unseal_signing_key(
            &self.inner.parts.cluster_secret,
            record,
            name,
        )?);
        keys.insert(record.sealed_secret_key.clone(), Arc::clone(&key));
        Ok(key)
    }
}

/// What fetches for a node made of these parts.
fn fetcher(parts: &Parts) -> Fetcher {
    let rate = parts.config.replication.background_rate;
    let budget = Budgets::per_peer(rate.and_then(|rate| NonZeroU64::new(rate.bytes_per_second())));
    let clock = Arc::clone(&parts.clock);
    Fetcher::new(
        Arc::clone(&parts.links),
        Arc::clone(&parts.store),
        parts.io.clone(),
        budget,
        Arc::new(move || clock.elapsed()),
    )
}

/// What the node does.
impl Node {
    /// Has the cluster do something on behalf of `by`, and waits until that is applied here. The index is that of
    /// the log entry.
    ///
    /// # Errors
    /// [`NodeError::Refused`] when the state does not allow it, [`NodeError::Propose`] when nobody could be asked.
    pub async fn propose(&self, by: &str, body: impl Into<Body>) -> Result<(u64, Outcome), NodeError> {
        let applied = self.replica().propose(by, body.into()).await?;
        let outcome = applied.reply.into_result()?;
        self.replica().wait_applied(applied.index).await?;
        Ok((applied.index, outcome))
    }

    /// Issues a token: registers it in the state, then signs it.
    ///
    /// # Errors
    /// Those of [`Self::propose`].
    pub async fn issue_token(
        &self,
        by: &str,
        subject: String,
        validity: Duration,
        grants: Grants,
    ) -> Result<(String, TokenClaims), NodeError> {
        let mut id = [0; 16];
        self.entropy().fill(&mut id);
        // Tokens carry whole seconds; a clock that lags a little elsewhere must not refuse a new token.
        let now = UtcTime::from_unix_ms(self.clock().utc().unix_ms().div_euclid(1000) * 1000);
        let claims = TokenClaims {
            token: TokenId::from_bytes(id),
            cluster: self.cluster().id,
            subject,
            issued: now,
            not_before: UtcTime::from_unix_ms(now.unix_ms() - TOKEN_CLOCK_LEEWAY_MS),
            expires: now.plus(Duration::from_secs(validity.as_secs())),
            grants,
        };
        let register = RegisterToken {
            token: claims.token,
            subject: claims.subject.clone(),
            grants: claims.grants.clone(),
            issued: claims.issued,
            expires: claims.expires,
        };
        self.propose(by, register).await?;
        Ok((self.tokens().sign(&claims), claims))
    }

    /// Starts the work in the background: the roster, the members of consensus, collections.
    pub fn start_tasks(&self) {
        self.spawn(peers::follow_state(self.clone()));
        self.spawn(peers::keep_current(self.clone()));
        self.spawn(membership::keep_introduced(self.clone()));
        self.spawn(membership::watch_own_state(self.clone()));
        self.spawn(membership::supervise(self.clone()));
        self.spawn(presence::announce(self.clone()));
        self.spawn(replication::run(self.clone()));
        self.spawn(outbox::run(self.clone()));
        self.spawn(room::watch(self.clone()));
        self.spawn(scrub::read_rounds(self.clone()));
        self.spawn(scrub::heal_damage(self.clone()));
        self.spawn(retention::note_accesses(self.clone()));
        self.spawn(gc::run(self.clone()));
    }

    /// Runs one garbage collection to its end: of what is over in the cluster, and of what this node need not hold.
    ///
    /// # Errors
    /// When log or store fail; what was collected until then stays collected. That the cluster cannot decide now is no
    /// error, and stands in the summary.
    pub async fn collect_once(&self) -> Result<CollectSummary, NodeError> {
        gc::once(self).await
    }

    /// Runs a task until it ends or the node stops, whichever is first.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.inner.stopping.clone();
        self.inner.tasks.spawn(async move {
            stopping.run_until_cancelled(task).await;
        });
    }

    /// Ends the background work, tells the other nodes, and closes log and store. HTTP must be closed before.
    ///
    /// # Errors
    /// When the store cannot make its last writes durable.
    pub async fn shutdown(&self) -> Result<(), NodeError> {
        self.inner.stopping.cancel();
        membership::hand_over_leadership(self).await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(gossip) = self.gossip() {
            gossip.shutdown().await;
        }
        if let Some(endpoint) = &self.inner.parts.endpoint {
            endpoint.close().await;
        }
        let store = Arc::clone(self.store());
        self.io().run(move || store.close()).await??;
        self.replica().shutdown().await;
        Ok(())
    }
}

impl WeakNode {
    /// The node, unless it was dropped.
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.inner.upgrade().map(|inner| Node { inner })
    }
}

impl fmt::Debug for WeakNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakNode").finish_non_exhaustive()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}
