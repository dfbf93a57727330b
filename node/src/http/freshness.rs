//! How fresh an answer is: asked for by the client, and told to it.
//!
//! - `Tetryx-Wait-Index: N` on any GET waits, for a while, until this node has applied the log up to N: whoever
//!   changed something at one node reads it at another.
//! - `?read=strong|bounded|any` on a GET under `/api/v1`, with `max_age_ms` for `bounded` ([`MAX_AGE`] otherwise).
//! - Answers under `/api/v1` carry `Tetryx-Index`, up to which the log was applied at least, and `Tetryx-Age-Ms`:
//!   everything that was acknowledged longer ago than that is in the answer. Absent when that cannot be told.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tetryx_protocol::api::ErrorName;
use tetryx_raft::{ReadError, ReadLevel};

use crate::Node;
use crate::http::error::HttpError;

/// What the client has seen applied elsewhere.
static WAIT_INDEX: HeaderName = HeaderName::from_static("tetryx-wait-index");
/// The log index that the answer shows, at least.
pub(crate) static INDEX: HeaderName = HeaderName::from_static("tetryx-index");
/// How old the answer may be, in milliseconds.
static AGE: HeaderName = HeaderName::from_static("tetryx-age-ms");

/// How old a bounded read may be when nobody says.
const MAX_AGE: Duration = Duration::from_secs(10);
/// The longest wait for an index.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// What the level of reading is chosen with; handlers never see it.
const READ_PARAMETER: &str = "read";
const AGE_PARAMETER: &str = "max_age_ms";

/// Waits until the state is as fresh as the request asks, then answers it, and says how fresh that is.
pub(crate) async fn as_fresh_as_asked(
    State(node): State<Node>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_api = request.uri().path().starts_with("/api/v1/");
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        let ready = async {
            wait_for_index(&node, request.headers()).await?;
            match take_level(&mut request).filter(|_| is_api) {
                Some(level) => read(&node, level?).await,
                None => Ok(()),
            }
        };
        if let Err(refusal) = ready.await {
            return refusal.into_response();
        }
    }
    if !is_api {
        return next.run(request).await;
    }
    let freshness = node.replica().freshness();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .entry(&INDEX)
        .or_insert_with(|| HeaderValue::from(freshness.index));
    if let Some(age) = freshness.age {
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        headers.insert(&AGE, HeaderValue::from(ms));
    }
    response
}

async fn wait_for_index(node: &Node, headers: &HeaderMap) -> Result<(), HttpError> {
    let Some(value) = headers.get(&WAIT_INDEX) else {
        return Ok(());
    };
    let index: u64 = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| HttpError::bad_request("tetryx-wait-index is not a number"))?;
    let patience = WAIT_MAX.min(node.config().http.request_timeout / 2);
    match tokio::time::timeout(patience, node.replica().wait_applied(index)).await {
        Ok(applied) => applied.map(drop).map_err(HttpError::from),
        Err(_) => Err(HttpError::new(
            ErrorName::TooStale,
            format!(
                "this node has applied the log up to {}, not yet up to {index}; ask again later, or another node",
                node.replica().applied_index()
            ),
        )),
    }
}

async fn read(node: &Node, level: ReadLevel) -> Result<(), HttpError> {
    node.replica()
        .read(level)
        .await
        .map(drop)
        .map_err(|error| match error {
            ReadError::NoLeader { .. } => HttpError::new(ErrorName::NoQuorum, error.to_string()),
            ReadError::TooOld { .. } => HttpError::new(ErrorName::TooStale, error.to_string()),
            ReadError::Replica(error) => error.into(),
            other => HttpError::internal(&other),
        })
}

/// Takes the level of reading out of the query, if it names one.
fn take_level(request: &mut Request) -> Option<Result<ReadLevel, HttpError>> {
    let query = request.uri().query()?;
    let (mut level, mut max_age, mut rest) = (None, None, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((READ_PARAMETER, value)) => level = Some(value.to_owned()),
            Some((AGE_PARAMETER, value)) => max_age = Some(value.to_owned()),
            _ => rest.push(pair),
        }
    }
    let level = level?;
    let path = request.uri().path();
    let target = if rest.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", rest.join("&"))
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    Some(parse_level(&level, max_age.as_deref()))
}

fn parse_level(level: &str, max_age: Option<&str>) -> Result<ReadLevel, HttpError> {
    let age = match max_age.map(str::parse) {
        None => MAX_AGE,
        Some(Ok(ms)) => Duration::from_millis(ms),
        Some(Err(_)) => return Err(HttpError::bad_request("max_age_ms is not a number")),
    };
    match level {
        "strong" => Ok(ReadLevel::Strong),
        "bounded" => Ok(ReadLevel::Bounded(age)),
        "any" => Ok(ReadLevel::Any),
        other => Err(HttpError::bad_request(format!(
            "{other:?} is no level of reading; choose strong, bounded or any"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::testing::{TestNode, request};

    impl TestNode {
        async fn waits_for(&self, index: &str) -> crate::testing::Answer {
            let request = request(Method::GET, "/api/v1/caches", Some(&self.root));
            let request = request.header(&WAIT_INDEX, index);
            self.send(request.body(axum::body::Body::empty()).unwrap()).await
        }
    }

    #[tokio::test]
    async fn every_level_of_reading_is_served_by_a_node_that_leads() {
        let node = TestNode::new().await;
        for level in ["strong", "bounded", "bounded&max_age_ms=500", "any"] {
            let path = format!("/api/v1/caches?read={level}");
            let answer = node.get(&path, Some(&node.root)).await;
            assert_eq!(answer.status, StatusCode::OK, "{level}: {answer:?}");
            assert!(answer.headers.contains_key(&INDEX), "{level}");
        }
        let answer = node.get("/api/v1/caches?read=strong", Some(&node.root)).await;
        assert!(answer.headers.contains_key(&AGE), "{answer:?}");
    }

    #[tokio::test]
    async fn a_level_nobody_knows_is_refused_and_other_parameters_are_left_alone() {
        let node = TestNode::new().await;
        let answer = node.get("/api/v1/caches?read=psychic", Some(&node.root)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        let answer = node
            .get("/api/v1/members?all=true&read=any", Some(&node.root))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = node
            .get("/api/v1/members?read=any&al=true", Some(&node.root))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    }

    #[tokio::test]
    async fn what_is_applied_is_shown_at_once_and_what_never_comes_is_refused() {
        let node = TestNode::with(1, |config| {
            config.http.request_timeout = Duration::from_millis(20)
        })
        .await;
        let applied = node.node.replica().applied_index();
        assert_eq!(node.waits_for(&applied.to_string()).await.status, StatusCode::OK);
        let refused = node.waits_for("1000000").await;
        assert_eq!(refused.error().name(), Some(ErrorName::TooStale));
        assert!(refused.text().contains("1000000"), "{refused:?}");
        assert_eq!(node.waits_for("soon").await.status, StatusCode::BAD_REQUEST);
    }
}
