//! The JSON API that is not about uploads: caches, paths, tokens, status.

use axum::Router;

use crate::Node;

pub(crate) fn routes() -> Router<Node> {
    Router::new()
}
