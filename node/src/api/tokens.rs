//! `/api/v1/tokens`: issue, list, revoke.
//!
//! # Invariants
//! - A token grants nothing that the token it was issued with does not, and does not outlive it; an
//!   administrator's token grants everything for as long as it says.
//! - A token is shown once, to whoever asked for it.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use tetryx_protocol::api::{CreateTokenRequest, CreateTokenResponse, ErrorName, TokenInfo, TokenList};
use tetryx_protocol::id::TokenId;
use tetryx_state::command::RevokeToken;
use tetryx_state::query;

use super::changed;
use crate::Node;
use crate::ground::require_level;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param};

/// All of them for an administrator; for others their own.
pub(super) async fn list(State(node): State<Node>, caller: Caller) -> Result<ApiJson<TokenList>, HttpError> {
    let claims = caller.token()?;
    let tokens = query::tokens(&node.replica().view()?)?;
    let visible = tokens
        .into_iter()
        .filter(|(token, _)| claims.grants.admin || *token == claims.token);
    let describe = |(token, record): (TokenId, tetryx_state::records::TokenRecord)| TokenInfo {
        token,
        subject: record.subject,
        grants: record.grants,
        issued: record.issued,
        expires: record.expires,
        revoked: record.revoked,
    };
    Ok(ApiJson(TokenList {
        tokens: visible.map(describe).collect(),
    }))
}

pub(super) async fn create(
    State(node): State<Node>,
    caller: Caller,
    ApiJson(request): ApiJson<CreateTokenRequest>,
) -> Result<Response, HttpError> {
    let own = caller.token()?;
    if request.subject.trim().is_empty() {
        return Err(HttpError::bad_request("a token needs a subject: whom is it for?"));
    }
    if request.validity_seconds == 0 {
        return Err(HttpError::bad_request(
            "a token must be valid for at least one second",
        ));
    }
    if !own.grants.covers(&request.grants) {
        return Err(HttpError::new(
            ErrorName::AccessError,
            "the new token would allow what yours does not; ask for less, or use another token",
        ));
    }
    if !request.grants.stations.is_empty() {
        require_level(&node.replica().view()?)?;
    }
    let validity = Duration::from_secs(request.validity_seconds);
    if !own.grants.admin && node.clock().utc().plus(validity) > own.expires {
        return Err(HttpError::new(
            ErrorName::AccessError,
            format!(
                "the new token would outlive yours, which expires at {}; ask for a shorter validity",
                own.expires
            ),
        ));
    }
    let (token, claims) = node
        .issue_token(caller.subject(), request.subject, validity, request.grants)
        .await?;
    let index = node.replica().applied_index();
    let mut response = changed(
        index,
        StatusCode::CREATED,
        ApiJson(CreateTokenResponse { token, claims }),
    );
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Any of them for an administrator; for others their own.
pub(super) async fn revoke(
    State(node): State<Node>,
    caller: Caller,
    Param(token): Param<TokenId>,
) -> Result<Response, HttpError> {
    let own = caller.token()?;
    if !own.grants.admin && own.token != token {
        return Err(HttpError::new(
            ErrorName::AccessError,
            "a token can revoke itself; for others, use one with the admin grant",
        ));
    }
    let (index, _) = node.propose(caller.subject(), RevokeToken { token }).await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}
