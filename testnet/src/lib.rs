//! Real processes and a real Nix client: the harness of the end-to-end tests, the demo and the benchmarks.
//!
//! Everything here starts the programs that users start (`tetryx-node`, `tetryx-cli`, `nix`, `nix-store`) and looks
//! at them from outside: through their output, their exit codes, HTTP, and the files they leave.
//!
//! # Invariants
//! - Nothing outside the harness's own folders is written: every [`user::User`] and every [`station::Station`] has
//!   its own home, and the Nix store at `/nix` is a private one ([`store::PrivateStore`]).
//! - Nothing that was started outlives the value that stands for it.
//! - Nobody sleeps: the harness waits for output, for an answer, or for the end of a process, each with a deadline.
//!
//! # Non-goals
//! - Faults inside a process (torn writes, clock jumps): `simulations/`.

pub mod bench;
pub mod binaries;
pub mod clock;
pub mod cluster;
pub mod corpus;
pub mod current_nix;
pub mod demo;
pub mod doorway;
pub mod emulator;
pub mod enclosure;
pub mod folders;
pub mod http;
pub mod namespace;
pub mod net;
pub mod patience;
pub mod process;
pub mod rehearsal;
pub mod scenario;
pub mod station;
pub mod store;
pub mod talk;
pub mod up;
pub mod user;
pub mod wire;
pub mod world;
