//! Links over QUIC.

mod answers;
mod close;
mod dial;
mod endpoint;
mod link;
mod listen;
mod refusals;
mod requests;
mod socket;
pub(crate) mod stream;
mod table;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, LinkConfig};
