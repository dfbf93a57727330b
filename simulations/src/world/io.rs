//! Where a station's blocking work runs: beside its tasks, for as long as its disk pleases, on the one thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tetryx_environment::Blocking;
use tokio::sync::watch;

/// A disk's pace. Work that is done at one time ends in any order, as on a pool of threads.
#[derive(Debug)]
pub struct SimIo {
    chance: Mutex<fastrand::Rng>,
    /// What a piece of work takes on average, in microseconds.
    mean_us: AtomicU64,
    /// Pieces of work begun.
    done: AtomicU64,
    frozen: watch::Sender<bool>,
}

impl SimIo {
    pub(super) fn new(chance: fastrand::Rng) -> Self {
        Self {
            chance: Mutex::new(chance),
            mean_us: AtomicU64::new(0),
            done: AtomicU64::new(0),
            frozen: watch::Sender::new(false),
        }
    }

    /// Has each piece of work take between nothing and twice this.
    pub fn set_mean(&self, mean: Duration) {
        let mean = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX);
        self.mean_us.store(mean, Ordering::Relaxed);
    }

    /// How many pieces of work there were.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn set_frozen(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// What one piece of work waits before it is done. Most reads and writes hit a cache.
    fn wait(&self) -> Duration {
        let mean = self.mean_us.load(Ordering::Relaxed);
        let mut chance = self.chance.lock();
        if mean == 0 {
            return match chance.u8(0..8) {
                0 => Duration::from_millis(chance.u64(1..4)),
                _ => Duration::ZERO,
            };
        }
        Duration::from_micros(chance.u64(0..=mean.saturating_mul(2)))
    }
}

impl Blocking for SimIo {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let wait = self.wait();
        self.done.fetch_add(1, Ordering::Relaxed);
        let mut frozen = self.frozen.subscribe();
        if wait.is_zero() && !*frozen.borrow() {
            work();
            return futures::future::ready(()).boxed();
        }
        let done = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // The disk outlives its reader.
            let _ = frozen.wait_for(|frozen| !frozen).await;
            work();
        });
        done.map(drop).boxed()
    }

    fn parallelism(&self) -> usize {
        2
    }
}
