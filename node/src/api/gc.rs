//! `/api/v1/gc`: give space back, on every node.

use axum::extract::State;
use tetryx_protocol::api::{GcRequest, GcResponse};

use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::ApiJson;
use crate::{Node, gc};

/// Takes as long as the slowest node: no time limit of the prompt routes applies.
pub(super) async fn collect(
    State(node): State<Node>,
    caller: Caller,
    ApiJson(request): ApiJson<GcRequest>,
) -> Result<ApiJson<GcResponse>, HttpError> {
    caller.admin()?;
    let done = gc::everywhere(&node, caller.subject(), request.dry_run).await?;
    Ok(ApiJson(done))
}
