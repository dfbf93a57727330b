//! `push`: send a closure to a cache, and of it only the chunks that the server lacks.
//!
//! ```text
//! nix path-info ─► closure ─► plan ─► portions ─┬► pipeline: read ─► cut ─► ask ─► compress ─► send ─┬► commit
//!                                               └► … as many at a time as there are jobs            ─┘
//! ```
//!
//! # Invariants
//! - A path is committed after or together with the paths it refers to, so every path in the cache is whole at any
//!   moment, and an interrupted push leaves a cache that is right.
//! - Whatever arrived before an interruption is not sent again: the same command asks which paths and which chunks
//!   are missing, and goes on from there.
//! - Memory does not depend on the size of a NAR or of the closure's NARs together.

mod chunks;
mod closure;
mod commit;
mod commit_order;
mod compress;
mod error;
mod nar_source;
mod pipeline;
mod plan;
mod progress;
mod run;
mod session;
mod small;
mod window;

pub(crate) use self::run::run;
