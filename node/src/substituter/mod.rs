//! The substituter: the routes a Nix client knows.
//!
//! Everything here is answered from the local replica of the state, and chunks that are not here are fetched from other
//! nodes while they are streamed, and kept where there is room; nothing waits for Raft. What does not exist and what the
//! caller may not see are the same 404: Nix takes it for "not here" and asks the next cache, where a 401 would end the
//! build.
//!
//! # Invariants
//! - A NAR is served only through a cache that has a path with this content, to somebody who may pull from it.
//! - What is remembered between requests is bounded, and is compared with the state before it is used.

mod body;
mod cache_info;
mod conditional;
mod layout;
mod listing;
mod nar;
mod nar_list;
mod narinfo;
mod pull;
mod relay;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, Method};
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::CachePermission;
use tetryx_raft::StateView;
use tetryx_state::records::CacheRecord;

use self::layout::Layouts;
use self::listing::Listings;
use self::narinfo::Rendered;
use self::pull::Pulls;
use crate::config::Config;
use crate::http::auth::{Visitor, no_such_cache};
use crate::http::error::HttpError;
use crate::{InMemory, Node};

/// What is kept between requests; one per node.
#[derive(Debug)]
pub(crate) struct Substituter {
    narinfos: Rendered,
    layouts: Layouts,
    listings: Listings,
    pulls: Pulls,
}

impl Substituter {
    pub(crate) fn new(_config: &Config) -> Self {
        Self {
            narinfos: Rendered::new(),
            layouts: Layouts::new(),
            listings: Listings::new(),
            pulls: Pulls::default(),
        }
    }

    /// Adds up what is kept in memory.
    pub(crate) fn count_memory(&self, kept: &mut InMemory) {
        kept.layout_bytes = self.layouts.bytes();
        kept.pulls = self.pulls.len();
    }
}

pub(crate) fn routes() -> Router<Node> {
    // The router matches whole segments only, so what a file is shows from its name.
    Router::new()
        .route("/{cache}/{file}", get(file))
        .route("/{cache}/nar/{file}", get(nar_file))
}

type Segments = Result<Path<(String, String)>, PathRejection>;

async fn file(
    State(node): State<Node>,
    visitor: Visitor,
    segments: Segments,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let (cache, file) = parse(segments)?;
    if file == "nix-cache-info" {
        cache_info::get(&node, &visitor, &cache)
    } else if let Some(hash) = file.strip_suffix(".narinfo") {
        narinfo::get(&node, &visitor, cache, hash, &headers)
    } else if let Some(hash) = file.strip_suffix(".ls") {
        listing::get(&node, &visitor, &cache, hash, &headers).await
    } else {
        Err(HttpError::not_found())
    }
}

async fn nar_file(
    State(node): State<Node>,
    visitor: Visitor,
    segments: Segments,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let (cache, file) = parse(segments)?;
    nar::get(&node, &visitor, &cache, &file, &method, &headers).await
}

/// A name that no cache can have is a cache that does not exist.
fn parse(segments: Segments) -> Result<(CacheName, String), HttpError> {
    let Ok(Path((cache, file))) = segments else {
        return Err(HttpError::not_found());
    };
    let Ok(cache) = cache.parse() else {
        return Err(HttpError::not_found());
    };
    Ok((cache, file))
}

/// The cache, if the visitor may pull from it; everything else is a 404.
fn pullable(view: &StateView, visitor: &Visitor, cache: &CacheName) -> Result<CacheRecord, HttpError> {
    let Visitor(caller) = visitor;
    caller
        .cache_in(view, cache, CachePermission::Pull)
        .map_err(|error| match error.name() {
            ErrorName::AccessError => no_such_cache(cache),
            _ => error,
        })
}
