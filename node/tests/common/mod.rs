//! A whole node on a disk in memory, driven through its router: no socket, no file, a clock that tests turn.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

mod client;
mod disk;
mod nar;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tetryx_node::config::Config;
use tetryx_node::http::router::router;
use tetryx_node::secrets::{ClusterSecret, NodeKey};
use tetryx_node::{Node, Parts, first_start, open};
use tetryx_protocol::api::{ApiError, CacheInfo, ErrorName};
use tetryx_protocol::grant::Grants;
use tetryx_protocol::time::{Elapsed, UtcTime};
use tetryx_raft::environment::{Clock, Entropy};
use tetryx_raft::transport::NoPeers;
use tetryx_raft::{Compaction, Io, Profile, Replica, ReplicaConfig};
use tetryx_store::ChunkStore;
use tetryx_store::disk::{MemoryDisk, Survivors};
use tower::ServiceExt;

pub use self::client::Upload;
pub use self::disk::Folder;
pub use self::nar::{TestChunk, TestPath, cut, file_nar, nar, noise, stream, whole_stream};

/// 2026-03-02T12:00:00Z.
const START_MS: i64 = 1_772_452_800_000;

/// A clock that stands still unless turned.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn turn(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
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

/// Randomness that is the same in every run and never repeats within one, restarts of the node included.
#[derive(Debug, Default)]
struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&noise(1 + self.0.fetch_add(1, Ordering::SeqCst), bytes.len()));
    }
}

/// What a node is started from, again and again.
#[derive(Clone, Debug)]
pub struct Machine {
    pub disk: Arc<MemoryDisk>,
    pub clock: Arc<TestClock>,
    entropy: Arc<TestEntropy>,
    pub config: Config,
}

impl Machine {
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            name: Some("test".to_owned()),
            ..Config::default()
        };
        change(&mut config);
        Self {
            disk: Arc::new(MemoryDisk::new()),
            clock: Arc::new(TestClock(AtomicI64::new(START_MS))),
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

/// A running node, and the root token for it.
pub struct TestNode {
    pub node: Node,
    pub app: Router,
    pub root: String,
    pub machine: Machine,
}

impl TestNode {
    pub async fn new() -> Self {
        Machine::new(|_| {}).start().await
    }

    /// A node with a cache called `main`.
    pub async fn with_cache(public: bool) -> Self {
        let node = Self::new().await;
        node.create_cache("main", public).await;
        node
    }

    /// Cuts the power and starts the node again on what is left.
    pub async fn crash(self, survivors: Survivors) -> Self {
        let machine = self.machine.clone();
        machine.disk.restart(survivors);
        // Its files are dead: what still runs of it can change nothing any more.
        let _ = self.node.shutdown().await;
        drop(self);
        machine.start().await
    }

    /// A token of one hour.
    pub async fn token(&self, grants: Grants) -> String {
        let hour = Duration::from_secs(3600);
        self.node
            .issue_token("test", "somebody".to_owned(), hour, grants)
            .await
            .expect("a token")
            .0
    }

    /// Sends a request and leaves the body to the caller.
    pub async fn open(&self, request: Request<Body>) -> http::Response<Body> {
        self.app
            .clone()
            .oneshot(request)
            .await
            .expect("the router answers")
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        let body = body
            .collect()
            .await
            .expect("the body comes to its end")
            .to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Asks as nobody in particular.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, None).body(Body::empty()).unwrap())
            .await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask_with(Method::GET, path, headers).await
    }

    pub async fn ask_with(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers
            .iter()
            .fold(request(method, path, None), |request, (name, value)| {
                request.header(*name, *value)
            });
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Asks with a token.
    pub async fn ask(&self, method: Method, path: &str, token: &str) -> Answer {
        self.send(request(method, path, Some(token)).body(Body::empty()).unwrap())
            .await
    }

    pub async fn ask_json(&self, method: Method, path: &str, token: &str, body: &impl Serialize) -> Answer {
        let request = request(method, path, Some(token)).header(CONTENT_TYPE, "application/json");
        self.send(request.body(serde_json::to_vec(body).unwrap().into()).unwrap())
            .await
    }

    pub async fn create_cache(&self, name: &str, public: bool) -> CacheInfo {
        let body = serde_json::json!({ "name": name, "public": public });
        self.ask_json(Method::POST, "/api/v1/caches", &self.root, &body)
            .await
            .expect(StatusCode::CREATED)
            .json()
    }

    pub async fn cache(&self, name: &str) -> CacheInfo {
        self.ask(Method::GET, &format!("/api/v1/caches/{name}"), &self.root)
            .await
            .expect(StatusCode::OK)
            .json()
    }

    /// Opens an upload session as root.
    pub async fn upload(&self, cache: &str) -> Upload<'_> {
        Upload::start(self, cache, &self.root).await
    }

    /// Pushes paths in one session, as the client does.
    pub async fn push(&self, cache: &str, paths: &[&TestPath]) {
        let upload = self.upload(cache).await;
        for path in paths {
            upload.send_missing(path).await.expect(StatusCode::OK);
        }
        upload.commit(paths).await.expect(StatusCode::OK);
        upload.end().await.expect(StatusCode::NO_CONTENT);
    }

    /// The narinfo of a path.
    pub async fn narinfo(&self, cache: &str, path: &TestPath) -> Answer {
        self.get(&format!("/{cache}/{}.narinfo", path.hash())).await
    }

    /// Deletes a path of `main`.
    pub async fn delete(&self, path: &TestPath) {
        let url = format!("/api/v1/caches/main/paths/{}", path.hash());
        self.ask(Method::DELETE, &url, &self.root)
            .await
            .expect(StatusCode::NO_CONTENT);
    }

    /// Bytes of chunks and manifests on the disk.
    pub fn pack_bytes(&self) -> u64 {
        self.node.store().stats().expect("the store answers").pack_bytes
    }
}

/// Where the NAR of a path is.
pub fn nar_url(cache: &str, path: &TestPath) -> String {
    format!("/{cache}/nar/{}.nar.zst", path.nar_hash().to_nix32())
}

pub fn request(method: Method, path: &str, token: Option<&str>) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

/// What zstd makes of the concatenated frames.
pub fn decompress(file: &[u8]) -> Vec<u8> {
    zstd::decode_all(file).expect("a sequence of zstd frames")
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The message of an error answer, if it is this error in the one shape of errors.
    #[track_caller]
    pub fn refused(&self, name: ErrorName) -> String {
        let error: ApiError = self.json();
        assert_eq!(error.name(), Some(name), "{error:?}");
        assert_eq!(
            (self.status.as_u16(), error.code),
            (name.status(), name.status()),
            "{error:?}"
        );
        assert!(!error.message.is_empty());
        error.message
    }

    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }
}

impl Answer {
    /// The body with one name in place of another: answers about two caches should differ in nothing else.
    pub fn body_with(&self, name: &str, other: &str) -> Bytes {
        self.text().replace(name, other).into()
    }

    /// The status of an answer that says only that something is not there.
    pub fn refused_as_absent(&self) -> StatusCode {
        let error: ApiError = self.json();
        assert!(
            matches!(
                error.name(),
                Some(ErrorName::NoSuchObject | ErrorName::NoSuchCache)
            ),
            "{error:?}"
        );
        self.status
    }
}
