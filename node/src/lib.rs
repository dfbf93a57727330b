//! The Tetryx station daemon: a Nix binary cache and pass network node.
//!
//! This crate wires the pure crates to the world: it owns the clock, the randomness, the sockets, the files that
//! hold keys, and every background task. Everything it does hangs off [`Node`], which is assembled from [`Parts`];
//! nothing is global, so many nodes can live in one process.

mod api;
pub mod clock;
mod collect;
pub mod config;
pub mod control;
pub mod entropy;
mod error;
mod files;
pub mod first_start;
mod gc;
mod ground;
pub mod host;
pub mod http;
mod in_memory;
mod life;
pub mod membership;
mod metrics;
mod node;
pub mod open;
pub mod outbox;
pub mod peers;
pub mod places;
pub mod presence;
pub mod recovery;
pub mod replication;
mod retention;
mod room;
mod scrub;
pub mod secrets;
mod substituter;
#[cfg(test)]
mod testing;
mod uploads;

pub use self::collect::CollectSummary;
pub use self::error::NodeError;
pub use self::in_memory::InMemory;
pub use self::life::Ending;
pub use self::node::{Node, Parts};
pub use self::replication::PassReport;
pub use self::scrub::{ScrubProgress, ScrubSummary};
