//! What a simulated node is started from, again and again: a disk, a clock, a source of chance, a configuration.

use std::sync::Arc;
use std::time::Duration;

use tetryx_environment::{Entropy, Io};
use tetryx_link::Links;
use tetryx_link::memory::Hub;
use tetryx_node::config::Config;
use tetryx_node::http::router::router;
use tetryx_node::peers::{Advertisement, Dispatch, NoLinks, NodeRoster, RaftTransport};
use tetryx_node::secrets::{ClusterSecret, NodeKey};
use tetryx_node::{Node, Parts, first_start, host};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::id::NodeId;
use tetryx_raft::{AuditEvery, Compaction, Profile, Replica, ReplicaConfig};
use tetryx_state::query;
use tetryx_store::ChunkStore;
use tetryx_store::disk::MemoryDisk;

use crate::disk::Folder;
use crate::environment::{TestClock, TestEntropy};
use crate::node::TestNode;

/// What a node is started from, again and again.
#[derive(Clone, Debug)]
pub struct Machine {
    pub disk: Arc<MemoryDisk>,
    pub clock: Arc<TestClock>,
    entropy: Arc<TestEntropy>,
    pub config: Config,
    /// Which of the nodes of one world it is: its key follows from that.
    number: u8,
    /// What connects it with others.
    hub: Option<Hub>,
    /// What it remembers of the others while it does not run.
    pub roster: Arc<NodeRoster>,
}

impl Machine {
    /// An empty machine; `change` adjusts the default configuration.
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(1, None, Arc::default(), Arc::default(), change)
    }

    /// An empty machine at the same hub, under the same clock, with chance from the same source.
    pub fn beside(&self, number: u8, change: impl FnOnce(&mut Config)) -> Self {
        let (clock, entropy) = (Arc::clone(&self.clock), Arc::clone(&self.entropy));
        Self::with(number, self.hub.clone(), clock, entropy, change)
    }

    /// An empty machine that can be reached through the hub.
    pub fn at(hub: &Hub, number: u8, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(number, Some(hub.clone()), Arc::default(), Arc::default(), change)
    }

    fn with(
        number: u8,
        hub: Option<Hub>,
        clock: Arc<TestClock>,
        entropy: Arc<TestEntropy>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config {
            name: Some(match hub {
                Some(_) => format!("node-{number}"),
                None => "test".to_owned(),
            }),
            ..Config::default()
        };
        change(&mut config);
        let node = key(number).node_id();
        Self {
            disk: Arc::new(MemoryDisk::new()),
            clock,
            entropy,
            roster: Arc::new(NodeRoster::in_memory(node, config.p2p.clone())),
            config,
            number,
            hub,
        }
    }

    /// Who its node is.
    pub fn node_id(&self) -> NodeId {
        key(self.number).node_id()
    }

    /// Its links, with somebody behind them who answers as soon as there is a node.
    pub(crate) fn connect(&self) -> (Arc<dyn Links>, Dispatch) {
        let dispatch = Dispatch::default();
        let Some(hub) = &self.hub else {
            return (Arc::new(NoLinks), dispatch);
        };
        let links = hub.join_with_roster(self.node_id(), self.roster.as_roster());
        links.serve(Arc::new(dispatch.clone()));
        (links, dispatch)
    }

    /// Starts the node on what the disk holds; founds a cluster if that is nothing.
    pub async fn start(&self) -> TestNode {
        let (links, dispatch) = self.connect();
        self.start_with(links, dispatch).await
    }

    pub(crate) async fn start_with(&self, links: Arc<dyn Links>, dispatch: Dispatch) -> TestNode {
        let node_key = key(self.number);
        let cluster_secret = ClusterSecret::from_bytes(&[2; 32]);
        let entropy: Arc<dyn Entropy> = Arc::clone(&self.entropy) as _;
        let folder = Folder::new(&self.disk, "chunks/");
        let store = ChunkStore::open(folder, host::store_config(&self.config)).expect("the store opens");
        let replica = Replica::open(ReplicaConfig {
            node_id: node_key.node_id(),
            files: Folder::new(&self.disk, "raft/"),
            io: Io::inline(),
            feature_level: first_start::FEATURE_LEVEL,
            profile: Profile::Lan,
            compaction: Compaction::default(),
            audit: AuditEvery::default(),
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&entropy),
            transport: Arc::new(RaftTransport::new(Arc::clone(&links))),
        })
        .await
        .expect("the replica opens");
        dispatch.set_replica(replica.clone());
        let is_joining = self.number > 1;
        if is_joining {
            self.wait_for_cluster(&replica).await;
        } else {
            first_start::found_cluster(
                &replica,
                &cluster_secret,
                first_start::FEATURE_LEVEL,
                entropy.as_ref(),
            )
            .await
            .expect("the cluster exists");
        }
        let node = Node::assemble(Parts {
            config: self.config.clone(),
            clock: Arc::clone(&self.clock) as _,
            entropy,
            io: Io::inline(),
            feature_level: first_start::FEATURE_LEVEL,
            replica,
            store: Arc::new(store),
            outbox: Folder::new(&self.disk, "outbox/"),
            node_key,
            cluster_secret,
            links,
            endpoint: None,
            gossip: None,
            roster: Arc::clone(&self.roster),
            advertised: Advertisement::default(),
        })
        .expect("the node is assembled");
        dispatch.set_node(&node);
        let year = Duration::from_secs(365 * 24 * 3600);
        let root = if is_joining {
            // A cluster has one root token; the founder's counts everywhere.
            String::new()
        } else {
            let issued = node
                .issue_token("test", "root".to_owned(), year, Grants::admin())
                .await;
            issued.expect("a token").0
        };
        TestNode {
            app: router(node.clone()),
            node,
            root,
            machine: self.clone(),
        }
    }

    async fn wait_for_cluster(&self, replica: &Replica) {
        loop {
            let view = replica.view().expect("the replica runs");
            if query::cluster(&view).expect("the state is read").is_some() {
                return;
            }
            let next = view.applied_index() + 1;
            replica.wait_applied(next).await.expect("the replica runs");
        }
    }
}

fn key(number: u8) -> NodeKey {
    NodeKey::from_seed(&[number; 32])
}
