//! The JSON API that is not about uploads: caches, paths, tokens, members, status; and what monitors ask.
//!
//! An answer to a change carries the header `tetryx-index`: the log index at which it was applied.

mod caches;
mod doctor;
mod gc;
mod ground;
mod members;
mod metrics;
mod outbox;
mod paths;
mod standing;
mod status;
mod tokens;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::{HeaderValue, StatusCode};

pub(crate) use self::status::Counts;
use crate::Node;
use crate::http::freshness::INDEX;

pub(crate) fn routes() -> Router<Node> {
    Router::new()
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/doctor", get(doctor::report))
        .route("/api/v1/outbox", get(outbox::report))
        .route("/api/v1/caches", get(caches::list).post(caches::create))
        .route(
            "/api/v1/caches/{cache}",
            get(caches::show).patch(caches::configure).delete(caches::destroy),
        )
        .route("/api/v1/caches/{cache}/missing-paths", post(paths::missing))
        .route("/api/v1/caches/{cache}/paths", get(paths::list))
        .route(
            "/api/v1/caches/{cache}/paths/{hash}",
            get(paths::show).delete(paths::delete),
        )
        .route(
            "/api/v1/caches/{cache}/paths/{hash}/pin",
            put(paths::pin).delete(paths::unpin),
        )
        .route("/api/v1/members", get(members::list))
        .route("/api/v1/members/{node}", delete(members::remove))
        .route("/api/v1/members/{node}/drain", post(members::drain))
        .route(
            "/api/v1/invites",
            get(members::list_invites).post(members::invite),
        )
        .route("/api/v1/invites/{invite}", delete(members::revoke_invite))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{token}", delete(tokens::revoke))
        .merge(ground::routes())
}

/// What may take as long as it takes.
pub(crate) fn slow_routes() -> Router<Node> {
    Router::new().route("/api/v1/gc", post(gc::collect))
}

/// The answer to a change that was applied at this log index.
fn changed(index: u64, status: StatusCode, body: impl IntoResponse) -> Response {
    (status, [(INDEX.clone(), HeaderValue::from(index))], body).into_response()
}

#[cfg(test)]
mod tests;
