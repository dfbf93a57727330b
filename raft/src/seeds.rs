//! Seeds for the random numbers that openraft draws (election timeouts, the phase of its ticks).
//!
//! openraft draws from a generator that belongs to the running task and is inherited by tasks it spawns. Its tasks
//! are therefore started in a scope with a seed from [`Entropy`](tetryx_environment::Entropy).

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::impls::TokioRuntime;
use openraft::rt::deterministic_rng::DeterministicRng;

use tetryx_environment::Entropy;

/// Gives every scope another seed.
#[derive(Debug)]
pub(crate) struct Seeds {
    next: AtomicU64,
}

impl Seeds {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        Self {
            next: AtomicU64::new(u64::from_le_bytes(seed)),
        }
    }

    /// Runs `future` such that openraft can draw random numbers in it.
    pub(crate) fn scope<F>(&self, future: F) -> impl Future<Output = F::Output> + use<F>
    where
        F: Future,
    {
        DeterministicRng::<TokioRuntime>::scope(self.next.fetch_add(1, Ordering::Relaxed), future)
    }
}
