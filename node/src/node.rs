//! The node: its parts put together, and its work in the background.
//!
//! # Invariants
//! - Nothing here is global: two nodes in one process share nothing but what their [`Parts`] share.
//! - A task the node starts ends when the node shuts down.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::signature::NixSecretKey;
use tetryx_raft::Replica;
use tetryx_raft::environment::{Clock, Entropy};
use tetryx_state::records::{CacheRecord, ClusterRecord};
use tetryx_store::ChunkStore;

use crate::config::Config;
use crate::http::auth::TokenDesk;
use crate::metrics::Metrics;
use crate::secrets::{ClusterSecret, NodeKey};
use crate::substituter::Substituter;
use crate::uploads::Uploads;
use crate::{NodeError, secrets};

/// What a node is made of. Production opens these from disk; a test or a simulation brings its own.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// A replica whose cluster exists and is applied here ([`crate::first_start::found_cluster`]).
    pub replica: Replica,
    pub store: Arc<ChunkStore>,
    pub node_key: NodeKey,
    pub cluster_secret: ClusterSecret,
}

/// A running node. Cheap to clone; every request handler holds one.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    cluster: ClusterRecord,
    tokens: TokenDesk,
    signing_keys: Cache<Vec<u8>, Arc<NixSecretKey>>,
    metrics: Metrics,
    substituter: Substituter,
    uploads: Uploads,
}

/// Unsealed signing keys kept in memory.
const SIGNING_KEYS_KEPT: usize = 256;

impl Node {
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

    /// The replicated state, and the way to change it.
    pub fn replica(&self) -> &Replica {
        &self.inner.parts.replica
    }

    /// The chunks on this node's disk. Its calls block: use `spawn_blocking`.
    pub fn store(&self) -> &Arc<ChunkStore> {
        &self.inner.parts.store
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
    pub fn signing_key(&self, record: &CacheRecord, name: &CacheName) -> Result<Arc<NixSecretKey>, NodeError> {
        let keys = &self.inner.signing_keys;
        if let Some(key) = keys.get(record.sealed_secret_key.as_slice()) {
            return Ok(key);
        }
        let key = Arc::new(secrets::unseal_signing_key(&self.inner.parts.cluster_secret, record, name)?);
        keys.insert(record.sealed_secret_key.clone(), Arc::clone(&key));
        Ok(key)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}
