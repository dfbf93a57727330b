//! openraft under the Tetryx state machine: durable log and state, snapshots, proposals.

pub mod environment;
pub mod transport;

/// The largest piece of a snapshot that travels in one call, in bytes.
pub const SNAPSHOT_PIECE_MAX: usize = 256 * 1024;
