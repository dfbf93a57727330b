//! The HTTP face: sockets, routes, authentication, errors.

pub mod auth;
pub mod error;
pub(crate) mod extract;
pub(crate) mod freshness;
pub mod listener;
pub mod router;
pub(crate) mod tokens;
