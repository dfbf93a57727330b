//! Every route, and what wraps them.

use axum::Router;

use crate::Node;

/// The whole service of a node: also what tests drive without a socket.
pub fn router(node: Node) -> Router {
    Router::new()
        .merge(crate::api::routes())
        .merge(crate::uploads::routes())
        .merge(crate::substituter::routes())
        .with_state(node)
}
