//! `nar/{hash}.nar.zst`: the content of a path, as the frames that are stored.
//!
//! The file is named by the hash of the NAR, so its address stays good for as long as Nix remembers a narinfo.
//! Its entity tag is the hash of the file itself: the same tag means the same bytes, on every node and at any time.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_state::query;
use tetryx_state::records::NarRecord;
use tokio::task::spawn_blocking;

use super::body::{NarBody, Source};
use super::conditional::{self, Selection};
use super::layout::Layout;
use super::pullable;
use crate::Node;
use crate::http::auth::Visitor;
use crate::http::error::HttpError;

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
    let nar = {
        let view = node.replica().view()?;
        pullable(&view, visitor, cache)?;
        if !query::holds(&view, cache, &hash)? {
            return Err(HttpError::not_found());
        }
        query::nar(&view, &hash)?.ok_or_else(HttpError::not_found)?
    };

    let etag = format!("\"{}\"", nar.file_hash.to_nix32());
    let mut answer = HeaderMap::new();
    answer.insert(
        header::ETAG,
        HeaderValue::try_from(&etag).expect("base32 in quotes is a header value"),
    );
    answer.insert(header::ACCEPT_RANGES, BYTES);
    answer.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    if conditional::not_modified(headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    if *method == Method::HEAD {
        answer.insert(header::CONTENT_LENGTH, nar.file_size.into());
        return Ok((StatusCode::OK, answer).into_response());
    }

    let (status, part) = match conditional::selection(headers, &etag, nar.file_size) {
        Selection::Whole => (StatusCode::OK, 0..nar.file_size),
        Selection::Part(part) => {
            let range = format!("bytes {}-{}/{}", part.start, part.end - 1, nar.file_size);
            answer.insert(header::CONTENT_RANGE, header_value(range));
            (StatusCode::PARTIAL_CONTENT, part)
        }
        Selection::Unsatisfiable => {
            let message = format!(
                "the requested range is beyond the {} bytes of this NAR",
                nar.file_size
            );
            return Err(HttpError::new(ErrorName::RangeNotSatisfiable, message)
                .with_header(header::ACCEPT_RANGES, BYTES)
                .with_header(
                    header::CONTENT_RANGE,
                    header_value(format!("bytes */{}", nar.file_size)),
                ));
        }
    };
    answer.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    let layout = layout(node, &nar).await?;
    let source = Source {
        store: Arc::clone(node.store()),
        layout,
        nar: hash,
    };
    let sent = node.metrics().nar_bytes_sent.clone();
    let body = NarBody::open(source, part, sent)
        .await
        .map_err(|error| HttpError::internal(&error))?;
    Ok((status, answer, Body::new(body)).into_response())
}

async fn layout(node: &Node, nar: &NarRecord) -> Result<Arc<Layout>, HttpError> {
    if let Some(layout) = node.substituter().layouts.get(nar) {
        return Ok(layout);
    }
    let (node, nar) = (node.clone(), nar.clone());
    let read = spawn_blocking(move || node.substituter().layouts.get_or_read(node.store(), &nar)).await?;
    read.map_err(|error| HttpError::internal(&error))
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and ASCII words are a header value")
}
