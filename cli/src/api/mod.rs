//! The tool's side of the HTTP API: one typed call per route, every one retried where that is safe.

mod client;
mod error;

pub(crate) use self::client::{Client, NarBody, Patience};
pub(crate) use self::error::ClientError;
