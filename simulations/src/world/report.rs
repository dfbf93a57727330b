//! What a run of a world came to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The promise, in words.
    pub promise: String,
    /// How it was broken.
    pub detail: String,
    /// Virtual time since the world began.
    pub at: Duration,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    /// What the seed switched on, in words.
    pub plan: String,
    /// Virtual time from the beginning to the end.
    pub lived: Duration,
    /// Stations at the end, those included that left.
    pub stations: usize,
    pub violation: Option<Violation>,
    /// Over all lines of the trace, in hexadecimal.
    pub trace_hash: String,
    pub trace_lines: u64,
    /// How often things happened, by name.
    pub counts: BTreeMap<String, u64>,
    /// How long the stations took to come to rest after the faults had ended.
    pub converged_after: Option<Duration>,
    /// The last lines of the trace, if a promise was broken.
    pub last: Vec<String>,
}
