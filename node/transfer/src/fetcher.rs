//! The door to fetching: one flight per manifest, however many ask for it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_environment::Io;
use tetryx_link::Links;
use tetryx_protocol::hash::ManifestHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::manifest::Manifest;
use tetryx_protocol::time::Elapsed;
use tetryx_store::{ChunkStore, PinId};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::budget::Budgets;
use crate::error::FetchError;
use crate::flight::{self, Flight};
use crate::plan::{PlanConfig, ReaderId};
use crate::verify::Verifier;

/// For how long a peer that lied is not asked for anything.
pub(crate) const DROPPED_FOR: Duration = Duration::from_secs(600);
/// The most orders that run at one time, over all fetches: bounds the memory.
const ORDERS_MAX: usize = 48;

/// Reads the time since the process started.
pub type Now = Arc<dyn Fn() -> Elapsed + Send + Sync>;

/// How urgent a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Held to the budgets, and makes way while an interactive fetch runs.
    Background,
    /// Somebody waits for it.
    Interactive,
}

/// What to fetch, and from whom.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The manifest; it is fetched with its chunks unless it is here.
    pub manifest: ManifestHash,
    /// Who may have it, best first.
    pub providers: Vec<NodeId>,
    /// How urgent it is.
    pub priority: Priority,
    /// Protects manifest and chunks from collection, from before the first question until the caller unpins it.
    pub pin: PinId,
}

/// What a fetch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Bytes of the frames that were fetched and stored.
    pub bytes: u64,
    /// Bytes that came besides: frames cut off or delivered twice.
    pub duplicate_bytes: u64,
    /// Chunks that were fetched.
    pub chunks: u64,
    /// Bytes of frames by who delivered them.
    pub by_provider: BTreeMap<NodeId, u64>,
}

/// Fetches manifests and their chunks from other nodes into the store. Clones share everything.
///
/// # Invariants
/// - What is reported as fetched was verified against its name, and is durable.
/// - Only what the store lacks is asked for.
/// - At one time one flight fetches a manifest; who asks for it meanwhile joins.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Shared>,
}

/// A flight, and the handles' interest in it.
type Underway = (Weak<Lease>, Arc<Flight>);

/// What all flights share.
pub(crate) struct Shared {
    pub(crate) links: Arc<dyn Links>,
    pub(crate) store: Arc<ChunkStore>,
    pub(crate) io: Io,
    pub(crate) budgets: Budgets,
    pub(crate) now: Now,
    pub(crate) config: PlanConfig,
    pub(crate) orders: Arc<Semaphore>,
    pub(crate) verifier: Verifier,
    /// How many interactive flights are at work.
    pub(crate) interactive: watch::Sender<usize>,
    /// Peers that lied, until when they are dropped.
    dropped: Mutex<BTreeMap<NodeId, Elapsed>>,
    /// Grows with each peer that is dropped.
    pub(crate) drops: AtomicU64,
    /// Rates measured by former flights, in bytes per second.
    pub(crate) rates: Mutex<BTreeMap<NodeId, u64>>,
    flights: Mutex<BTreeMap<ManifestHash, Underway>>,
    readers: AtomicU64,
}

impl Fetcher {
    /// A fetcher into `store`. `now` is the process's elapsed clock.
    #[must_use]
    pub fn new(links: Arc<dyn Links>, store: Arc<ChunkStore>, io: Io, budgets: Budgets, now: Now) -> Self {
        Self::with_config(links, store, io, budgets, now, PlanConfig::default())
    }

