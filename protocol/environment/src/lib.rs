//! The seams through which Tetryx sees the world: time, chance, and where blocking work runs.
//!
//! Production implements them once, in the daemon; a simulation implements them with virtual time and a seed.
//!
//! # Invariants
//! - No other code in the product reads a clock, draws randomness or hands work to another thread (`clippy.toml` bans
//!   the functions).
//!
//! # Non-goals
//! - Timers. Waiting is the runtime's business: a simulation runs on a runtime with virtual time.

mod io;
mod load;
#[cfg(feature = "mutants")]
pub mod mutant;

use std::fmt::Debug;

pub use self::io::{Blocking, Io, WorkPanicked};
use tetryx_protocol::time::{Elapsed, UtcTime};

/// Reads the time.
pub trait Clock: Send + Sync + Debug {
    /// The wall time: for records, schedules and other nodes.
    ///
    /// It may jump, in both directions, and it may be wrong: nothing that must hold may depend on two readings
    /// being in order. Use [`Clock::elapsed`] for anything that measures.
    fn utc(&self) -> UtcTime;

    /// The time since this process started: for timeouts and rates.
    ///
    /// It never goes back, and means nothing in another process.
    fn elapsed(&self) -> Elapsed;
}

/// Draws randomness fit for keys.
pub trait Entropy: Send + Sync + Debug {
    /// Fills `bytes` with random bytes.
    ///
    /// An implementation that cannot deliver must stop the process: there is no safe way on without randomness.
    fn fill(&self, bytes: &mut [u8]);
}
