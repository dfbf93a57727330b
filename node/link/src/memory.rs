//! Links within one process: for tests and simulations of everything above this crate.
//!
//! A [`Hub`] connects any number of [`MemoryLinks`]. Time is tokio's, so a paused clock makes it exact and free. What a
//! cut does to whom is written at [`Hub::cut_one_way`], what weather does at [`Conditions`], and what a node does that
//! stands still at [`Hub::freeze`].
//!
//! # Invariants
//! - Where nothing is set, nothing happens: no time passes, and nothing is drawn.
//! - What happens follows from the seed and from the order in which the hub is asked: nothing here depends on real
//!   time, on the order of a hash table, or on which of several waiters happens to be woken first.
//! - No weather changes a byte, loses one, or reorders those of one stream: that is QUIC's promise, and the hub keeps
//!   it. Only a [`Tamper`] changes bytes.
//! - A call that fails as [`LinkError::Unreachable`](crate::LinkError::Unreachable) reached no handler.
//!
//! # Non-goals
//! - QUIC's own behaviour, such as its congestion control and its handshakes: that is tested over QUIC.

mod freeze;
mod hub;
mod links;
mod observe;
pub(crate) mod pipe;
mod seat;
mod state;
mod trip;
mod way;
mod weather;

#[cfg(test)]
mod tests;

pub use hub::Hub;
pub use links::MemoryLinks;
pub use observe::{Passage, Tamper};
pub use weather::{Conditions, Tally};
