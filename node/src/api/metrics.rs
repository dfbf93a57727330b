//! `/metrics`: counters and gauges in the OpenMetrics text format, which Prometheus reads.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::status::{counts, store_status};
use crate::Node;
use crate::http::error::HttpError;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(node): State<Node>) -> Result<Response, HttpError> {
    let mut registry = Registry::with_prefix("tetryx");
    registry.register(
        "build",
        "The program that runs",
        Info::new([
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("node", node.name().to_owned()),
        ]),
    );
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let replica = node.replica().status();
    gauge(
        "uptime_seconds",
        "Time since the node started",
        node.uptime().as_secs(),
    );
    gauge("raft_term", "The Raft term", replica.term);
    gauge(
        "raft_applied_index",
        "The last log index applied here",
        node.replica().applied_index(),
    );
    gauge("raft_voters", "Nodes that vote", replica.voters.len() as u64);
    gauge(
        "raft_has_leader",
        "1 when a leader is known",
        u64::from(replica.leader.is_some()),
    );
    gauge(
        "raft_is_leader",
        "1 when this node leads",
        u64::from(replica.leader == Some(node.node_id())),
    );
    let counts = counts(&node).await?;
    gauge("caches", "Caches", counts.caches);
    gauge("paths", "Store paths, over all caches", counts.paths);
    gauge("nars", "Distinct NARs", counts.nars);
    gauge(
        "tokens",
        "Tokens in the registry, revoked and expired ones as well",
        counts.tokens,
    );
    gauge(
        "path_bytes",
        "Uncompressed NAR bytes of all paths",
        counts.path_bytes,
    );
    gauge(
        "nar_bytes",
        "Uncompressed bytes of the distinct NARs",
        counts.nar_bytes,
    );
    gauge(
        "upload_sessions",
        "Upload sessions open now",
        node.uploads().open_sessions() as u64,
    );
    let store = store_status(&node).await?;
    gauge("store_chunks", "Distinct chunks on this node", store.chunks);
    gauge(
        "store_damaged",
        "Chunks and manifests known to be corrupt",
        store.damaged,
    );
    let scrub = node.scrub_standing();
    gauge(
        "damaged_nars",
        "NARs that are needed here and of which something is damaged",
        scrub.hurt.len() as u64,
    );
    gauge(
        "scrub_left_bytes",
        "Bytes that the round of scrubbing under way has still to read back",
        scrub
            .progress
            .map_or(0, |progress| progress.bytes_total.saturating_sub(progress.bytes)),
    );
    gauge("store_segments", "Pack files", store.segments);
    gauge(
        "store_pack_bytes",
        "Bytes of the pack files, with what a collection could free",
        store.pack_bytes,
    );
    gauge(
        "store_disk_bytes",
        "Bytes on disk: pack files and index",
        store.disk_bytes,
    );
    gauge(
        "store_free_bytes",
        "Bytes that may still be stored, limited by disk and quota",
        store.free_bytes,
    );
    let figures = node.replication().figures();
    gauge(
        "under_replicated_nars",
        "NARs of which a node that should hold them has no copy, or does not answer",
        figures.under_replicated.nars,
    );
    gauge(
        "bytes_to_move",
        "Bytes that have to be copied for that, over all nodes",
        figures.bytes_to_move,
    );
    gauge(
        "lacking_nars",
        "NARs that this node should hold and has not fetched yet",
        figures.lacking_here.nars,
    );
    gauge(
        "surplus_nars",
        "NARs that this node holds beyond what it should",
        figures.surplus.nars,
    );
    gauge(
        "chunk_bytes_sent",
        "Bytes of chunks that other nodes have taken since the start",
        node.chunk_bytes_sent(),
    );
    node.metrics().register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| HttpError::internal(&error))?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
