//! How a chunk is stored, sent and served: as one zstd frame (RFC 8878) with its content size in the header.
//!
//! A NAR is served as its frames one after the other, so a frame is part of what Nix decompresses: it must be
//! complete in itself and must not contain or drag along anything else.
//!
//! # Invariants
//! - [`FrameOpener::open`] accepts exactly one frame, of known content size, without a dictionary, nothing before
//!   and nothing after it, and only if its content has the expected length and BLAKE3.
//! - Opening writes at most [`CHUNK_MAX`] bytes, whatever the frame claims.
//! - A frame that opens here opens for Nix: it asks for no window above [`WINDOW_MAX`].

use std::fmt;

use zstd::zstd_safe;

use crate::chunking::CHUNK_MAX;
use crate::hash::ChunkHash;

/// The zstd level chunks are compressed at.
pub const ZSTD_LEVEL: i32 = 3;

/// What differs from the level's own parameters: at the size of a chunk, 0.5 % smaller at the same speed
/// (docs/decisions/0001-chunk-size.md).
const ZSTD_TUNING: [zstd_safe::CParameter; 3] = [
    zstd_safe::CParameter::MinMatch(4),
    zstd_safe::CParameter::ChainLog(17),
    zstd_safe::CParameter::HashLog(17),
];

/// The most bytes a frame can have: zstd's bound (`ZSTD_COMPRESSBOUND`) for a chunk of [`CHUNK_MAX`] bytes that
/// does not compress.
pub const FRAME_LEN_MAX: usize = compress_bound(CHUNK_MAX);

const fn compress_bound(len: usize) -> usize {
    const SMALL: usize = 128 * 1024;
    let margin = if len < SMALL { (SMALL - len) >> 11 } else { 0 };
    len + (len >> 8) + margin
}

/// The four bytes a zstd frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The bits of the frame header descriptor (its fifth byte) that give the length of a dictionary id.
const DICTIONARY_ID_FLAG: u8 = 0b0000_0011;

/// The bit of the frame header descriptor that says that the window is the content and no window descriptor
/// follows.
const SINGLE_SEGMENT_FLAG: u8 = 0b0010_0000;

/// The largest window a frame may ask for: what RFC 8878 recommends every decoder to support. Nix decodes by
/// stream and refuses more than 128 MiB, so a frame that asked for that would open here and nowhere else.
pub const WINDOW_MAX: u64 = 8 * 1024 * 1024;

/// Why a frame is not the chunk it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The chunk cannot be one.
    #[error("chunk {}: raw_len is {raw_len}; expected 1 to {CHUNK_MAX} bytes", chunk.fmt_short())]
    RawLen { chunk: ChunkHash, raw_len: u32 },
    /// More bytes than any frame of a chunk has.
    #[error("chunk {}: its frame has {len} bytes; expected at most {FRAME_LEN_MAX}", chunk.fmt_short())]
    TooLong { chunk: ChunkHash, len: usize },
    /// Not a zstd frame at all, or a skippable one.
    #[error("chunk {}: its frame does not begin with the zstd magic 28b52ffd; expected one zstd frame", chunk.fmt_short())]
    NotAFrame { chunk: ChunkHash },
    /// Compressed with a dictionary, which Nix does not have.
    #[error("chunk {}: its frame names a dictionary; expected one without", chunk.fmt_short())]
    Dictionary { chunk: ChunkHash },
    /// Asks the reader for more memory than a chunk can need.
    #[error("chunk {}: its frame asks for a window of {window} bytes; expected at most {WINDOW_MAX}", chunk.fmt_short())]
    Window { chunk: ChunkHash, window: u64 },
    /// The header does not say how long the content is.
    #[error("chunk {}: its frame header has no content size; expected {raw_len}", chunk.fmt_short())]
    NoContentSize { chunk: ChunkHash, raw_len: u32 },
    /// The header gives another length.
    #[error("chunk {}: its frame header says {content_size} bytes; expected {raw_len}", chunk.fmt_short())]
    ContentSize {
        chunk: ChunkHash,
        content_size: u64,
        raw_len: u32,
    },
    /// The frame ends before or after the bytes do.
    #[error("chunk {}: its frame ends after {frame_len} of {len} bytes; expected one frame and nothing after it", chunk.fmt_short())]
    Trailing {
        chunk: ChunkHash,
        frame_len: usize,
        len: usize,
    },
    /// zstd cannot decompress it, or the content is not as long as the header says.
    #[error("chunk {}: its frame is damaged or cut off (zstd: {reason}); send or fetch it again", chunk.fmt_short())]
    Damaged { chunk: ChunkHash, reason: String },
    /// The content is something else.
    #[error("chunk {}: its content has BLAKE3 {}; send or fetch it again", chunk.fmt_short(), found.fmt_short())]
    Hash { chunk: ChunkHash, found: ChunkHash },
}

/// Compresses chunks into frames. Keeps zstd's working memory between calls; use one per thread.
pub struct Compressor {
    context: zstd_safe::CCtx<'static>,
    scratch: Vec<u8>,
}

impl Compressor {
    /// A compressor at [`ZSTD_LEVEL`].
    pub fn new() -> Self {
        let mut context = zstd_safe::CCtx::create();
        context
            .set_parameter(zstd_safe::CParameter::CompressionLevel(ZSTD_LEVEL))
            .expect("the level is one zstd has");
        for parameter in ZSTD_TUNING {
            context
                .set_parameter(parameter)
                .expect("the parameters are within zstd's bounds");
        }
        Self {
            context,
            scratch: Vec::with_capacity(FRAME_LEN_MAX),
        }
    }

