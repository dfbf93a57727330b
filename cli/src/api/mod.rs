//! The tool's side of the HTTP API: one typed call per route, every one retried where that is safe.

mod client;
mod error;
mod ground;

pub(crate) use self::client::{Client, NarBody, Patience};
pub(crate) use self::error::ClientError;
pub(crate) use self::ground::fetch;
