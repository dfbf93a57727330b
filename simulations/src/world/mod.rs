//! A world: stations, the links between them, clients, and everything that goes wrong, on one thread, in virtual time,
//! from one seed.
//!
//! A world founds a cluster, lets clients and faults loose on it for some hours, ends the faults, and gives it time to
//! come to rest. Checks watch it all along ([`invariants`]); the first broken promise ends the run.
//!
//! # Invariants
//! - The same seed and wishes give the same trace, line by line. So nothing here, and nothing that runs here, depends on
//!   wall time, threads, addresses in memory or the operating system's randomness; the program that runs a world makes
//!   the latter repeatable ([`crate::runner`]).
//! - Each purpose draws from a stream of its own, so that a new client does not change what the faults do.
//!
//! # Non-goals
//! - QUIC, libp2p, sockets, threads and real disks: the testnet has them.

mod calm;
mod clients;
mod clock;
mod coverage;
mod doors;
mod entropy;
mod faults;
mod invariants;
mod io;
mod logs;
mod oracle;
mod plan;
mod promise;
mod quiet;
mod report;
mod run;
mod station;
mod trace;
mod weather;

use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_gossip::memory::Mesh;
use tetryx_link::memory::Hub;
use tetryx_state::command::FEATURE_LEVEL;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::clock::SimClock;
use self::coverage::Coverage;
pub(crate) use self::faults::Trouble;
pub use self::io::SimIo;
pub(crate) use self::oracle::Oracle;
pub use self::plan::{Fault, Faults, LinkClass, Plan, Wish};
pub use self::promise::Promise;
pub use self::report::{Report, Violation};
pub use self::run::live;
pub use self::station::{Outcome, Station};
use self::trace::Trace;

/// A world. Clones are handles on the same one.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

/// A handle that does not keep the world alive.
#[derive(Clone)]
struct Weak(std::sync::Weak<Inner>);

impl Weak {
    /// The world: it outlives whatever lives in it.
    fn upgrade(&self) -> World {
        World {
            inner: self.0.upgrade().expect("the world outlives its stations"),
        }
    }
}

struct Inner {
    seed: u64,
    plan: Plan,
    began: Instant,
    hub: Hub,
    mesh: Mesh,
    stations: Mutex<Vec<Station>>,
    /// A token that may do everything.
    root: OnceLock<String>,
    trace: Trace,
    coverage: Coverage,
    oracle: Oracle,
    violation: Mutex<Option<Violation>>,
    /// Cancelled at the first violation.
    failed: CancellationToken,
    calm: watch::Sender<bool>,
    /// What goes wrong.
    trouble: Trouble,
    /// The feature level of the release that new machines run.
    release: AtomicU32,
    /// What the checks of consensus remember.
    watch: invariants::raft::Watch,
    /// What the checks of data remember.
    data: invariants::data::Watch,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.inner.seed)
            .finish_non_exhaustive()
    }
}

impl World {
    fn new(seed: u64, wish: Wish, is_traced: bool) -> Self {
        Self::with_plan(seed, Plan::draw(&mut stream(seed, "plan"), wish), is_traced)
    }

    fn with_plan(seed: u64, plan: Plan, is_traced: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                seed,
                plan,
                began: clock::virtual_now(),
                hub: Hub::seeded(stream(seed, "links").u64(..)),
                mesh: Mesh::seeded(stream(seed, "gossip").u64(..)),
                stations: Mutex::default(),
                root: OnceLock::new(),
                trace: Trace::new(is_traced),
                coverage: Coverage::default(),
                oracle: Oracle::default(),
                violation: Mutex::default(),
                failed: CancellationToken::new(),
                calm: watch::Sender::new(true),
                trouble: Trouble::default(),
                // An upgrade goes to the level above: builds of the first level could not join a cluster.
                release: AtomicU32::new(FEATURE_LEVEL),
                watch: invariants::raft::Watch::default(),
                data: invariants::data::Watch::default(),
            }),
        }
    }

    fn downgrade(&self) -> Weak {
        Weak(Arc::downgrade(&self.inner))
    }

    fn began(&self) -> Instant {
        self.inner.began
    }

    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// A stream of chance for a purpose, the same one each time it is asked for: keep it.
    pub fn chance(&self, purpose: &str) -> fastrand::Rng {
        stream(self.inner.seed, purpose)
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        clock::virtual_now().saturating_duration_since(self.inner.began)
    }

    /// What this seed switched on.
    pub fn plan(&self) -> &Plan {
        &self.inner.plan
    }

    /// Notes an event.
    pub fn trace(&self, event: impl Display) {
        self.inner.trace.add(self.now(), &event);
    }

    /// Counts something that happened.
    pub fn count(&self, what: &'static str) {
        self.inner.coverage.add(what, 1);
    }

    /// How often that happened.
    pub fn counted(&self, what: &str) -> u64 {
        self.inner.coverage.of(what)
    }

    /// Ends the run: a promise is broken. The first violation counts.
    pub fn violated(&self, promise: Promise, detail: String) {
        let mut violation = self.inner.violation.lock();
        if violation.is_none() {
            self.trace(format_args!("VIOLATED: {promise}: {detail}"));
            *violation = Some(Violation {
                promise: promise.to_string(),
                detail,
                at: self.now(),
            });
            self.inner.failed.cancel();
        }
    }

    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    pub fn gossip_mesh(&self) -> &Mesh {
        &self.inner.mesh
    }

    /// How many stations there are or were.
    pub fn station_count(&self) -> usize {
        self.inner.stations.lock().len()
    }

    /// A station, by its number.
    pub fn station(&self, number: usize) -> Station {
        self.inner.stations.lock()[number].clone()
    }

    pub fn stations(&self) -> Vec<Station> {
        self.inner.stations.lock().clone()
    }

    /// A token that may do everything, everywhere.
    pub fn root(&self) -> &str {
        self.inner.root.get().expect("the cluster is founded first")
    }

    /// Whether things may go wrong now.
    pub fn faults_are_on(&self) -> bool {
        !*self.inner.calm.borrow()
    }

    /// What clients were promised.
    pub(crate) fn oracle(&self) -> &Oracle {
        &self.inner.oracle
    }

    /// What goes wrong.
    pub(crate) fn trouble(&self) -> &Trouble {
        &self.inner.trouble
    }

    /// There is a new release, of this feature level: new machines run it.
    fn release(&self, feature_level: u32) {
        self.inner.release.store(feature_level, Ordering::Relaxed);
    }

    /// Resolves when faults have ended.
    pub async fn until_calm(&self) {
        let mut calm = self.inner.calm.subscribe();
        let _ = calm.wait_for(|calm| *calm).await;
    }
}

/// The stream of chance of a purpose.
fn stream(seed: u64, purpose: &str) -> fastrand::Rng {
    let hash = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .update(purpose.as_bytes())
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    fastrand::Rng::with_seed(u64::from_le_bytes(first))
}
