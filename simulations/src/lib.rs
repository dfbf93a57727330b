//! The node's own code over a simulated disk, clock and random source.
//!
//! A [`Machine`] is what survives: the bytes on its disk, its clock, its configuration. It starts a [`TestNode`],
//! whose power can be cut at any disk operation; what was not synced is then lost, kept or torn, as one asks. Log,
//! state and chunks lie on the one disk, so a crash hits all of them at one moment.
//!
//! # Invariants
//! - Nothing here reads the machine's clock, draws randomness, opens a socket or touches a file.
//! - A machine that is driven the same way twice does the same twice (`tests/repeatable.rs`).

mod answer;
mod client;
mod cluster;
mod disk;
mod environment;
mod machine;
mod nar;
mod node;
pub mod runner;
pub mod scale;
pub mod world;

pub use answer::Answer;
pub use client::Upload;
pub use cluster::Cluster;
pub use disk::Folder;
pub use environment::{TestClock, TestEntropy};
pub use machine::Machine;
pub use nar::{TestChunk, TestPath, cut, file_nar, nar, noise, stream, whole_stream};
pub use node::{TestNode, decompress, nar_url, request};
