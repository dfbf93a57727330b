//! The NAR upload stream, and the question which chunks are missing.
//!
//! A client sends a NAR as its chunks in order; a chunk the node has already said it holds is named only. Layout,
//! little endian: magic `TXUP`, version `u16` = 1, then entries, each a tag `u8` and its fields:
//!
//! | tag | entry | fields |
//! |---|---|---|
//! | 1 | `Have` | chunk hash (32), raw length `u32` |
//! | 2 | `Chunk` | chunk hash (32), raw length `u32`, frame length `u32`, frame |
//! | 3 | `End` | number of entries before it `u64`, NAR size `u64` |
//!
//! `End` comes once, last, and nothing follows it. The body of a `missing` request, and of its answer, is chunk
//! hashes one after the other, 32 bytes each, at most [`MISSING_MAX`].
//!
//! # Invariants
//! - A decoder that has returned `End` has seen exactly the entries and the bytes that `End` counts.
//! - A drained decoder holds at most one entry and one block, whatever lengths the stream claims.
//!
//! # Non-goals
//! - Whether a frame is the chunk it claims to be: [`crate::frame::FrameOpener`].

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::chunking::CHUNK_MAX;
use crate::frame::FRAME_LEN_MAX;
use crate::hash::ChunkHash;

/// The first four bytes of an upload stream.
pub const MAGIC: [u8; 4] = *b"TXUP";
/// The version of the stream.
pub const VERSION: u16 = 1;
/// The most hashes in one `missing` request.
pub const MISSING_MAX: usize = 65_536;

const TAG_HAVE: u8 = 1;
const TAG_CHUNK: u8 = 2;
const TAG_END: u8 = 3;

const HEADER_LEN: usize = 4 + 2;
const HAVE_LEN: usize = 1 + 32 + 4;
const CHUNK_HEAD_LEN: usize = 1 + 32 + 4 + 4;
const END_LEN: usize = 1 + 8 + 8;

/// Why a stream is not an upload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// Something else altogether.
    #[error("upload: begins with {found:02x?}; expected the magic TXUP")]
    Magic { found: [u8; 4] },
    /// A stream of the future.
    #[error("upload: version is {found}; expected {VERSION}; upgrade the older of client and node")]
    Version { found: u16 },
    /// An entry of an unknown kind.
    #[error("upload, entry {entry}: tag is {tag}; expected 1 (Have), 2 (Chunk) or 3 (End)")]
    Tag { entry: u64, tag: u8 },
    /// A chunk that cannot be one.
    #[error("upload, entry {entry}: raw_len is {raw_len}; expected 1 to {CHUNK_MAX}")]
    RawLen { entry: u64, raw_len: u32 },
    /// A frame that cannot be one.
    #[error("upload, entry {entry}: frame_len is {frame_len}; expected 1 to {FRAME_LEN_MAX}")]
    FrameLen { entry: u64, frame_len: u32 },
    /// `End` counts other entries than there were.
    #[error("upload: End counts {count} entries; {entries} came")]
    Count { count: u64, entries: u64 },
    /// `End` counts other bytes than there were.
    #[error("upload: End says nar_size {nar_size}; the entries have {sum} bytes")]
    NarSize { nar_size: u64, sum: u64 },
    /// Bytes after `End`.
    #[error("upload: {len} bytes follow End; expected none")]
    Trailing { len: usize },
    /// The stream stopped in the middle.
    #[error(
        "upload: the stream ends after {entries} entries without End; send the NAR again, what arrived is kept"
    )]
    Truncated { entries: u64 },
    /// A list of hashes of a length that no number of hashes has.
    #[error("missing: {len} bytes; expected 32 for each chunk hash")]
    HashListLen { len: usize },
    /// A list of too many hashes.
    #[error("missing: {count} chunk hashes; expected at most {MISSING_MAX}; ask in several requests")]
    HashListTooLong { count: usize },
}

/// One entry of an upload stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadEntry {
    /// The node has this chunk already.
    Have {
        /// The chunk's name.
        hash: ChunkHash,
        /// Its raw length in bytes.
        raw_len: u32,
    },
    /// A chunk the node lacks.
    Chunk {
        /// The chunk's name.
        hash: ChunkHash,
        /// Its raw length in bytes.
        raw_len: u32,
        /// The chunk as one zstd frame, not verified yet.
        frame: Bytes,
    },
    /// The NAR is complete.
    End {
        /// Entries before this one.
        count: u64,
        /// Raw bytes in them.
        nar_size: u64,
    },
}

