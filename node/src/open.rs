//! Opening a node from its data directory.

use std::sync::Arc;

use tetryx_raft::environment::{Clock, Entropy};
use tetryx_raft::{Compaction, DirectoryFiles, Io, NoPeers, Profile, Replica, ReplicaConfig};
use tetryx_store::disk::RealDisk;
use tetryx_store::{ChunkStore, StoreConfig};

use crate::clock::SystemClock;
use crate::config::{Config, RaftProfile};
use crate::entropy::SystemEntropy;
use crate::places::DataDir;
use crate::secrets::{ClusterSecret, NodeKey};
use crate::{Node, NodeError, Parts, first_start};

/// Opens everything in the directory, making on the way what a first start makes, and assembles the node.
///
/// # Errors
/// Whatever cannot be opened, by name.
pub async fn open(config: Config, data_dir: &DataDir) -> Result<Node, NodeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let node_key = NodeKey::load_or_create(data_dir, entropy.as_ref())?;
    let cluster_secret = ClusterSecret::load_or_create(data_dir, entropy.as_ref())?;
    let store = open_store(&config, data_dir).await?;
    let replica = open_replica(
        &config,
        data_dir,
        &node_key,
        Arc::clone(&clock),
        Arc::clone(&entropy),
    )
    .await?;
    first_start::found_cluster(&replica, &cluster_secret, entropy.as_ref()).await?;
    if replica.status().voters.iter().eq([&node_key.node_id()]) {
        // It leads in a moment: do not begin with refusing changes.
        replica.wait_leader().await?;
    }
    let node = Node::assemble(Parts {
        config,
        clock,
        entropy,
        replica,
        store,
        node_key,
        cluster_secret,
    })?;
    match first_start::introduce(&node).await {
        // A member that is cut off serves what it has; the cluster hears of a new name at the next start.
        Err(NodeError::Propose(error)) => {
            tracing::warn!(%error, "cannot tell the cluster this node's name and zone now");
        }
        introduced => introduced?,
    }
    Ok(node)
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

/// What the configuration says about the store.
pub fn store_config(config: &Config) -> StoreConfig {
    StoreConfig {
        segment_bytes: config.store.segment_size.bytes(),
        index_cache_bytes: config.store.index_cache.bytes(),
        quota: config.store.quota.map(|quota| quota.bytes()),
    }
}

async fn open_replica(
    config: &Config,
    data_dir: &DataDir,
    node_key: &NodeKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Replica, NodeError> {
    let path = data_dir.raft();
    let files = DirectoryFiles::new(&path).map_err(|source| NodeError::file("opening", &path, source))?;
    let replica = Replica::open(ReplicaConfig {
        node_id: node_key.node_id(),
        files: Arc::new(files),
        io: Io::Pool,
        profile: match config.raft.profile {
            RaftProfile::Auto | RaftProfile::Lan => Profile::Lan,
            RaftProfile::Wan => Profile::Wan,
            RaftProfile::Geo => Profile::Geo,
        },
        compaction: Compaction::default(),
        clock,
        entropy,
        transport: Arc::new(NoPeers),
    });
    Ok(replica.await?)
}
