//! A running simulated node, and what one says to it through its router: no socket, no file.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use tetryx_node::Node;
use tetryx_protocol::api::CacheInfo;
use tetryx_protocol::grant::Grants;
use tetryx_protocol::id::ClusterId;
use tetryx_state::query;
use tetryx_store::disk::Survivors;
use tower::ServiceExt;

use crate::answer::Answer;
use crate::client::Upload;
use crate::machine::Machine;
use crate::nar::TestPath;

/// A running node, and the root token for it.
#[derive(Debug)]
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

    /// The cluster it belongs to.
    pub fn cluster_id(&self) -> ClusterId {
        let view = self.node.replica().view().expect("the replica runs");
        let cluster = query::cluster(&view).expect("the state is read");
        cluster.expect("there is a cluster").id
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

/// The beginning of a request, with a token or as anybody.
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
