//! What the node counts while it works. Gauges that can be asked for are read when `/metrics` is
//! (`api::metrics`); this module holds only what would be lost otherwise.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicU64;

use axum::extract::MatchedPath;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The counters of one node.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    pub(crate) connections: Gauge,
    /// Compressed bytes of NARs sent to clients.
    pub(crate) nar_bytes_sent: Counter,
    /// Bytes of NAR upload streams received.
    pub(crate) upload_bytes_received: Counter,
    /// Chunks that a client sent.
    pub(crate) upload_chunks_received: Counter,
    /// Chunks that a client did not have to send.
    pub(crate) upload_chunks_present: Counter,
    /// Paths made visible by this node's uploads.
    pub(crate) paths_published: Counter,
    /// Garbage collections finished.
    pub(crate) collections: Counter,
    /// Bytes that collections gave back.
    pub(crate) collected_bytes: Counter,
    /// When the last collection finished, in seconds since the Unix epoch.
    pub(crate) last_collection: Gauge<u64, AtomicU64>,
    /// Copies given up for want of room.
    pub(crate) copies_evicted: Counter,
    /// Rounds of scrubbing finished.
    pub(crate) scrubs: Counter,
    /// Bytes read back.
    pub(crate) scrubbed_bytes: Counter,
    /// Chunks and manifests that a scrub has found damaged.
    pub(crate) scrub_found: Counter,
    /// Damaged chunks and manifests that were fetched anew.
    pub(crate) scrub_healed: Counter,
    /// When the last round ended, in seconds since the Unix epoch.
    pub(crate) last_scrub: Gauge<u64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Method,
    route: Route,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Route,
}

/// A route as a label, shared with the router: no request allocates for being counted.
#[derive(Clone, Debug)]
struct Route(Option<MatchedPath>);

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("unknown", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// A method as a label: invented ones count as one, or a client could fill the memory with them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Method(&'static str);

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

impl Method {
    fn of(method: &http::Method) -> Self {
        let known = [
            http::Method::GET,
            http::Method::HEAD,
            http::Method::PUT,
            http::Method::POST,
        ];
        let more = [http::Method::PATCH, http::Method::DELETE, http::Method::OPTIONS];
        let labels = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];
        let position = known.iter().chain(&more).position(|known| known == method);
        Self(position.map_or("other", |position| labels[position]))
    }
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 4.0, 9))
            }),
            connections: Gauge::default(),
            nar_bytes_sent: Counter::default(),
            upload_bytes_received: Counter::default(),
            upload_chunks_received: Counter::default(),
            upload_chunks_present: Counter::default(),
            paths_published: Counter::default(),
            collections: Counter::default(),
            collected_bytes: Counter::default(),
            last_collection: Gauge::default(),
            copies_evicted: Counter::default(),
            scrubs: Counter::default(),
            scrubbed_bytes: Counter::default(),
            scrub_found: Counter::default(),
            scrub_healed: Counter::default(),
            last_scrub: Gauge::default(),
        }
    }

    /// Counts an answered request; `None` is a route that does not exist. `seconds` is the time until the answer
    /// began.
    pub(crate) fn request(
        &self,
        method: &http::Method,
        route: Option<MatchedPath>,
        status: u16,
        seconds: f64,
    ) {
        let route = Route(route);
        let labels = RequestLabels {
            method: Method::of(method),
            route: route.clone(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds
            .get_or_create(&RouteLabels { route })
            .observe(seconds);
    }

    /// Puts every counter into the registry under its name.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register(
            "http_request_seconds",
            "Time until an answer began",
            self.request_seconds.clone(),
        );
        registry.register(
            "http_connections",
            "Connections open now",
            self.connections.clone(),
        );
        registry.register(
            "nar_sent_bytes",
            "Compressed NAR bytes sent to clients",
            self.nar_bytes_sent.clone(),
        );
        registry.register(
            "upload_received_bytes",
            "Bytes of NAR upload streams received",
            self.upload_bytes_received.clone(),
        );
        registry.register(
            "upload_chunks_received",
            "Chunks that clients sent",
            self.upload_chunks_received.clone(),
        );
        registry.register(
            "upload_chunks_present",
            "Chunks that clients did not have to send",
            self.upload_chunks_present.clone(),
        );
        registry.register(
            "paths_published",
            "Store paths published through this node",
            self.paths_published.clone(),
        );
        registry.register(
            "collections",
            "Garbage collections finished",
            self.collections.clone(),
        );
        registry.register(
            "collected_bytes",
            "Bytes given back by collections",
            self.collected_bytes.clone(),
        );
        registry.register(
            "last_collection_timestamp_seconds",
            "When the last collection finished, since the Unix epoch",
            self.last_collection.clone(),
        );
        registry.register(
            "copies_evicted",
            "Copies that were given up for want of room",
            self.copies_evicted.clone(),
        );
        registry.register(
            "scrubs",
            "Rounds in which everything stored was read back",
            self.scrubs.clone(),
        );
        registry.register(
            "scrubbed_bytes",
            "Bytes read back to be checked",
            self.scrubbed_bytes.clone(),
        );
        registry.register(
            "scrub_found",
            "Chunks and manifests that were found damaged",
            self.scrub_found.clone(),
        );
        registry.register(
            "scrub_healed",
            "Damaged chunks and manifests that were fetched anew",
            self.scrub_healed.clone(),
        );
        registry.register(
            "last_scrub_timestamp_seconds",
            "When everything stored had last been read back, since the Unix epoch",
            self.last_scrub.clone(),
        );
    }
}
