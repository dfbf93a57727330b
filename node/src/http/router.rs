//! Every route, and what wraps them all: limits, timeouts, panics, counting.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body::Body as _;
use tetryx_protocol::api::ErrorName;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutBody;

use crate::Node;
use crate::http::error::HttpError;
use crate::http::freshness;

/// The whole service of a node: also what tests drive without a socket.
pub fn router(node: Node) -> Router {
    let prompt = Router::new()
        .merge(crate::api::routes())
        .merge(crate::substituter::routes());
    let slow = crate::uploads::routes().merge(crate::api::slow_routes());
    wrap(node, prompt, slow)
}

/// Puts everything around the routes that all of them need. An upload takes as long as the client's link, and a
/// collection as long as the slowest node; everything else is `prompt`: it begins its answer in time or not at all.
fn wrap(node: Node, prompt: Router<Node>, slow: Router<Node>) -> Router {
    let config = node.config();
    let json_body_max = config.limits.json_body_max.as_usize();
    let body_idle_timeout = config.http.body_idle_timeout;
    prompt
        .route_layer(middleware::from_fn_with_state(
            node.clone(),
            freshness::as_fresh_as_asked,
        ))
        .route_layer(middleware::from_fn_with_state(node.clone(), answer_in_time))
        .merge(slow)
        .fallback(async || HttpError::not_found())
        .method_not_allowed_fallback(async |request: Request| {
            HttpError::new(
                ErrorName::MethodNotAllowed,
                format!("this route does not take {}", request.method()),
            )
        })
        .layer(DefaultBodyLimit::max(json_body_max))
        .layer(middleware::map_request(move |request: Request| async move {
            request.map(|body| match body.is_end_stream() {
                true => body,
                false => Body::new(TimeoutBody::new(body_idle_timeout, body)),
            })
        }))
        .layer(middleware::from_fn_with_state(node.clone(), limit_head))
        .layer(CatchPanicLayer::custom(explain_panic))
        .layer(middleware::from_fn_with_state(node.clone(), observe))
        .with_state(node)
}

async fn answer_in_time(State(node): State<Node>, request: Request, next: Next) -> Response {
    let limit = node.config().http.request_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_slow(limit).into_response(),
    }
}

fn too_slow(limit: Duration) -> HttpError {
    HttpError::new(
        ErrorName::NotReady,
        format!(
            "the node did not answer within {limit:?} (http.request_timeout); the request may be repeated"
        ),
    )
}

/// Refuses a head that is larger than configured. Far larger ones the connection refuses by itself, without a body.
async fn limit_head(State(node): State<Node>, request: Request, next: Next) -> Response {
    let limits = &node.config().limits;
    let headers = request.headers();
    let line = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let bytes = headers.iter().fold(line, |sum, (name, value)| {
        sum + name.as_str().len() + value.len() + 4
    });
    let refusal = if headers.len() > limits.header_count_max {
        format!(
            "{} headers; this node takes {} (limits.header_count_max)",
            headers.len(),
            limits.header_count_max
        )
    } else if bytes > limits.header_bytes_max.as_usize() {
        format!(
            "{bytes} bytes of headers; this node takes {} (limits.header_bytes_max)",
            limits.header_bytes_max
        )
    } else {
        return next.run(request).await;
    };
    HttpError::new(ErrorName::TooLarge, format!("the request has {refusal}"))
        .with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        .into_response()
}

fn explain_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = text, "a request handler panicked; please report this");
    HttpError::new(
        ErrorName::InternalServerError,
        "the node hit a bug while doing this; its log says where, and other requests are not affected",
    )
    .into_response()
}

/// Counts and logs. Paths stay out of the metrics' labels: only routes are bounded in number.
async fn observe(State(node): State<Node>, request: Request, next: Next) -> Response {
    let started = node.clock().elapsed();
    let (method, target) = (request.method().clone(), request.uri().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let seconds = node.clock().elapsed().saturating_sub(started).as_secs_f64();
    let status = response.status().as_u16();
    node.metrics().request(&method, route, status, seconds);
    tracing::debug!(%method, path = target.path(), status, seconds, "answered");
    response
}

#[cfg(test)]
mod tests;
