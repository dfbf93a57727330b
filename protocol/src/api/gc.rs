//! The JSON about giving space back.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Body of `POST /api/v1/gc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcRequest {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer of `POST /api/v1/gc`: what went, or would go, at each level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcResponse {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Paths whose time is over, in all caches.
    pub paths: u64,
    /// NARs that no other path has.
    pub nars: u64,
    /// The size of those NARs as served, in bytes.
    pub nar_bytes: u64,
    /// The chunks, by node: first the node that was asked, then the others.
    pub nodes: Vec<NodeGc>,
}

/// What one node gave back, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGc {
    /// The node.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Chunks that no NAR here names any more.
    pub chunks: u64,
    /// What they take on the node's disk, in bytes.
    pub bytes: u64,
    /// Why the node did not do it, if it did not.
    pub error: Option<String>,
}
