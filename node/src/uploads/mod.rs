use axum::Router;

use crate::Node;
use crate::config::Config;

/// State kept between requests; one per node.
#[derive(Debug)]
pub(crate) struct Uploads {}

impl Uploads {
    pub(crate) fn new(_config: &Config) -> Self {
        Self {}
    }
}

pub(crate) fn routes() -> Router<Node> {
    Router::new()
}
