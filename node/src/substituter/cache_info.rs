//! `nix-cache-info`: how Nix shall treat a cache.

use axum::response::{IntoResponse, Response};
use http::header;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::cache_info::NixCacheInfo;

use super::pullable;
use crate::Node;
use crate::http::auth::Visitor;
use crate::http::error::HttpError;

pub(super) fn get(node: &Node, visitor: &Visitor, cache: &CacheName) -> Result<Response, HttpError> {
    let record = pullable(&node.replica().view()?, visitor, cache)?;
    // Narinfos are answered from memory, so Nix may ask for many at once.
    let info = NixCacheInfo {
        store_dir: record.store_dir,
        want_mass_query: true,
        priority: record.priority,
    };
    Ok((
        [(header::CONTENT_TYPE, "text/x-nix-cache-info")],
        info.to_string(),
    )
        .into_response())
}