/// Writes an upload stream into buffers of the caller.
///
/// Call order: [`start`](Self::start), then [`have`](Self::have) and [`chunk`](Self::chunk) in the order of the
/// NAR, then [`end`](Self::end). The buffer may be taken away and emptied between the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadEncoder {
    count: u64,
    nar_size: u64,
}

impl UploadEncoder {
    /// Begins a stream: writes its header.
    pub fn start(out: &mut impl BufMut) -> Self {
        out.put_slice(&MAGIC);
        out.put_u16_le(VERSION);
        Self {
            count: 0,
            nar_size: 0,
        }
    }

    /// Names a chunk that the node has.
    pub fn have(&mut self, out: &mut impl BufMut, hash: &ChunkHash, raw_len: u32) {
        out.put_u8(TAG_HAVE);
        out.put_slice(hash.as_bytes());
        out.put_u32_le(raw_len);
        self.add(raw_len);
    }

    /// Sends a chunk.
    ///
    /// # Panics
    /// If the frame is longer than [`FRAME_LEN_MAX`]: nothing that comes from a
    /// [`Compressor`](crate::frame::Compressor) is.
    pub fn chunk(&mut self, out: &mut impl BufMut, hash: &ChunkHash, raw_len: u32, frame: &[u8]) {
        self.chunk_head(out, hash, raw_len, frame.len());
        out.put_slice(frame);
    }

    /// Writes everything of a chunk but its frame, which must follow at once: for who sends frames uncopied.
    ///
    /// # Panics
    /// As [`chunk`](Self::chunk).
    pub fn chunk_head(&mut self, out: &mut impl BufMut, hash: &ChunkHash, raw_len: u32, frame_len: usize) {
        assert!(
            frame_len <= FRAME_LEN_MAX,
            "a frame has at most {FRAME_LEN_MAX} bytes, not {frame_len}"
        );
        out.put_u8(TAG_CHUNK);
        out.put_slice(hash.as_bytes());
        out.put_u32_le(raw_len);
        out.put_u32_le(u32::try_from(frame_len).expect("FRAME_LEN_MAX fits 32 bits"));
        self.add(raw_len);
    }

    /// Ends the stream.
    pub fn end(self, out: &mut impl BufMut) {
        out.put_u8(TAG_END);
        out.put_u64_le(self.count);
        out.put_u64_le(self.nar_size);
    }

    fn add(&mut self, raw_len: u32) {
        self.count += 1;
        self.nar_size += u64::from(raw_len);
    }
}

/// Reads an upload stream. Sans-IO: push blocks, take entries.
///
/// Call order: after every [`push`](Self::push) call [`next`](Self::next) until it returns `Ok(None)`; after the
/// last block call [`finish`](Self::finish). An error is final: every later call returns it again.
pub struct UploadDecoder {
    buffer: BytesMut,
    state: State,
    entries: u64,
    sum: u64,
}

#[derive(Clone, Debug)]
enum State {
    Header,
    Entries,
    Ended,
    Failed(UploadError),
}

