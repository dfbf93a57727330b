//! Chunks between stations: planned, verified, resumed, from several providers at once.
//!
//! [`ChunkServer`] answers `tetryx-chunks/1` from a store. [`Fetcher`] brings a manifest's missing chunks into a
//! store: [`plan::Planner`] decides what is asked of whom, frames are verified on blocking threads and kept at once,
//! so that whatever cuts a fetch short, the next one asks for the rest only.
//!
//! # Invariants
//! - Nothing is stored, and nothing can be read, before its BLAKE3 was found to be its name.
//! - What [`FetchHandle::finished`] reports is durable.
//! - The memory that a node spends on fetching and serving is bounded, whatever its peers send or ask for.
//!
//! # Non-goals
//! - Who has what, and who should: the node's replication. What is live: the replicated state.

mod budget;
mod download;
mod error;
mod fetcher;
mod flight;
mod manifest;
mod order;
pub mod plan;
mod relay;
mod server;
#[cfg(test)]
mod tests;
mod verify;

pub use budget::Budgets;
pub use error::FetchError;
pub use fetcher::{FetchHandle, FetchReport, FetchRequest, Fetcher, Now, Priority};
pub use server::ChunkServer;
