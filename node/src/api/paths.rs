//! `/api/v1/caches/{cache}/paths`: list, show, delete, pin; and which paths a cache lacks.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tetryx_protocol::api::{
    DeletePathQuery, ErrorName, MissingPathsRequest, MissingPathsResponse, PAGE_LIMIT_MAX, PathInfo,
    PathsPage, PathsQuery, PinInfo, PinPathQuery,
};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::grant::CachePermission;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_raft::StateView;
use tetryx_state::command::{DeletePath, PinPath, PinPathUntil, UnpinPath};
use tetryx_state::query;
use tetryx_state::records::PathRecord;

use super::changed;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param, Parameters};
use crate::{Node, retention};

/// Paths in a page when nobody says.
const PAGE_LIMIT: u32 = 100;

pub(super) async fn missing(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
    ApiJson(request): ApiJson<MissingPathsRequest>,
) -> Result<ApiJson<MissingPathsResponse>, HttpError> {
    let view = node.replica().view()?;
    // A pusher without pull asks this as well.
    if !caller.is_granted(&cache, CachePermission::Push) {
        caller.cache_in(&view, &cache, CachePermission::Pull)?;
    } else {
        caller.cache_in(&view, &cache, CachePermission::Push)?;
    }
    let mut missing = query::missing_paths(&view, &cache, &request.store_path_hashes)?;
    // A pusher relies on what is there: for its paths, that is a use.
    if caller.is_granted(&cache, CachePermission::Push) {
        let today = node.clock().utc().unix_day();
        let lacking: BTreeSet<_> = missing.iter().collect();
        for hash in request
            .store_path_hashes
            .iter()
            .filter(|hash| !lacking.contains(hash))
        {
            if let Some(path) = query::path(&view, &cache, hash)? {
                node.accesses().note(today, path.last_access_day, &cache, *hash);
            }
        }
    }
    // What waits in the outbox need not be sent again.
    missing.retain(|hash| node.outbox().path(&cache, hash).is_none());
    Ok(ApiJson(MissingPathsResponse { missing }))
}

pub(super) async fn list(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
    Parameters(page): Parameters<PathsQuery>,
) -> Result<ApiJson<PathsPage>, HttpError> {
    let view = node.replica().view()?;
    caller.cache_in(&view, &cache, CachePermission::Pull)?;
    let limit = page.limit.unwrap_or(PAGE_LIMIT);
    if !(1..=PAGE_LIMIT_MAX).contains(&limit) {
        return Err(HttpError::bad_request(format!(
            "limit={limit} is outside of 1 to {PAGE_LIMIT_MAX}"
        )));
    }
    let limit = limit as usize;
    let mut records = query::paths(&view, &cache, page.after.as_ref(), limit + 1)?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(PathRecord::hash);
    let paths = records
        .into_iter()
        .map(|record| describe(&view, record))
        .collect::<Result<_, _>>()?;
    Ok(ApiJson(PathsPage { paths, next }))
}

pub(super) async fn show(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
    Param(hash): Param<StorePathHash>,
) -> Result<ApiJson<PathInfo>, HttpError> {
    let view = node.replica().view()?;
    caller.cache_in(&view, &cache, CachePermission::Pull)?;
    let record = query::path(&view, &cache, &hash)?.ok_or_else(|| {
        HttpError::new(
            ErrorName::NoSuchObject,
            format!("cache '{cache}' has no path {hash}; push it first"),
        )
    })?;
    describe(&view, record).map(ApiJson)
}

pub(super) async fn delete(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
    Param(path): Param<StorePathHash>,
    Parameters(DeletePathQuery { force }): Parameters<DeletePathQuery>,
) -> Result<Response, HttpError> {
    caller.cache(&node, &cache, CachePermission::Delete)?;
    let (index, _) = node
        .propose(caller.subject(), DeletePath { cache, path, force })
        .await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}

pub(super) async fn pin(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
    Param(path): Param<StorePathHash>,
    Parameters(pin): Parameters<PinPathQuery>,
) -> Result<Response, HttpError> {
    caller.cache(&node, &cache, CachePermission::ConfigureRetention)?;
    let until = match (pin.until, pin.for_seconds) {
        (Some(_), Some(_)) => {
            return Err(HttpError::bad_request(
                "a pin ends at 'until' or after 'for_seconds'; name one of them",
            ));
        }
        (until, None) => until,
        (None, Some(seconds)) => Some(node.clock().utc().plus(Duration::from_secs(seconds))),
    };
    let Some(until) = until else {
        let (index, _) = node.propose(caller.subject(), PinPath { cache, path }).await?;
        return Ok(changed(index, StatusCode::NO_CONTENT, ()));
    };
    if !retention::is_allowed(&node.replica().view()?)? {
        return Err(HttpError::new(
            ErrorName::NeedsUpgrade,
            "pins with an end are not known to every node yet; upgrade them all, or pin without an end",
        ));
    }
    let pin = PinPathUntil { cache, path, until };
    let (index, _) = node.propose(caller.subject(), pin).await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}

pub(super) async fn unpin(
    State(node): State<Node>,
    caller: Caller,
    Param(cache): Param<CacheName>,
    Param(path): Param<StorePathHash>,
) -> Result<Response, HttpError> {
    caller.cache(&node, &cache, CachePermission::ConfigureRetention)?;
    let (index, _) = node.propose(caller.subject(), UnpinPath { cache, path }).await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}

fn describe(view: &StateView, record: PathRecord) -> Result<PathInfo, HttpError> {
    let nar = query::nar(view, &record.nar_hash)?.ok_or_else(|| {
        HttpError::internal(&LostNar {
            path: record.store_path.to_string(),
        })
    })?;
    let now = query::clock(view)?;
    Ok(PathInfo {
        store_path: record.store_path,
        nar_hash: record.nar_hash,
        nar_size: nar.nar_size,
        file_hash: nar.file_hash,
        file_size: nar.file_size,
        references: record.references,
        deriver: record.deriver,
        system: record.system,
        ca: record.ca,
        signatures: record.signatures,
        created: record.created,
        created_by: record.created_by,
        last_access_day: record.last_access_day,
        pin: record.pinned.filter(|pin| pin.holds(now)).map(|pin| PinInfo {
            by: pin.by,
            at: pin.at,
            until: pin.until,
        }),
    })
}

/// The state machine keeps a NAR record for every path; its own check finds violations.
#[derive(Debug, thiserror::Error)]
#[error("the state has path {path} but not its NAR; rebuild this replica from a snapshot of another one")]
struct LostNar {
    path: String,
}
