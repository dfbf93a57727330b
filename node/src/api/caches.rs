//! `/api/v1/caches`: create, show, configure, list, destroy.

use axum::extract::State;
use axum::response::Response;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, StatusCode};
use tetryx_protocol::api::{CacheInfo, CacheList, ConfigureCacheRequest, CreateCacheRequest, ErrorName};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::CachePermission;
use tetryx_state::command::{CacheKeyPair, ConfigureCache, CreateCache, DestroyCache};
use tetryx_state::query;
use tetryx_state::records::CacheRecord;

use super::changed;
use crate::http::auth::{Caller, lacks, no_such_cache};
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param};
use crate::{Node, secrets};

pub(super) async fn list(
    State(node): State<Node>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<ApiJson<CacheList>, HttpError> {
    let base = base_url(&node, &headers);
    let caches = query::caches(&node.replica().view()?)?;
    let visible = caches
        .into_iter()
        .filter(|(name, record)| caller.may_discover(name, record));
    Ok(ApiJson(CacheList {
        caches: visible
            .map(|(name, record)| describe(&base, name, record))
            .collect(),
    }))
}

pub(super) async fn show(
    State(node): State<Node>,
    caller: Caller,
    Param(name): Param<CacheName>,
    headers: HeaderMap,
) -> Result<ApiJson<CacheInfo>, HttpError> {
    let record = query::cache(&node.replica().view()?, &name)?;
    // Whoever may do anything with a cache may see its settings: a pusher needs its upstream keys.
    let record = record
        .filter(|record| caller.may_discover(&name, record))
        .ok_or_else(|| no_such_cache(&name))?;
    Ok(ApiJson(describe(&base_url(&node, &headers), name, record)))
}

pub(super) async fn create(
    State(node): State<Node>,
    caller: Caller,
    headers: HeaderMap,
    ApiJson(request): ApiJson<CreateCacheRequest>,
) -> Result<Response, HttpError> {
    let name = request.name;
    let token = caller.token()?;
    if !caller.is_granted(&name, CachePermission::Create) {
        return Err(lacks(&name, CachePermission::Create));
    }
    if let Some(mission) = &request.mission
        && !token.grants.acts_for(mission)
    {
        return Err(HttpError::new(
            ErrorName::AccessError,
            format!("your token has no grant for mission '{mission}'; ask for one that does"),
        ));
    }
    let create = CreateCache {
        cache: name.clone(),
        public: request.public,
        priority: request.priority,
        store_dir: request.store_dir,
        upstream_key_names: request.upstream_cache_key_names,
        retention: request.retention_period,
        replication: request.replication,
        key_pair: new_key_pair(&node, &name),
        mission: request.mission,
    };
    let (index, _) = node.propose(caller.subject(), create).await?;
    let info = described_now(&node, &headers, name)?;
    Ok(changed(index, StatusCode::CREATED, info))
}

pub(super) async fn configure(
    State(node): State<Node>,
    caller: Caller,
    Param(name): Param<CacheName>,
    headers: HeaderMap,
    ApiJson(request): ApiJson<ConfigureCacheRequest>,
) -> Result<Response, HttpError> {
    let record = query::cache(&node.replica().view()?, &name)?;
    let record = record
        .filter(|record| caller.may_discover(&name, record))
        .ok_or_else(|| no_such_cache(&name))?;
    let changes_retention = request.retention_period.is_some();
    let changes_others = request.regenerate_keypair
        || request.public.is_some()
        || request.priority.is_some()
        || request.store_dir.is_some()
        || request.upstream_cache_key_names.is_some()
        || request.replication.is_some();
    if changes_others {
        caller.require(&name, &record, CachePermission::Configure)?;
    }
    if changes_retention {
        caller.require(&name, &record, CachePermission::ConfigureRetention)?;
    }
    if !changes_others && !changes_retention {
        return Err(HttpError::bad_request(
            "the request changes nothing; name at least one setting",
        ));
    }
    let configure = ConfigureCache {
        public: request.public,
        priority: request.priority,
        store_dir: request.store_dir,
        upstream_key_names: request.upstream_cache_key_names,
        retention: request.retention_period,
        replication: request.replication,
        key_pair: request.regenerate_keypair.then(|| new_key_pair(&node, &name)),
        ..ConfigureCache::new(name.clone())
    };
    let (index, _) = node.propose(caller.subject(), configure).await?;
    let info = described_now(&node, &headers, name)?;
    Ok(changed(index, StatusCode::OK, info))
}

pub(super) async fn destroy(
    State(node): State<Node>,
    caller: Caller,
    Param(name): Param<CacheName>,
) -> Result<Response, HttpError> {
    caller.cache(&node, &name, CachePermission::Destroy)?;
    let (index, _) = node
        .propose(caller.subject(), DestroyCache { cache: name })
        .await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}

fn new_key_pair(node: &Node, name: &CacheName) -> CacheKeyPair {
    let (key, sealed_secret_key) = secrets::new_signing_key(node.cluster_secret(), name, node.entropy());
    CacheKeyPair {
        public_key: key.public_key(),
        sealed_secret_key,
    }
}

/// The cache as it is now, which a change that came in between may have moved on.
fn described_now(node: &Node, headers: &HeaderMap, name: CacheName) -> Result<ApiJson<CacheInfo>, HttpError> {
    let record = query::cache(&node.replica().view()?, &name)?.ok_or_else(|| no_such_cache(&name))?;
    Ok(ApiJson(describe(&base_url(node, headers), name, record)))
}

fn describe(base: &str, name: CacheName, record: CacheRecord) -> CacheInfo {
    CacheInfo {
        public: record.public,
        public_key: record.public_key,
        substituter_endpoint: format!("{base}/{name}"),
        api_endpoint: format!("{base}/"),
        store_dir: record.store_dir,
        priority: record.priority,
        upstream_cache_key_names: record.upstream_key_names,
        retention_period: record.retention,
        replication: record.replication,
        mission: record.mission,
        created: record.created,
        name,
    }
}

/// The URL by which the client reaches this node, without a slash at the end.
fn base_url(node: &Node, headers: &HeaderMap) -> String {
    if let Some(url) = &node.config().http.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let asked_for = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse().ok());
    match asked_for {
        Some(host) if !Authority::as_str(&host).contains('@') => format!("http://{host}"),
        _ => format!("http://localhost:{}", node.config().http.listen.port()),
    }
}
