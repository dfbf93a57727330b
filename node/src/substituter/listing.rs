//! `{hash}.ls`: what is in a path, without fetching it.
//!
//! # Invariants
//! - A listing is computed once and then remembered by its manifest, within [`LISTING_BYTES_MAX`] of memory.
//!
//! # Non-goals
//! - Paths that cannot be listed: 404, and Nix reads the NAR instead.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::store_path::StorePathHash;
use tetryx_state::query;
use tetryx_state::records::NarRecord;
use tetryx_store::{ChunkStore, StoreError};

use super::nar_list::{self, ListError, NarSource};
use super::pull::{self, Reader};
use super::{conditional, pullable};
use crate::Node;
use crate::http::auth::Visitor;
use crate::http::error::HttpError;

/// Memory for remembered listings.
const LISTING_BYTES_MAX: u64 = 8 << 20;

/// The listings asked for lately.
#[derive(Debug)]
pub(super) struct Listings {
    kept: Cache<ManifestHash, Bytes, BySize>,
}

#[derive(Clone, Debug)]
struct BySize;

impl Weighter<ManifestHash, Bytes> for BySize {
    fn weight(&self, _: &ManifestHash, text: &Bytes) -> u64 {
        128 + text.len() as u64
    }
}

impl Listings {
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::with_weighter(256, LISTING_BYTES_MAX, BySize),
        }
    }
}

pub(super) async fn get(
    node: &Node,
    visitor: &Visitor,
    cache: &CacheName,
    hash: &str,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let hash: StorePathHash = hash.parse().map_err(|_| HttpError::not_found())?;
    let (nar, record) = {
        let view = node.replica().view()?;
        pullable(&view, visitor, cache)?;
        match query::path(&view, cache, &hash)? {
            Some(path) => {
                let record = query::nar(&view, &path.nar_hash)?.ok_or_else(HttpError::not_found)?;
                (path.nar_hash, record)
            }
            None => {
                let waiting = node.outbox().path(cache, &hash);
                let waiting = waiting.ok_or_else(HttpError::not_found)?;
                (waiting.path.nar_hash, waiting.nar)
            }
        }
    };
    let manifest = record.manifest;
    let etag = format!("\"{manifest}\"");
    let mut response = if conditional::not_modified(headers, &etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::from(listing(node, &nar, &record).await?))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::ETAG,
        HeaderValue::try_from(etag).expect("hexadecimal digits are a header value"),
    );
    Ok(response)
}

async fn listing(node: &Node, nar: &NarHash, record: &NarRecord) -> Result<Bytes, HttpError> {
    let manifest = record.manifest;
    let kept = &node.substituter().listings.kept;
    if let Some(text) = kept.get(&manifest) {
        return Ok(text);
    }
    // Fetched whole: it is read from the front, and whoever lists a path is likely to want it.
    let _reader = match pull::local(node, nar, record).await? {
        Some(_) => None,
        None => {
            let reader = Reader::open(node, nar, record)?;
            reader.finished(nar).await?;
            Some(reader)
        }
    };
    let store = Arc::clone(node.store());
    let listed = node.io().run(move || {
        let mut source = StoredNar::open(&store, &manifest)?;
        nar_list::list(&mut source)
    });
    match listed.await? {
        Ok(text) => {
            let text = Bytes::from(text);
            kept.insert(manifest, text.clone());
            Ok(text)
        }
        Err(ListError::Source(error)) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%manifest, %error, "a NAR cannot be listed");
            Err(HttpError::not_found())
        }
    }
}

/// A stored NAR, read from its chunks. A chunk that is skipped whole is not even read.
struct StoredNar<'a> {
    store: &'a ChunkStore,
    chunks: std::vec::IntoIter<tetryx_protocol::manifest::ManifestChunk>,
    /// The chunk at hand, and how much of it was used.
    raw: Vec<u8>,
    used: usize,
}

impl<'a> StoredNar<'a> {
    fn open(store: &'a ChunkStore, manifest: &ManifestHash) -> Result<Self, ListError<StoreError>> {
        let manifest = store.manifest(manifest).map_err(ListError::Source)?;
        Ok(Self {
            store,
            chunks: manifest.chunks.into_iter(),
            raw: Vec::new(),
            used: 0,
        })
    }
}

impl NarSource for StoredNar<'_> {
    type Error = StoreError;

    fn read(&mut self, mut into: &mut [u8]) -> Result<bool, StoreError> {
        while !into.is_empty() {
            if self.used == self.raw.len() {
                let Some(chunk) = self.chunks.next() else {
                    return Ok(false);
                };
                self.raw = self.store.read_chunk(&chunk.hash)?;
                self.used = 0;
            }
            let len = into.len().min(self.raw.len() - self.used);
            let (filled, rest) = into.split_at_mut(len);
            filled.copy_from_slice(&self.raw[self.used..self.used + len]);
            self.used += len;
            into = rest;
        }
        Ok(true)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<bool, StoreError> {
        loop {
            let left = (self.raw.len() - self.used) as u64;
            if bytes <= left {
                self.used += usize::try_from(bytes).expect("at most what is left of a chunk");
                return Ok(true);
            }
            bytes -= left;
            self.used = self.raw.len();
            let Some(chunk) = self.chunks.next() else {
                return Ok(false);
            };
            if bytes >= u64::from(chunk.raw_len) {
                bytes -= u64::from(chunk.raw_len);
                continue;
            }
            self.raw = self.store.read_chunk(&chunk.hash)?;
            self.used = 0;
        }
    }

    fn at_end(&mut self) -> bool {
        self.used == self.raw.len() && self.chunks.len() == 0
    }
}
