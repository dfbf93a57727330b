//! `nar/{hash}.nar.zst`: the content of a path, as the frames that are stored.
//!
//! The file is named by the hash of the NAR, so its address stays good for as long as Nix remembers a narinfo.
//! Its entity tag is the hash of the file itself: the same tag means the same bytes, on every node and at any time.
//! A node whose frames make another file says so by another tag. What is not here is fetched while it is streamed, or
//! where there is no room for it passed on.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_state::query;
use tetryx_state::records::NarRecord;

use super::body::{NarBody, Origin, ReadError, Source};
use super::conditional::{self, Selection};
use super::layout::Layout;
use super::pull::{self, Reader};
use super::pullable;
use super::relay::Relay;
use crate::http::auth::Visitor;
use crate::http::error::HttpError;
use crate::outbox::PROVISIONAL;
use crate::{Node, NodeError, room};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-nix-nar");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const SUFFIX: &str = ".nar.zst";

/// Where the NAR is, relative to its cache.
pub(super) fn url(nar: &NarHash) -> String {
    format!("nar/{}{SUFFIX}", nar.to_nix32())
}

fn parse_name(file: &str) -> Option<NarHash> {
    let name = file.strip_suffix(SUFFIX)?;
    let hash: NarHash = name.parse().ok()?;
    // One NAR has one address: other spellings of the hash are not served.
    (hash.to_nix32() == name).then_some(hash)
}

pub(super) async fn get(
    node: &Node,
    visitor: &Visitor,
    cache: &CacheName,
    file: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, HttpError> {
    let hash = parse_name(file).ok_or_else(HttpError::not_found)?;
    let (nar, is_provisional) = {
        let view = node.replica().view()?;
        pullable(&view, visitor, cache)?;
        if query::holds(&view, cache, &hash)? {
            let record = query::nar(&view, &hash)?.ok_or_else(HttpError::not_found)?;
            if *method != Method::HEAD {
                node.note_pull(&view, cache, &hash)?;
            }
            (record, false)
        } else {
            let waiting = node.outbox().nar(cache, &hash);
            (waiting.ok_or_else(HttpError::not_found)?, true)
        }
    };

    let mut answer = HeaderMap::new();
    answer.insert(header::ACCEPT_RANGES, BYTES);
    answer.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    if is_provisional {
        answer.extend([PROVISIONAL]);
    }
    let recorded = format!("\"{}\"", nar.file_hash.to_nix32());
    let is_recorded = !node.replication().differs(&hash);
    if conditional::not_modified(headers, &recorded) {
        answer.insert(header::ETAG, header_value(recorded));
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    if *method == Method::HEAD && is_recorded {
        answer.insert(header::ETAG, header_value(recorded));
        answer.insert(header::CONTENT_LENGTH, nar.file_size.into());
        return Ok((StatusCode::OK, answer).into_response());
    }

    node.replication().touch(&hash, node.clock().elapsed());
    let wanted = Wanted {
        nar: hash,
        record: nar,
        method,
        headers,
    };
    match stream(node, &wanted, answer.clone()).await {
        // A frame was healed by one of another length, and the file as it is now was not looked at yet.
        Err(Failed::Read(ReadError::Length { .. })) => stream(node, &wanted, answer).await,
        streamed => streamed,
    }
    .map_err(HttpError::from)
}

/// A file that a client asks for.
struct Wanted<'a> {
    nar: NarHash,
    record: NarRecord,
    method: &'a Method,
    headers: &'a HeaderMap,
}

/// Why a file is not streamed.
enum Failed {
    Http(HttpError),
    Read(ReadError),
}

impl From<HttpError> for Failed {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<Failed> for HttpError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Http(error) => error,
            Failed::Read(ReadError::Pull(error)) => error.into(),
            Failed::Read(error) => Self::internal(&error),
        }
    }
}

/// Begins to stream the file as it is here, or comes here.
async fn stream(node: &Node, wanted: &Wanted<'_>, mut answer: HeaderMap) -> Result<Response, Failed> {
    let (method, headers) = (wanted.method, wanted.headers);
    let source = source(node, &wanted.nar, wanted.record.clone()).await?;
    let etag = source.layout.etag().to_owned();
    let file_size = source.layout.file_size();
    answer.insert(header::ETAG, header_value(etag.clone()));
    if conditional::not_modified(headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    if *method == Method::HEAD {
        answer.insert(header::CONTENT_LENGTH, file_size.into());
        return Ok((StatusCode::OK, answer).into_response());
    }
    let (status, part) = match conditional::selection(headers, &etag, file_size) {
        Selection::Whole => (StatusCode::OK, 0..file_size),
        Selection::Part(part) => {
            let range = format!("bytes {}-{}/{file_size}", part.start, part.end - 1);
            answer.insert(header::CONTENT_RANGE, header_value(range));
            (StatusCode::PARTIAL_CONTENT, part)
        }
        Selection::Unsatisfiable => {
            let message = format!("the requested range is beyond the {file_size} bytes of this NAR");
            return Err(HttpError::new(ErrorName::RangeNotSatisfiable, message)
                .with_header(header::ACCEPT_RANGES, BYTES)
                .with_header(
                    header::CONTENT_RANGE,
                    header_value(format!("bytes */{file_size}")),
                )
                .into());
        }
    };
    answer.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    let sent = node.metrics().nar_bytes_sent.clone();
    let body = NarBody::open(source, part, sent).await.map_err(Failed::Read)?;
    Ok((status, answer, Body::new(body)).into_response())
}

/// The NAR's frames: from the disk, or from the disk as they come in from other nodes, or passed on from these.
async fn source(node: &Node, nar: &NarHash, record: NarRecord) -> Result<Source, HttpError> {
    let (layout, origin) = match pull::local(node, nar, &record).await? {
        Some(layout) => (layout, Origin::Here),
        None if has_room(node, &record).await? => {
            let reader = Reader::open(node, nar, &record)?;
            match reader.layout(node, nar, &record).await {
                Err(error) if error.is_full() => relayed(node, nar, &record).await?,
                layout => (layout?, Origin::Fetched(Arc::new(reader))),
            }
        }
        None => relayed(node, nar, &record).await?,
    };
    Ok(Source {
        node: node.clone(),
        layout,
        nar: *nar,
        record,
        origin,
    })
}

/// Whether what is missing of the NAR is worth fetching to be kept.
async fn has_room(node: &Node, record: &NarRecord) -> Result<bool, HttpError> {
    let (store, manifest) = (Arc::clone(node.store()), record.manifest);
    if node
        .io()
        .run(move || store.contains_manifest(&manifest))
        .await??
    {
        return Ok(true);
    }
    match room::ensure(node, record.file_size).await {
        Ok(()) => Ok(true),
        Err(NodeError::NoRoom { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn relayed(node: &Node, nar: &NarHash, record: &NarRecord) -> Result<(Arc<Layout>, Origin), HttpError> {
    let (relay, layout) = Relay::open(node, nar, record).await?;
    tracing::debug!(%nar, "there is no room for a NAR; it is passed on and not kept");
    Ok((Arc::new(layout), Origin::Relayed(Arc::new(relay))))
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and ASCII words are a header value")
}
