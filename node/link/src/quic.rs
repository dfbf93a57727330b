//! Links over QUIC.

mod close;
pub(crate) mod stream;
