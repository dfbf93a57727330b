//! A whole node in memory, and what tests say to it. No socket, no file, a clock that tests turn.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tetryx_environment::{Clock, Entropy, Io};
use tetryx_protocol::api::{ApiError, CacheInfo};
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};
use tetryx_protocol::time::{Elapsed, UtcTime};
use tetryx_raft::{AuditEvery, Compaction, DataFiles, NoPeers, Profile, Replica, ReplicaConfig};
use tetryx_store::ChunkStore;
use tetryx_store::disk::MemoryDisk;
use tower::ServiceExt;

use crate::config::Config;
use crate::http::router::router;
use crate::peers::{Advertisement, NoLinks, NodeRoster};
use crate::secrets::{ClusterSecret, NodeKey};
use crate::{Node, Parts, first_start, host, membership};

/// 2026-03-02T12:00:00Z.
const START_MS: i64 = 1_772_452_800_000;

/// A clock that stands still unless turned.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn turn(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Stays at or after the start: elapsed time has no negative values.
    pub(crate) fn turn_back(&self, by: Duration) {
        self.0
            .fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn utc(&self) -> UtcTime {
        UtcTime::from_unix_ms(self.0.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed::from_nanos(u64::try_from(self.0.load(Ordering::SeqCst) - START_MS).unwrap() * 1_000_000)
    }
}

/// Repeatable randomness: the stream of a seed.
#[derive(Debug)]
pub(crate) struct TestEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl TestEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: AtomicU64::new(0),
        }
    }
}

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&self.drawn.fetch_add(1, Ordering::SeqCst).to_le_bytes());
        hasher.finalize_xof().fill(bytes);
    }
}

/// The files of a replica, in memory.
#[derive(Debug, Default)]
struct MemoryFiles(Mutex<BTreeMap<String, ()>>);

impl DataFiles for MemoryFiles {
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.0.lock().insert(name.to_owned(), ());
        Ok(Box::new(InMemoryBackend::new()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().remove(name);
        Ok(())
    }
}

/// A node in memory with its first start behind it.
pub(crate) struct TestNode {
    pub(crate) node: Node,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) app: Router,
    /// The root token.
    pub(crate) root: String,
}

impl TestNode {
    pub(crate) async fn new() -> Self {
        Self::with(1, |_| {}).await
    }

    /// A node with its own keys, by seed, and a changed configuration.
    pub(crate) async fn with(seed: u64, change: impl FnOnce(&mut Config)) -> Self {
        Self::in_cluster_of(first_start::FEATURE_LEVEL, seed, change).await
    }

    /// The same in a cluster that was founded when commands of this feature level were the newest.
    pub(crate) async fn in_cluster_of(level: u32, seed: u64, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            name: Some(format!("test-{seed}")),
            ..Config::default()
        };
        change(&mut config);
        let clock = Arc::new(TestClock(AtomicI64::new(START_MS)));
        let entropy: Arc<dyn Entropy> = Arc::new(TestEntropy::new(seed));
        let node_key = NodeKey::from_seed(&draw(entropy.as_ref()));
        let cluster_secret = ClusterSecret::from_bytes(&draw(entropy.as_ref()));
        let store = ChunkStore::open(Arc::new(MemoryDisk::new()), host::store_config(&config)).unwrap();
        let replica = Replica::open(ReplicaConfig {
            node_id: node_key.node_id(),
            files: Arc::new(MemoryFiles::default()),
            io: Io::inline(),
            feature_level: first_start::FEATURE_LEVEL,
            profile: Profile::Lan,
            compaction: Compaction::default(),
            audit: AuditEvery::default(),
            clock: Arc::clone(&clock) as _,
            entropy: Arc::clone(&entropy),
            transport: Arc::new(NoPeers),
        })
        .await
        .unwrap();
        first_start::found_cluster(&replica, &cluster_secret, level, entropy.as_ref())
            .await
            .unwrap();
        let roster = Arc::new(NodeRoster::in_memory(node_key.node_id(), config.p2p.clone()));
        let node = Node::assemble(Parts {
            config,
            clock: Arc::clone(&clock) as _,
            entropy,
            io: Io::inline(),
            feature_level: first_start::FEATURE_LEVEL,
            replica,
            store: Arc::new(store),
            outbox: Arc::new(MemoryDisk::new()),
            node_key,
            cluster_secret,
            links: Arc::new(NoLinks),
            endpoint: None,
            gossip: None,
            roster,
            advertised: Advertisement::default(),
        })
        .unwrap();
        membership::introduce(&node).await.unwrap();
        let two_years = Duration::from_secs(2 * 365 * 24 * 3600);
        let (root, _) = node
            .issue_token("node", "root".to_owned(), two_years, Grants::admin())
            .await
            .unwrap();
        let app = router(node.clone());
        Self {
            node,
            clock,
            app,
            root,
        }
    }

    /// A token of one hour.
    pub(crate) async fn token(&self, grants: Grants) -> String {
        let hour = Duration::from_secs(3600);
        self.node
            .issue_token("test", "somebody".to_owned(), hour, grants)
            .await
            .unwrap()
            .0
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// A request without a body.
    pub(crate) async fn ask(&self, method: Method, path: &str, token: Option<&str>) -> Answer {
        self.send(request(method, path, token).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.ask(Method::GET, path, token).await
    }

    /// A request with a JSON body.
    pub(crate) async fn ask_json(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &impl Serialize,
    ) -> Answer {
        let request = request(method, path, token).header(CONTENT_TYPE, "application/json");
        self.send(request.body(serde_json::to_vec(body).unwrap().into()).unwrap())
            .await
    }

    /// A cache made by root.
    pub(crate) async fn create_cache(&self, name: &str, public: bool) -> CacheInfo {
        let body = serde_json::json!({ "name": name, "public": public });
        let answer = self
            .ask_json(Method::POST, "/api/v1/caches", Some(&self.root), &body)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()
    }
}

pub(crate) fn request(method: Method, path: &str, token: Option<&str>) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

/// Grants of these permissions on one pattern.
pub(crate) fn grants(pattern: &str, permissions: &[CachePermission]) -> Grants {
    let permissions = permissions
        .iter()
        .fold(CachePermissions::NONE, |sum, next| sum.with(*next));
    Grants {
        caches: BTreeMap::from([(pattern.parse().unwrap(), permissions)]),
        ..Grants::default()
    }
}

fn draw(entropy: &dyn Entropy) -> [u8; 32] {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    bytes
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The error, checked for its shape.
    pub(crate) fn error(&self) -> ApiError {
        let error: ApiError = self.json();
        assert_eq!(error.code, self.status.as_u16(), "{self:?}");
        assert!(error.name().is_some(), "{self:?}");
        assert!(!error.message.is_empty(), "{self:?}");
        error
    }
}
