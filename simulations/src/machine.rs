//! What a simulated node is started from, again and again: a disk, a clock, a source of chance, a configuration.

use std::sync::Arc;
use std::time::Duration;

use tetryx_node::config::Config;
use tetryx_node::http::router::router;
use tetryx_node::secrets::{ClusterSecret, NodeKey};
use tetryx_node::{Node, Parts, first_start, open};
use tetryx_protocol::grant::Grants;
use tetryx_raft::environment::Entropy;
use tetryx_raft::transport::NoPeers;
use tetryx_raft::{Compaction, Io, Profile, Replica, ReplicaConfig};
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
}

impl Machine {
    /// An empty machine; `change` adjusts the default configuration.
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            name: Some("test".to_owned()),
            ..Config::default()
        };
        change(&mut config);
        Self {
            disk: Arc::new(MemoryDisk::new()),
            clock: Arc::default(),
            entropy: Arc::default(),
            config,
        }
    }

    /// Starts the node on what the disk holds.
    pub async fn start(&self) -> TestNode {
        let node_key = NodeKey::from_seed(&[1; 32]);
        let cluster_secret = ClusterSecret::from_bytes(&[2; 32]);
        let entropy: Arc<dyn Entropy> = Arc::clone(&self.entropy) as _;
        let folder = Folder::new(&self.disk, "chunks/");
        let store = ChunkStore::open(folder, open::store_config(&self.config)).expect("the store opens");
        let replica = Replica::open(ReplicaConfig {
            node_id: node_key.node_id(),
            files: Folder::new(&self.disk, "raft/"),
            io: Io::Inline,
            profile: Profile::Lan,
            compaction: Compaction::default(),
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&entropy),
            transport: Arc::new(NoPeers),
        })
        .await
        .expect("the replica opens");
        first_start::found_cluster(&replica, &cluster_secret, entropy.as_ref())
            .await
            .expect("the cluster exists");
        let node = Node::assemble(Parts {
            config: self.config.clone(),
            clock: Arc::clone(&self.clock) as _,
            entropy,
            replica,
            store: Arc::new(store),
            node_key,
            cluster_secret,
        })
        .expect("the node is assembled");
        let year = Duration::from_secs(365 * 24 * 3600);
        let (root, _) = node
            .issue_token("test", "root".to_owned(), year, Grants::admin())
            .await
            .expect("a token");
        TestNode {
            app: router(node.clone()),
            node,
            root,
            machine: self.clone(),
        }
    }
}
