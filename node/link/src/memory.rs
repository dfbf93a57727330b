//! Links within one process: for tests and simulations of everything above this crate.
//!
//! A [`Hub`] connects any number of [`MemoryLinks`]. Latency is tokio's time, so a paused clock makes it exact and
//! free. What a cut does to whom is written at [`Hub::cut_one_way`].
//!
//! # Non-goals
//! - Loss, rates, reordering: a stream is reliable, and QUIC's own behaviour is tested over QUIC.

mod hub;
mod links;
pub(crate) mod pipe;

#[cfg(test)]
mod tests;

pub use hub::Hub;
pub use links::MemoryLinks;