    /// As [`Fetcher::new`], with another plan than the default.
    #[must_use]
    pub fn with_config(
        links: Arc<dyn Links>,
        store: Arc<ChunkStore>,
        io: Io,
        budgets: Budgets,
        now: Now,
        config: PlanConfig,
    ) -> Self {
        let inner = Shared {
            links,
            verifier: Verifier::new(Arc::clone(&store), io.clone()),
            store,
            io,
            budgets,
            now,
            config,
            orders: Arc::new(Semaphore::new(ORDERS_MAX)),
            interactive: watch::Sender::new(0),
            dropped: Mutex::default(),
            drops: AtomicU64::new(0),
            rates: Mutex::default(),
            flights: Mutex::default(),
            readers: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Begins to fetch, or joins the fetch of this manifest that is under way: then the providers are added to its
    /// own, and the higher priority counts. It is given up when the last handle is dropped.
    ///
    /// Call it within a tokio runtime. The pin covers the manifest at once, the chunks as soon as they are known.
    #[must_use = "dropping the last handle gives the fetch up"]
    pub fn fetch(&self, request: FetchRequest) -> FetchHandle {
        let inner = &self.inner;
        inner.store.pin_manifests(&request.pin, &[request.manifest]);
        let reader = ReaderId(inner.readers.fetch_add(1, Ordering::Relaxed));
        let mut flights = inner.flights.lock();
        if let Some((lease, flight)) = flights.get(&request.manifest)
            && let Some(lease) = lease.upgrade()
            && flight.join(&inner.store, &request)
        {
            return FetchHandle {
                flight: Arc::clone(flight),
                reader,
                _lease: lease,
            };
        }
        let flight = Arc::new(Flight::new(&request));
        let task = flight::run(Arc::clone(inner), Arc::clone(&flight));
        let lease = Arc::new(Lease {
            task: tokio::spawn(task).abort_handle(),
        });
        flights.retain(|_, (lease, _)| lease.strong_count() > 0);
        flights.insert(request.manifest, (Arc::downgrade(&lease), Arc::clone(&flight)));
        FetchHandle {
            flight,
            reader,
            _lease: lease,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner
    }

    /// How many manifests are being fetched.
    #[must_use]
    pub fn underway(&self) -> usize {
        let flights = self.inner.flights.lock();
        let wanted = flights.values().filter(|(lease, _)| lease.strong_count() > 0);
        wanted.count()
    }

    /// Peers that lied and are not asked for the time being.
    #[must_use]
    pub fn dropped(&self) -> Vec<NodeId> {
        self.inner.dropped_now()
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Fetcher")
            .field("flights", &self.inner.flights.lock().len())
            .field("dropped", &self.inner.dropped.lock())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Drops a peer that lied.
    pub(crate) fn drop_peer(&self, node: NodeId) {
        let until = (self.now)().plus(DROPPED_FOR);
        self.dropped.lock().insert(node, until);
        self.drops.fetch_add(1, Ordering::Release);
    }

    /// The peers that are dropped now.
    pub(crate) fn dropped_now(&self) -> Vec<NodeId> {
        let now = (self.now)();
        let mut dropped = self.dropped.lock();
        dropped.retain(|_, until| *until > now);
        dropped.keys().copied().collect()
    }
}

/// The interest of all handles in one flight.
#[derive(Debug)]
struct Lease {
    task: AbortHandle,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A fetch under way, or ended. Dropping the last handle of a fetch gives it up; what arrived stays in the store.
#[derive(Debug)]
pub struct FetchHandle {
    flight: Arc<Flight>,
    reader: ReaderId,
    _lease: Arc<Lease>,
}

impl FetchHandle {
    /// Waits until the manifest and all its chunks are here, verified and durable. Cancel-safe.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn finished(&self) -> Result<FetchReport, FetchError> {
        self.flight.outcome().await
    }

    /// Waits until the manifest is here. Cancel-safe.
    ///
    /// # Errors
    /// [`FetchError`], when the fetch failed before.
    pub async fn manifest(&self) -> Result<Arc<Manifest>, FetchError> {
        self.flight.manifest().await
    }

    /// Waits until these chunks of the manifest, counted from 0, can be read from the store; they may not be durable
    /// yet. A range beyond the end counts up to the end. Cancel-safe.
    ///
    /// # Errors
    /// [`FetchError`], when the fetch failed and one of them is not here.
    pub async fn wait_for(&self, chunks: Range<usize>) -> Result<(), FetchError> {
        self.flight.wait_for(chunks).await
    }

    /// Says that this handle's reader is at a chunk of the manifest, counted from 0: what follows comes first.
    pub fn want(&self, chunk: usize) {
        self.flight.want(self.reader, chunk);
    }

    /// Replaces who may be asked, best first.
    pub fn set_providers(&self, providers: Vec<NodeId>) {
        self.flight.set_providers(providers);
    }

    /// Makes the fetch at least this urgent.
    pub fn raise(&self, priority: Priority) {
        self.flight.raise(priority);
    }
}

impl Drop for FetchHandle {
    fn drop(&mut self) {
        self.flight.forget_reader(self.reader);
    }
}
