//! `{hash}.narinfo`: what a path is, signed with the cache's key when it is asked for.
//!
//! Signing costs more than everything else together, so rendered texts are remembered. A remembered text is used
//! without a look at the state while nothing was applied since it was last compared with it; after that it is
//! compared again: everything that goes into it, and the key, must be the same.
//!
//! # Invariants
//! - No answer is older than the state this replica had applied when the request came.
//! - A private cache is looked up, and the caller checked, on every request.
//! - Remembered texts take at most [`TEXT_BYTES_MAX`] of memory.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::narinfo::{Compression, NarInfo};
use tetryx_protocol::store_path::StorePathHash;
use tetryx_state::query;
use tetryx_state::records::{CacheRecord, NarRecord, PathRecord};

use super::{conditional, nar, pullable};
use crate::Node;
use crate::http::auth::Visitor;
use crate::http::error::HttpError;
use crate::outbox::PROVISIONAL;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/x-nix-narinfo");

/// Memory for remembered texts: about 15,000 of them.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// The narinfos asked for lately.
#[derive(Debug)]
pub(super) struct Rendered {
    kept: Cache<(CacheName, StorePathHash), Arc<Signed>, BySize>,
}

/// A rendered narinfo.
#[derive(Debug)]
struct Signed {
    /// The log index at which it was last found to be what the state says.
    checked: AtomicU64,
    /// Whether everybody may have it, at that index.
    public: bool,
    nar: NarHash,
    /// Whether it describes another file than this node serves.
    differs: bool,
    /// Hash of everything it is made from.
    made_from: [u8; 32],
    text: Bytes,
    etag: HeaderValue,
}

#[derive(Clone, Debug)]
struct BySize;

impl Weighter<(CacheName, StorePathHash), Arc<Signed>> for BySize {
    fn weight(&self, _: &(CacheName, StorePathHash), signed: &Arc<Signed>) -> u64 {
        320 + signed.text.len() as u64
    }
}

impl Rendered {
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::with_weighter(16 << 10, TEXT_BYTES_MAX, BySize),
        }
    }
}

pub(super) fn get(
    node: &Node,
    visitor: &Visitor,
    cache: CacheName,
    hash: &str,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let hash: StorePathHash = hash.parse().map_err(|_| HttpError::not_found())?;
    let kept = &node.substituter().narinfos.kept;
    let view = node.replica().view()?;
    let applied = view.applied_index();
    let key = (cache, hash);
    let known = kept.get(&key);
    if let Some(known) = &known
        && known.public
        && known.checked.load(Ordering::Relaxed) >= applied
        && known.differs == node.replication().differs(&known.nar)
    {
        return Ok(answer(known, headers));
    }

    let record = pullable(&view, visitor, &key.0)?;
    let Some(path) = query::path(&view, &key.0, &hash)? else {
        return provisional(node, &key, &record, headers);
    };
    let nar = query::nar(&view, &path.nar_hash)?.ok_or_else(HttpError::not_found)?;
    let differs = node.replication().differs(&path.nar_hash);
    let info = describe(path, &nar, differs, &record);
    let made_from = fingerprint(&info, &record);
    if let Some(known) = known
        && known.made_from == made_from
        && known.public == record.public
    {
        known.checked.fetch_max(applied, Ordering::Relaxed);
        return Ok(answer(&known, headers));
    }
    let signed = Arc::new(sign(node, &key.0, &record, info, (made_from, differs), applied)?);
    kept.insert(key, Arc::clone(&signed));
    Ok(answer(&signed, headers))
}

/// A path that waits in the outbox: signed as any other, and not remembered.
fn provisional(
    node: &Node,
    (cache, hash): &(CacheName, StorePathHash),
    record: &CacheRecord,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let waiting = node.outbox().path(cache, hash).ok_or_else(HttpError::not_found)?;
    let differs = node.replication().differs(&waiting.path.nar_hash);
    let info = describe(waiting.path, &waiting.nar, differs, record);
    let made_from = fingerprint(&info, record);
    let signed = sign(node, cache, record, info, (made_from, differs), 0)?;
    let mut response = answer(&signed, headers);
    response.headers_mut().extend([PROVISIONAL]);
    Ok(response)
}

/// The narinfo without the cache's own signature.
fn describe(path: PathRecord, nar: &NarRecord, differs: bool, cache: &CacheRecord) -> NarInfo {
    let own = cache.public_key.name();
    NarInfo {
        store_path: path.store_path,
        url: nar::url(&path.nar_hash),
        compression: Compression::Zstd,
        // Both are optional, and wrong of a file that this node is known to make otherwise.
        file_hash: (!differs).then_some(nar.file_hash),
        file_size: (!differs).then_some(nar.file_size),
        nar_hash: path.nar_hash,
        nar_size: nar.nar_size,
        references: path.references,
        deriver: path.deriver,
        system: path.system,
        // A signature that came in under the name of the cache's key is replaced by one that is valid.
        signatures: path
            .signatures
            .into_iter()
            .filter(|signature| signature.name() != own)
            .collect(),
        ca: path.ca,
    }
}

/// Everything a rendered text depends on, in 32 bytes.
fn fingerprint(info: &NarInfo, cache: &CacheRecord) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(cache.public_key.to_string().as_bytes());
    hash.update(b"\n");
    hash.update(info.to_text(&cache.store_dir).as_bytes());
    hash.finalize().into()
}

fn sign(
    node: &Node,
    name: &CacheName,
    cache: &CacheRecord,
    mut info: NarInfo,
    (made_from, differs): ([u8; 32], bool),
    applied: u64,
) -> Result<Signed, HttpError> {
    let key = node.signing_key(cache, name)?;
    info.signatures
        .push(key.sign(&info.fingerprint(&cache.store_dir)));
    let text = info.to_text(&cache.store_dir);
    let mut etag = String::with_capacity(34);
    etag.push('"');
    for byte in &made_from[..16] {
        write!(etag, "{byte:02x}").expect("writing into a String cannot fail");
    }
    etag.push('"');
    Ok(Signed {
        checked: AtomicU64::new(applied),
        public: cache.public,
        nar: info.nar_hash,
        differs,
        made_from,
        text: text.into(),
        etag: HeaderValue::try_from(etag).expect("hexadecimal digits in quotes are a header value"),
    })
}

fn answer(signed: &Signed, headers: &HeaderMap) -> Response {
    let etag = signed.etag.to_str().expect("made of ASCII");
    let mut response = if conditional::not_modified(headers, etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::from(signed.text.clone()))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(header::ETAG, signed.etag.clone());
    response
}
