//! A node's chunks at rest: packs of zstd frames under an index that can be rebuilt from them.
//!
//! A chunk is named by the BLAKE3 of its raw bytes and stored as one zstd frame; a manifest is
//! named by the BLAKE3 of its encoding. Both are appended as checksummed records to *segments*
//! (`segment-0000000001.pack`, …); `index.redb` says where each of them lies. All methods block:
//! callers on an async runtime use its blocking threads.
//!
//! # Invariants
//! - What [`ChunkStore::flush`] has covered survives a crash at any moment.
//! - No byte is handed out whose record fails its checksum or bears another name; nothing
//!   half-written is ever visible.
//! - The index never names bytes that are not durable, and everything in it but the pins can be
//!   found again in the packs.
//! - A collection removes nothing that a live manifest names or a pin protects (the argument is in
//!   the module [`collect`]).
//! - Running out of space breaks nothing: reads and collection go on, and puts succeed again when
//!   there is room.
//!
//! # Non-goals
//! - Cutting, compressing and opening chunks: `tetryx-protocol`. Which manifests are live: the
//!   replicated state, asked through the caller. Fetching what is missing: the node.
//!
//! ```
//! use std::sync::Arc;
//! use tetryx_protocol::{frame::Compressor, hash::ChunkHash};
//! use tetryx_store::{ChunkStore, MemoryDisk, PinId, StoreConfig};
//!
//! let store = ChunkStore::open(Arc::new(MemoryDisk::new()), StoreConfig::default())?;
//! let (upload, raw) = (PinId([7; 16]), b"some bytes of a NAR".as_slice());
//! let chunk = ChunkHash::of(raw);
//! assert_eq!(store.missing(&upload, &[chunk])?, [chunk]);
//! store.put(&[(chunk, raw.len() as u32, Compressor::new().compress(raw))])?;
//! store.flush()?;
//! assert_eq!(store.read_chunk(&chunk)?, raw);
//! # Ok::<(), tetryx_store::StoreError>(())
//! ```

mod catalog;
pub mod collect;
pub mod disk;
mod error;
mod flush;
mod holding;
mod index;
mod ingest;
mod inspect;
mod pins;
mod preview;
mod read;
mod record;
mod recover;
mod rewrite;
mod scan;
mod scrub;
mod segments;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

pub use collect::CollectReport;
pub use disk::{Disk, DiskFile, MemoryDisk, OpenMode, RealDisk, Survivors};
pub use error::{MarkError, StoreError};
pub use holding::HeldNar;
pub use ingest::PutReport;
pub use inspect::{Object, PackRecord, RecordState, read_pack};
pub use pins::{Hold, PinContents, PinId, PinInfo};
pub use preview::Garbage;
pub use rewrite::RewriteReport;
pub use scrub::{ScrubDone, ScrubRound, ScrubStep};
pub use store::{ChunkStore, Location, StoreConfig, StoreStats};
pub use verify::VerifyReport;
