//! The client's side of an upload.

use std::collections::BTreeSet;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use tetryx_protocol::api::{CommitUploadRequest, StartUploadResponse};
use tetryx_protocol::hash::{ChunkHash, NarHash};
use tetryx_protocol::id::UploadId;
use tetryx_protocol::upload;

use crate::answer::Answer;
use crate::nar::{TestPath, stream, whole_stream};
use crate::node::{TestNode, request};

/// An open upload session.
#[derive(Debug)]
pub struct Upload<'a> {
    node: &'a TestNode,
    token: &'a str,
    pub id: UploadId,
}

impl<'a> Upload<'a> {
    pub async fn start(node: &'a TestNode, cache: &str, token: &'a str) -> Self {
        let answer = node
            .ask(Method::POST, &format!("/api/v1/caches/{cache}/uploads"), token)
            .await;
        let started: StartUploadResponse = answer.expect(StatusCode::CREATED).json();
        Self {
            node,
            token,
            id: started.upload,
        }
    }

    /// Where the session is, with something behind it.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/uploads/{}{rest}", self.id)
    }

    pub async fn ask_missing(&self, body: impl Into<Body>) -> Answer {
        let request = request(Method::POST, &self.path("/missing"), Some(self.token));
        self.node.send(request.body(body.into()).unwrap()).await
    }

    /// Which of the chunks the node lacks.
    pub async fn missing(&self, hashes: &[ChunkHash]) -> BTreeSet<ChunkHash> {
        let answer = self
            .ask_missing(upload::encode_hashes(hashes))
            .await
            .expect(StatusCode::OK);
        upload::decode_hashes(&answer.body)
            .expect("hashes")
            .into_iter()
            .collect()
    }

    pub async fn put(&self, nar: &NarHash, nar_size: u64, body: impl Into<Body>) -> Answer {
        let path = self.path(&format!("/nars/{nar}?nar_size={nar_size}"));
        let mut request = request(Method::PUT, &path, Some(self.token));
        let body = body.into();
        if let Some(length) = body.size_hint().exact() {
            request = request.header(CONTENT_LENGTH, length);
        }
        self.node.send(request.body(body).unwrap()).await
    }

    /// Sends a stream as the NAR of a path.
    pub async fn send(&self, path: &TestPath, stream: impl Into<Body>) -> Answer {
        self.put(&path.nar_hash(), path.nar.len() as u64, stream).await
    }

    /// Sends the whole NAR.
    pub async fn send_whole(&self, path: &TestPath) -> Answer {
        self.send(path, whole_stream(&path.chunks())).await
    }

    /// Asks what is missing and sends that, as the client does.
    pub async fn send_missing(&self, path: &TestPath) -> Answer {
        let stream = self.missing_stream(path).await;
        self.send(path, stream).await
    }

    /// The stream that the client would send now.
    pub async fn missing_stream(&self, path: &TestPath) -> Bytes {
        let chunks = path.chunks();
        let hashes: Vec<ChunkHash> = chunks.iter().map(|chunk| chunk.hash).collect();
        stream(&chunks, &self.missing(&hashes).await)
    }

    pub async fn commit(&self, paths: &[&TestPath]) -> Answer {
        self.commit_with(paths, &[]).await
    }

    pub async fn commit_with(&self, paths: &[&TestPath], upstream: &[&TestPath]) -> Answer {
        let request = CommitUploadRequest {
            paths: paths.iter().map(|path| path.upload()).collect(),
            upstream: upstream.iter().map(|path| path.store_path.clone()).collect(),
        };
        self.node
            .ask_json(Method::POST, &self.path("/commit"), self.token, &request)
            .await
    }

    pub async fn end(&self) -> Answer {
        self.node.ask(Method::DELETE, &self.path(""), self.token).await
    }
}
