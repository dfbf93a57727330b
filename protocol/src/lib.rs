//! The vocabulary of Tetryx: what a client, a node and the replicated state must agree on, to the byte.
//!
//! Everything here is a value or a pure function over values: typed hashes and ids, store paths, Nix's text
//! formats, how a NAR is cut and framed, tokens and grants, the upload stream, the HTTP API's JSON, and the
//! envelope around everything that is stored or sent. `docs/wire.md` lists every format byte by byte.
//!
//! # Invariants
//! - No clock, no randomness, no disk, no network: whoever calls brings the time and the seeds (`clippy.toml`).
//! - Two values that mean different things have different types: a [`hash::ChunkHash`] never becomes a
//!   [`hash::NarHash`], and [`time::UtcTime`] never mixes with [`time::Elapsed`].
//! - No input panics: every decoder answers bytes it does not understand with an error that names the field,
//!   the value and what was expected.
//! - Text forms are for people and JSON; the same types are raw bytes in postcard.
//!
//! # Non-goals
//! - Deciding anything: commands and refusals live in `tetryx-state`.
//! - Moving anything: sockets and files live in `tetryx-node` and `tetryx-store`.

pub mod api;
pub mod cache;
pub mod cache_info;
pub mod chunk_wire;
pub mod chunking;
pub mod envelope;
mod error;
pub mod frame;
pub mod grant;
pub mod ground;
pub mod hash;
pub mod id;
pub mod join;
pub mod manifest;
pub mod member;
pub mod message;
pub mod narinfo;
pub mod nix32;
pub mod peer;
pub mod placement;
pub mod presence;
pub mod secret;
pub mod signature;
pub mod store_path;
mod text;
pub mod ticket;
pub mod time;
pub mod token;
pub mod upload;

pub use error::ProtocolError;
