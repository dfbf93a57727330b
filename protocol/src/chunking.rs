//! How a NAR is cut into chunks: FastCDC (v2020, crate `fastcdc`) over the uncompressed bytes.
//!
//! Client and node must cut alike, or nothing deduplicates; [`CUT_FORMAT`] names the way. It changes with every
//! constant here, and with every change of boundaries in the crate. docs/decisions/0001-chunk-size.md measures
//! these sizes against others.
//!
//! # Invariants
//! - Boundaries depend on the bytes only, not on the blocks they came in: a [`Cutter`] cuts where `fastcdc` cuts
//!   the whole.
//! - Every chunk has 1 to [`CHUNK_MAX`] bytes; put together they are the input.

use fastcdc::v2020::{self, Normalization};

/// Which way of cutting this is.
pub const CUT_FORMAT: u16 = 1;

/// The least bytes of a chunk, except the last of a NAR.
pub const CHUNK_MIN: usize = 32 * 1024;
/// About how many bytes a chunk has.
pub const CHUNK_AVG: usize = 128 * 1024;
/// The most bytes of a chunk.
pub const CHUNK_MAX: usize = 512 * 1024;

const NORMALIZATION: Normalization = Normalization::Level1;

/// Cuts a stream of bytes into chunks. Sans-IO: push blocks, take chunks.
///
/// Call order: after every [`push`](Self::push) call [`next_chunk`](Self::next_chunk) until it returns `None`;
/// after the last one call [`finish`](Self::finish) until *that* returns `None`, since the rest may hold several
/// chunks. Then it is as new and can cut the next NAR.
///
/// Drained like that it holds less than [`CHUNK_MAX`] bytes plus one block, and copies each byte twice at most on
/// average: into its buffer and out of it, besides an occasional move of what is left over.
#[derive(Clone)]
pub struct Cutter {
    mask_small: u64,
    mask_large: u64,
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes begin that are not cut yet.
    start: usize,
}

impl Cutter {
    /// A cutter at the beginning of a NAR.
    pub fn new() -> Self {
        let (mask_small, mask_large) = v2020::select_masks(CHUNK_AVG, NORMALIZATION);
        Self {
            mask_small,
            mask_large,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Adds the next bytes.
    pub fn push(&mut self, block: &[u8]) {
        // What has been cut is dropped only when the buffer would grow, and only when it is at least as long as
        // what has to move: so every byte moved is paid for by a byte cut.
        let left = self.buffer.len() - self.start;
        if self.start >= left && self.buffer.len() + block.len() > self.buffer.capacity() {
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(left);
            self.start = 0;
        }
        self.buffer.extend_from_slice(block);
    }

    /// The next chunk, once it is certain where it ends whatever comes.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        (self.buffer.len() - self.start >= CHUNK_MAX).then(|| self.cut())
    }

    /// The next chunk of what is left, given that nothing more comes. Call it until it returns `None`.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            return None;
        }
        Some(self.cut())
    }

    fn cut(&mut self) -> Vec<u8> {
        let rest = &self.buffer[self.start..];
        let (_, len) = v2020::cut(
            rest,
            CHUNK_MIN,
            CHUNK_AVG,
            CHUNK_MAX,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
        );
        self.start += len;
        rest[..len].to_vec()
    }
}

impl Default for Cutter {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.buffer.len() - self.start;
        formatter
            .debug_struct("Cutter")
            .field("held_bytes", &held)
            .finish_non_exhaustive()
    }
}
