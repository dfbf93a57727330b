//! `/api/v1/outbox`: what this node took while it could not ask the cluster, and what became of it.

use axum::extract::State;
use tetryx_protocol::api::OutboxReport;

use crate::Node;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::ApiJson;

/// The paths of those caches that the caller's token names; all of them for an administrator.
pub(super) async fn report(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<OutboxReport>, HttpError> {
    let grants = &caller.token()?.grants;
    let report = node
        .outbox()
        .report(|entry| grants.admin || grants.may_discover(&entry.cache));
    Ok(ApiJson(report))
}