impl UploadDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            state: State::Header,
            entries: 0,
            sum: 0,
        }
    }

    /// Adds the next bytes.
    pub fn push(&mut self, block: Bytes) {
        if self.buffer.is_empty() {
            // The common case of a block that nothing waits for: take it over if nobody else holds it.
            self.buffer = BytesMut::from(block);
        } else {
            self.buffer.extend_from_slice(&block);
        }
    }

    /// The next entry; `None` if more bytes are needed, or after `End`.
    ///
    /// # Errors
    /// [`UploadError`], which says which entry is wrong in what.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator ends at None, and this goes on after more bytes"
    )]
    pub fn next(&mut self) -> Result<Option<UploadEntry>, UploadError> {
        let entry = self.try_next();
        if let Err(error) = &entry {
            self.state = State::Failed(error.clone());
            self.buffer = BytesMut::new();
        }
        entry
    }

    /// Checks that the stream has come to its `End`.
    ///
    /// # Errors
    /// [`UploadError::Truncated`] if it has not, or the error that [`next`](Self::next) returned.
    pub fn finish(&self) -> Result<(), UploadError> {
        match &self.state {
            State::Ended if self.buffer.is_empty() => Ok(()),
            State::Ended => Err(UploadError::Trailing {
                len: self.buffer.len(),
            }),
            State::Failed(error) => Err(error.clone()),
            State::Header | State::Entries => Err(UploadError::Truncated {
                entries: self.entries,
            }),
        }
    }

    fn try_next(&mut self) -> Result<Option<UploadEntry>, UploadError> {
        match &self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Ended => return self.finish().map(|()| None),
            State::Header => {
                if self.buffer.len() < HEADER_LEN {
                    return Ok(None);
                }
                self.read_header()?;
                self.state = State::Entries;
            }
            State::Entries => {}
        }
        match self.buffer.first() {
            None => Ok(None),
            Some(&TAG_HAVE) => self.read_have(),
            Some(&TAG_CHUNK) => self.read_chunk(),
            Some(&TAG_END) => self.read_end(),
            Some(&tag) => Err(UploadError::Tag {
                entry: self.entries,
                tag,
            }),
        }
    }

    fn read_header(&mut self) -> Result<(), UploadError> {
        let mut magic = [0; 4];
        self.buffer.copy_to_slice(&mut magic);
        let version = self.buffer.get_u16_le();
        if magic != MAGIC {
            return Err(UploadError::Magic { found: magic });
        }
        if version != VERSION {
            return Err(UploadError::Version { found: version });
        }
        Ok(())
    }

    fn read_have(&mut self) -> Result<Option<UploadEntry>, UploadError> {
        if self.buffer.len() < HAVE_LEN {
            return Ok(None);
        }
        let (hash, raw_len) = self.peek_chunk_name()?;
        self.buffer.advance(HAVE_LEN);
        self.add(raw_len);
        Ok(Some(UploadEntry::Have { hash, raw_len }))
    }

    fn read_chunk(&mut self) -> Result<Option<UploadEntry>, UploadError> {
        if self.buffer.len() < CHUNK_HEAD_LEN {
            return Ok(None);
        }
        let (hash, raw_len) = self.peek_chunk_name()?;
        let frame_len = (&self.buffer[HAVE_LEN..]).get_u32_le();
        if frame_len == 0 || frame_len as usize > FRAME_LEN_MAX {
            return Err(UploadError::FrameLen {
                entry: self.entries,
                frame_len,
            });
        }
        let entry_len = CHUNK_HEAD_LEN + frame_len as usize;
        if self.buffer.len() < entry_len {
            self.buffer.reserve(entry_len - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(CHUNK_HEAD_LEN);
        let frame = self.buffer.split_to(frame_len as usize).freeze();
        self.add(raw_len);
        Ok(Some(UploadEntry::Chunk { hash, raw_len, frame }))
    }

    fn read_end(&mut self) -> Result<Option<UploadEntry>, UploadError> {
        if self.buffer.len() < END_LEN {
            return Ok(None);
        }
        self.buffer.advance(1);
        let count = self.buffer.get_u64_le();
        let nar_size = self.buffer.get_u64_le();
        if count != self.entries {
            return Err(UploadError::Count {
                count,
                entries: self.entries,
            });
        }
        if nar_size != self.sum {
            return Err(UploadError::NarSize {
                nar_size,
                sum: self.sum,
            });
        }
        if !self.buffer.is_empty() {
            return Err(UploadError::Trailing {
                len: self.buffer.len(),
            });
        }
        self.state = State::Ended;
        Ok(Some(UploadEntry::End { count, nar_size }))
    }

    /// Reads the hash and raw length that follow a tag, without consuming them.
    fn peek_chunk_name(&self) -> Result<(ChunkHash, u32), UploadError> {
        let mut fields = &self.buffer[1..HAVE_LEN];
        let mut hash = [0; 32];
        fields.copy_to_slice(&mut hash);
        let raw_len = fields.get_u32_le();
        if raw_len == 0 || raw_len as usize > CHUNK_MAX {
            return Err(UploadError::RawLen {
                entry: self.entries,
                raw_len,
            });
        }
        Ok((ChunkHash::from_bytes(hash), raw_len))
    }

    fn add(&mut self, raw_len: u32) {
        self.entries += 1;
        self.sum += u64::from(raw_len);
    }
}

impl Default for UploadDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for UploadDecoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UploadDecoder")
            .field("state", &self.state)
            .field("entries", &self.entries)
            .field("held_bytes", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// The body of a `missing` request or answer.
pub fn encode_hashes(hashes: &[ChunkHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Reads the body of a `missing` request or answer.
///
/// # Errors
/// [`UploadError::HashListLen`] and [`UploadError::HashListTooLong`].
pub fn decode_hashes(body: &[u8]) -> Result<Vec<ChunkHash>, UploadError> {
    let (hashes, rest) = body.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(UploadError::HashListLen { len: body.len() });
    }
    if hashes.len() > MISSING_MAX {
        return Err(UploadError::HashListTooLong { count: hashes.len() });
    }
    Ok(hashes.iter().copied().map(ChunkHash::from_bytes).collect())
}
