//! A station's randomness: a stream of the seed's.

use parking_lot::Mutex;
use tetryx_environment::Entropy;

/// Repeatable randomness that never repeats within a world.
#[derive(Debug)]
pub(super) struct SimEntropy(Mutex<fastrand::Rng>);

impl SimEntropy {
    pub(super) fn new(chance: fastrand::Rng) -> Self {
        Self(Mutex::new(chance))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}
