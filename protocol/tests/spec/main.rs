//! What the vocabulary promises, one module per part of it.
//!
//! Goldens lie in `tests/golden`: `.hex` for bytes, `.txt` for text. Changing one changes a format: it needs a
//! second reviewer and a line in `docs/wire.md`.

mod api;
mod cache;
mod chunk_wire;
mod chunking;
mod envelope;
mod fixtures;
mod forms;
mod frame;
mod grant;
mod ground;
mod hash;
mod manifest;
mod messages;
mod narinfo;
mod placement;
mod presence;
mod signature;
mod store_path;
mod ticket;
mod time;
mod token;
mod upload;
