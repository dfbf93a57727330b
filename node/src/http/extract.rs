//! Extractors with clear refusals: path parameters, queries and JSON bodies.

use std::str::FromStr;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;
use tetryx_protocol::api::ErrorName;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::ground::{MissionName, SatelliteName, StationName};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::{InviteId, NodeId, TokenId, UploadId};
use tetryx_protocol::store_path::StorePathHash;

use crate::http::error::HttpError;

/// A value that stands in a route.
pub(crate) trait Segment: FromStr<Err: std::fmt::Display> {
    /// The parameter's name in the route.
    const PARAMETER: &'static str;
    /// What a malformed one is called.
    const MALFORMED: ErrorName;
    /// What it is, in a message.
    const WHAT: &'static str;
}

impl Segment for CacheName {
    const PARAMETER: &'static str = "cache";
    const MALFORMED: ErrorName = ErrorName::InvalidCacheName;
    const WHAT: &'static str = "cache name";
}

impl Segment for StorePathHash {
    const PARAMETER: &'static str = "hash";
    const MALFORMED: ErrorName = ErrorName::InvalidStorePathHash;
    const WHAT: &'static str = "store path hash";
}

impl Segment for NarHash {
    const PARAMETER: &'static str = "nar_hash";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "NAR hash";
}

impl Segment for UploadId {
    const PARAMETER: &'static str = "upload";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "upload id";
}

impl Segment for TokenId {
    const PARAMETER: &'static str = "token";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "token id";
}

impl Segment for NodeId {
    const PARAMETER: &'static str = "node";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "node id";
}

impl Segment for MissionName {
    const PARAMETER: &'static str = "mission";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "mission name";
}

impl Segment for SatelliteName {
    const PARAMETER: &'static str = "satellite";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "satellite name";
}

impl Segment for StationName {
    const PARAMETER: &'static str = "station";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "station name";
}

impl Segment for InviteId {
    const PARAMETER: &'static str = "invite";
    const MALFORMED: ErrorName = ErrorName::BadRequest;
    const WHAT: &'static str = "invite id";
}

/// The route's parameter of this type. A malformed one is refused with 400.
#[derive(Clone, Debug)]
pub(crate) struct Param<T>(pub(crate) T);

impl<T: Segment, S: Send + Sync> FromRequestParts<S> for Param<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let refuse = |text: &str, why: &dyn std::fmt::Display| {
            HttpError::new(T::MALFORMED, format!("{text:?} is not a {}: {why}", T::WHAT))
        };
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|rejection| refuse(parts.uri.path(), &rejection.body_text()))?;
        let text = params
            .iter()
            .find(|(name, _)| *name == T::PARAMETER)
            .map(|(_, text)| text)
            .unwrap_or_default();
        text.parse().map(Self).map_err(|why| refuse(text, &why))
    }
}

/// The query string. Unknown or malformed parameters are refused with 400 (types deny unknown fields).
#[derive(Clone, Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(QueryRejection::FailedToDeserializeQueryString(why)) => Err(HttpError::bad_request(format!(
                "the query string is not understood: {}",
                why.body_text()
            ))),
            Err(why) => Err(HttpError::bad_request(why.body_text())),
        }
    }
}

/// A JSON body, in and out. One that is malformed, mistyped or too large is refused as an error of ours.
#[derive(Clone, Debug)]
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpError> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(explain(&rejection)),
        }
    }
}

impl<T: serde::Serialize> IntoResponse for ApiJson<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

fn explain(rejection: &JsonRejection) -> HttpError {
    let text = rejection.body_text();
    match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            HttpError::bad_request("the body must be JSON; send it with 'content-type: application/json'")
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        }
        JsonRejection::BytesRejection(_) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            too_large()
        }
        JsonRejection::BytesRejection(_) => unreadable_body(rejection, &text),
        _ => HttpError::bad_request(text),
    }
}

fn too_large() -> HttpError {
    HttpError::new(
        ErrorName::TooLarge,
        "the body is larger than limits.json_body_max of this node",
    )
}

/// A body that broke off, stood still, or is larger than its limit.
pub(crate) fn unreadable_body(error: &(dyn std::error::Error + 'static), text: &str) -> HttpError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return too_large();
        }
        if error.is::<tower_http::timeout::TimeoutError>() {
            return HttpError::bad_request(
                "the body stood still for longer than http.body_idle_timeout of this node",
            )
            .with_status(StatusCode::REQUEST_TIMEOUT);
        }
        cause = error.source();
    }
    HttpError::bad_request(format!("the body cannot be read: {text}"))
}