    /// The frame of a chunk.
    ///
    /// # Panics
    /// If `raw` is longer than [`CHUNK_MAX`]: nothing that comes from a [`crate::chunking::Cutter`] is.
    pub fn compress(&mut self, raw: &[u8]) -> Vec<u8> {
        assert!(
            raw.len() <= CHUNK_MAX,
            "a chunk has at most {CHUNK_MAX} bytes, not {}",
            raw.len()
        );
        self.scratch.clear();
        self.context
            .compress2(&mut self.scratch, raw)
            .expect("the buffer has zstd's own bound for the chunk");
        self.scratch.as_slice().to_vec()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Checks what a frame says about itself, without decompressing it.
///
/// # Errors
/// As [`FrameOpener::open`], except for damage within the blocks and the content's hash.
pub fn check_header(frame: &[u8], chunk: ChunkHash, raw_len: u32) -> Result<(), FrameError> {
    if raw_len == 0 || raw_len as usize > CHUNK_MAX {
        return Err(FrameError::RawLen { chunk, raw_len });
    }
    if frame.len() > FRAME_LEN_MAX {
        return Err(FrameError::TooLong {
            chunk,
            len: frame.len(),
        });
    }
    let damaged = |reason: &str| FrameError::Damaged {
        chunk,
        reason: reason.to_owned(),
    };
    let Some(rest) = frame.strip_prefix(&MAGIC) else {
        return Err(FrameError::NotAFrame { chunk });
    };
    let descriptor = rest.first().ok_or_else(|| damaged("the header is cut off"))?;
    if descriptor & DICTIONARY_ID_FLAG != 0 {
        return Err(FrameError::Dictionary { chunk });
    }
    if descriptor & SINGLE_SEGMENT_FLAG == 0 {
        let window = rest.get(1).ok_or_else(|| damaged("the header is cut off"))?;
        let base = 1u64 << (10 + (window >> 3));
        let window = base + base / 8 * u64::from(window & 0b111);
        if window > WINDOW_MAX {
            return Err(FrameError::Window { chunk, window });
        }
    }
    match zstd_safe::get_frame_content_size(frame) {
        Err(_) => return Err(damaged("the header is cut off or invalid")),
        Ok(None) => return Err(FrameError::NoContentSize { chunk, raw_len }),
        Ok(Some(content_size)) if content_size != u64::from(raw_len) => {
            return Err(FrameError::ContentSize {
                chunk,
                content_size,
                raw_len,
            });
        }
        Ok(Some(_)) => {}
    }
    let frame_len = zstd_safe::find_frame_compressed_size(frame);
    let frame_len = frame_len.map_err(|code| damaged(zstd_safe::get_error_name(code)))?;
    if frame_len == frame.len() {
        Ok(())
    } else {
        Err(FrameError::Trailing {
            chunk,
            frame_len,
            len: frame.len(),
        })
    }
}

/// Opens frames. Keeps zstd's working memory and one buffer of [`CHUNK_MAX`] bytes; use one per thread.
pub struct FrameOpener {
    context: zstd_safe::DCtx<'static>,
    raw: Vec<u8>,
}

impl FrameOpener {
    /// An opener.
    pub fn new() -> Self {
        Self {
            context: zstd_safe::DCtx::create(),
            raw: Vec::with_capacity(CHUNK_MAX),
        }
    }

    /// The raw bytes of the chunk `expected` of `raw_len` bytes, if the frame holds exactly that.
    ///
    /// The slice is valid until the next call.
    ///
    /// # Errors
    /// [`FrameError`], which says in what the frame differs.
    pub fn open(&mut self, frame: &[u8], expected: ChunkHash, raw_len: u32) -> Result<&[u8], FrameError> {
        check_header(frame, expected, raw_len)?;
        self.raw.clear();
        let written = self.context.decompress(&mut self.raw, frame);
        let written = written.map_err(|code| FrameError::Damaged {
            chunk: expected,
            reason: zstd_safe::get_error_name(code).to_owned(),
        })?;
        if written != raw_len as usize {
            return Err(FrameError::Damaged {
                chunk: expected,
                reason: format!("{written} bytes of content"),
            });
        }
        let found = ChunkHash::of(&self.raw);
        if found == expected {
            Ok(&self.raw)
        } else {
            Err(FrameError::Hash {
                chunk: expected,
                found,
            })
        }
    }
}

impl Default for FrameOpener {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FrameOpener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FrameOpener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_makes_the_opener_hold_more_than_one_largest_chunk() {
        let mut opener = FrameOpener::new();
        let capacity = opener.raw.capacity();
        // Twice the largest chunk, with a header that says the largest: single segment, four bytes of content size.
        let mut lying = zstd::bulk::compress(&vec![0; 2 * CHUNK_MAX], ZSTD_LEVEL).expect("zeros compress");
        assert_eq!(lying[4], 0xa0);
        lying[5..9].copy_from_slice(&(CHUNK_MAX as u32).to_le_bytes());
        let opened = opener.open(&lying, ChunkHash::of(&vec![0; CHUNK_MAX]), CHUNK_MAX as u32);
        assert!(matches!(opened, Err(FrameError::Damaged { .. })));
        assert_eq!(opener.raw.capacity(), capacity);
    }
}
