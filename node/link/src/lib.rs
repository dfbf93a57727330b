//! One QUIC endpoint per station: identity, roster, streams, congestion.
//!
//! A node has one ed25519 key; its public half is its id and its TLS identity (RFC 7250 raw public keys, no
//! certificates). [`Endpoint`] listens and dials on one UDP socket, lets in who is in the [`Roster`], and carries
//! calls and streams of the [`Service`]s. Everything above uses the trait [`Links`], so that tests and simulations
//! can put a [`memory::Hub`] in its place.
//!
//! # Invariants
//! - Who is at the other end has proved to hold the key of its id. An address proves nothing.
//! - A node that is not a member reaches [`Service::Join`] and nothing else; a removed one is told so.
//! - Whoever is refused learns why, in words, and both sides log it.
//!
//! # Non-goals
//! - Deciding who is a member, and remembering addresses: that is whoever implements [`Roster`].
//! - Deadlines of calls: the caller drops the future.

mod channel;
mod congestion;
mod error;
mod header;
mod links;
pub mod memory;
mod quic;
mod service;

pub use channel::{Channel, RecvHalf, SendHalf};
pub use error::LinkError;
pub use links::{
    Admission, CALL_BYTES_MAX, Congestion, Handler, LinkSettings, Links, PathInfo, REASON_BYTES_MAX, Roster,
};
pub use quic::{Endpoint, LinkConfig};
pub use service::Service;
