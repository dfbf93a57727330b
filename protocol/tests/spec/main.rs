//! What the vocabulary promises, one module per part of it.
//!
//! Goldens lie in `tests/golden`: `.hex` for bytes, `.txt` for text. Changing one changes a format: it needs a
//! second reviewer and a line in `docs/wire.md`.

mod api;
mod cache;
mod chunking;
mod envelope;
mod fixtures;
mod forms;
mod frame;
mod grant;
mod hash;
mod manifest;
mod narinfo;
mod signature;
mod store_path;
mod time;
mod token;
mod upload;
