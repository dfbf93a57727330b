//! `/api/v1/missions`, `satellites`, `stations`, `elements` and `passes`.
//!
//! # Invariants
//! - What is registered is shown to whoever has a grant for a mission or a station, and to administrators.
//! - A satellite is changed with a grant for its mission, before and after; a station with one for it; missions by
//!   administrators.

mod missions;
mod satellites;
mod stations;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use axum::routing::{get, post, put};
use http::StatusCode;
use tetryx_protocol::api::{ErrorName, PassList, PassesQuery};

use super::changed;
use crate::Node;
use crate::ground::{passes, refresh, require_level};
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Parameters, unreadable_body};

pub(super) fn routes() -> Router<Node> {
    Router::new()
        .route("/api/v1/missions", get(missions::list))
        .route(
            "/api/v1/missions/{mission}",
            get(missions::show).put(missions::put).delete(missions::remove),
        )
        .route("/api/v1/satellites", get(satellites::list))
        .route(
            "/api/v1/satellites/{satellite}",
            get(satellites::show)
                .put(satellites::put)
                .delete(satellites::remove),
        )
        .route("/api/v1/stations", get(stations::list))
        .route(
            "/api/v1/stations/{station}",
            get(stations::show).put(stations::put).delete(stations::remove),
        )
        .route(
            "/api/v1/stations/{station}/maintenance",
            put(stations::put_maintenance).delete(stations::remove_maintenance),
        )
        .route("/api/v1/elements", post(refresh_elements))
        .route("/api/v1/passes", get(list_passes))
}

/// That the caller may see what is registered.
fn may_read(caller: &Caller) -> Result<(), HttpError> {
    if caller.token()?.grants.may_read_ground() {
        return Ok(());
    }
    Err(HttpError::new(
        ErrorName::AccessError,
        "this needs a token with a grant for a mission or a station; ask for one and log in with it",
    ))
}

/// That the caller may act for a mission.
fn may_act_for(caller: &Caller, mission: &str) -> Result<(), HttpError> {
    if caller.token()?.grants.acts_for(mission) {
        return Ok(());
    }
    Err(HttpError::new(
        ErrorName::AccessError,
        format!("this needs a token with a grant for mission '{mission}'; ask for one and log in with it"),
    ))
}

/// That the caller may change a station.
fn may_operate(caller: &Caller, station: &str) -> Result<(), HttpError> {
    if caller.token()?.grants.operates(station) {
        return Ok(());
    }
    Err(HttpError::new(
        ErrorName::AccessError,
        format!("this needs a token with a grant for station '{station}'; ask for one and log in with it"),
    ))
}

/// Whether something was added, as an HTTP status.
fn status_of(outcome: &tetryx_state::Outcome) -> StatusCode {
    match outcome {
        tetryx_state::Outcome::ItemAdded { .. } => StatusCode::CREATED,
        _ => StatusCode::OK,
    }
}

async fn refresh_elements(
    State(node): State<Node>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, HttpError> {
    let body = body.map_err(|error| unreadable_body(&error, &error.body_text()))?;
    let grants = caller.token()?.grants.clone();
    may_read(&caller)?;
    let view = node.replica().view()?;
    require_level(&view)?;
    let batch = node
        .io()
        .run(move || refresh::read(&view, &grants, &body))
        .await??;
    let (index, answer) = refresh::propose(&node, caller.subject(), batch).await?;
    Ok(changed(index, StatusCode::OK, ApiJson(answer)))
}

async fn list_passes(
    State(node): State<Node>,
    caller: Caller,
    Parameters(query): Parameters<PassesQuery>,
) -> Result<ApiJson<PassList>, HttpError> {
    may_read(&caller)?;
    let view = node.replica().view()?;
    passes::find(&node, view, query).await.map(ApiJson)
}
