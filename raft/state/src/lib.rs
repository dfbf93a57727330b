//! The replicated state machine of Tetryx: commands, refusals, invariants.
//!
//! The state is a set of ordered tables ([`tables`]). A [`Command`] is a committed log entry; [`apply()`] is the
//! one function that changes the tables; its [`Reply`] says what was done or why nothing was. The crate knows no
//! Raft: whoever orders the commands may use it, and every replica that applies the same log holds the same bytes.
//!
//! # Invariants
//! - `apply` is total and deterministic: no clock, no randomness, no float, no unordered map, no I/O but the tables.
//! - A refused command changes nothing but the log clock and the memory of its proposal.
//! - A proposal is applied at most once, however often it is retried, duplicated or reordered.
//! - The log clock never runs backwards: it is the largest time any applied command was proposed at.
//! - What the tables hold is checked by [`check()`], rule by rule, after every apply in tests and simulations.
//!
//! # Non-goals
//! - Ordering commands, durability, snapshots as files: `tetryx-raft`.
//! - Deciding who may propose what: the node checks grants before it proposes.
//! - Randomness and keys: whoever proposes a command draws them and puts them into it.
#![warn(clippy::float_arithmetic)]

mod access;
pub mod apply;
pub mod check;
pub mod command;
mod error;
pub mod ground;
mod key;
pub mod limits;
pub mod query;
pub mod records;
pub mod reply;
pub mod retention;
pub mod snapshot;
pub mod tables;

pub use self::apply::apply;
pub use self::check::{Violation, check};
pub use self::command::{Body, Command, CommandError};
pub use self::error::{CorruptRecord, StateError};
pub use self::reply::{Outcome, Refusal, Reply};
pub use self::snapshot::StateHash;
pub use self::tables::{MemoryTables, ReadTables, Table, Tables};
