//! Endpoints on real loopback sockets.

mod connections;
mod refusals;
mod relay;
mod station;
mod streams;
