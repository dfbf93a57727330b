//! Chunks and manifests between nodes: the frames of `tetryx-chunks/1`.
//!
//! On a stream the getter sends requests, the provider answers each item of each request in order. Layout, little
//! endian:
//!
//! | frame | fields |
//! |---|---|
//! | request | count `u16`, kind `u8` (1 chunk, 2 manifest), `count` hashes (32 each) |
//! | answer, one per item | status `u8` (0 found, 1 missing, 2 damaged), raw length `u32`, frame length `u32`, bytes |
//!
//! A chunk comes as its zstd frame, a manifest as its encoding (both lengths are equal). What is missing or damaged
//! has two lengths of 0 and no bytes.
//!
//! # Invariants
//! - A decoder gives exactly as many answers as items were asked for; a byte more is an error.
//! - A drained decoder holds at most one item and one block, and allocates ahead at most [`CHUNK_MAX`] bytes,
//!   whatever lengths the stream claims.
//!
//! # Non-goals
//! - Whether bytes are what their name says: [`crate::frame::FrameOpener`], [`crate::manifest::Manifest`].

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::chunking::CHUNK_MAX;
use crate::frame::FRAME_LEN_MAX;
use crate::hash::{ChunkHash, ManifestHash};

/// The most items in one request.
pub const REQUEST_ITEMS_MAX: usize = 1_024;
/// The most bytes of a manifest: one of a NAR of about 200 GiB.
pub const MANIFEST_LEN_MAX: usize = 64 * 1024 * 1024;
/// Bytes of an answer before the item's own.
pub const ANSWER_HEAD_LEN: usize = 1 + 4 + 4;

const REQUEST_HEAD_LEN: usize = 2 + 1;
const KIND_CHUNK: u8 = 1;
const KIND_MANIFEST: u8 = 2;
const STATUS_FOUND: u8 = 0;
const STATUS_MISSING: u8 = 1;
const STATUS_DAMAGED: u8 = 2;

/// Why a stream is not one of `tetryx-chunks/1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkWireError {
    /// A request for nothing, or for too much.
    #[error("chunk request {request}: it has {count} items; expected 1 to {REQUEST_ITEMS_MAX}")]
    Count {
        /// The number of requests before it.
        request: u64,
        /// Its items.
        count: u16,
    },
    /// A request of an unknown kind.
    #[error("chunk request {request}: kind is {kind}; expected 1 (chunks) or 2 (manifests)")]
    Kind {
        /// The number of requests before it.
        request: u64,
        /// Its kind.
        kind: u8,
    },
    /// An answer of an unknown status.
    #[error("chunk answer {answer}: status is {status}; expected 0 (found), 1 (missing) or 2 (damaged)")]
    Status {
        /// The number of answers before it.
        answer: u64,
        /// Its status.
        status: u8,
    },
    /// Lengths that no item has.
    #[error("chunk answer {answer}: raw_len {raw_len} and frame_len {frame_len} are those of no {what}")]
    Lengths {
        /// The number of answers before it.
        answer: u64,
        /// Length of the content.
        raw_len: u32,
        /// Length of the bytes that follow.
        frame_len: u32,
        /// What was asked for, or an absent item.
        what: &'static str,
    },
    /// Bytes for which there was no question.
    #[error("chunk answer {answer}: {len} bytes follow the last item that was asked for")]
    NotAsked {
        /// The number of answers before it.
        answer: u64,
        /// The bytes.
        len: usize,
    },
    /// The stream stopped in the middle.
    #[error("the stream ends in the middle, after {done} whole frames; ask again for what is missing")]
    Truncated {
        /// Frames before the cut.
        done: u64,
    },
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKind {
    /// Chunks, as zstd frames.
    Chunk,
    /// Manifests, as they are encoded.
    Manifest,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// For chunks.
    Chunks(Vec<ChunkHash>),
    /// For manifests.
    Manifests(Vec<ManifestHash>),
}

impl Request {
    /// What is asked for.
    pub const fn kind(&self) -> ItemKind {
        match self {
            Self::Chunks(_) => ItemKind::Chunk,
            Self::Manifests(_) => ItemKind::Manifest,
        }
    }

    /// How many items are asked for, and so how many answers come.
    pub const fn count(&self) -> usize {
        match self {
            Self::Chunks(hashes) => hashes.len(),
            Self::Manifests(hashes) => hashes.len(),
        }
    }

    /// Writes the request.
    ///
    /// # Panics
    /// If it asks for nothing, or for more than [`REQUEST_ITEMS_MAX`] items.
    pub fn encode(&self, out: &mut impl BufMut) {
        let count = self.count();
        assert!(
            (1..=REQUEST_ITEMS_MAX).contains(&count),
            "a request has 1 to {REQUEST_ITEMS_MAX} items, not {count}"
        );
        out.put_u16_le(u16::try_from(count).expect("REQUEST_ITEMS_MAX fits 16 bits"));
        match self {
            Self::Chunks(hashes) => {
                out.put_u8(KIND_CHUNK);
                hashes.iter().for_each(|hash| out.put_slice(hash.as_bytes()));
            }
            Self::Manifests(hashes) => {
                out.put_u8(KIND_MANIFEST);
                hashes.iter().for_each(|hash| out.put_slice(hash.as_bytes()));
            }
        }
    }
}

/// Reads requests. Sans-IO: after every [`push`](Self::push) call [`next`](Self::next) until it returns `Ok(None)`,
/// after the last block [`finish`](Self::finish). An error is final.
#[derive(Clone, Debug, Default)]
pub struct RequestDecoder {
    buffer: BytesMut,
    requests: u64,
    failed: Option<ChunkWireError>,
}

impl RequestDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes.
    pub fn push(&mut self, block: Bytes) {
        push(&mut self.buffer, block);
    }

    /// The next request; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`ChunkWireError::Count`] and [`ChunkWireError::Kind`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator ends at None, and this goes on after more bytes"
    )]
    pub fn next(&mut self) -> Result<Option<Request>, ChunkWireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_next().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Checks that the stream ended between two requests.
    ///
    /// # Errors
    /// [`ChunkWireError::Truncated`] if it did not, or the error that [`next`](Self::next) returned.
    pub fn finish(&self) -> Result<(), ChunkWireError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(ChunkWireError::Truncated { done: self.requests }),
        }
    }

    fn try_next(&mut self) -> Result<Option<Request>, ChunkWireError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<REQUEST_HEAD_LEN>() else {
            return Ok(None);
        };
        let [low, high, kind] = *head;
        let (count, request) = (u16::from_le_bytes([low, high]), self.requests);
        if count == 0 || usize::from(count) > REQUEST_ITEMS_MAX {
            return Err(ChunkWireError::Count { request, count });
        }
        if kind != KIND_CHUNK && kind != KIND_MANIFEST {
            return Err(ChunkWireError::Kind { request, kind });
        }
        let hashes_len = usize::from(count) * 32;
        let Some(hashes) = rest.get(..hashes_len) else {
            return Ok(None);
        };
        let hashes = hashes.as_chunks::<32>().0.iter().copied();
        let request = if kind == KIND_CHUNK {
            Request::Chunks(hashes.map(ChunkHash::from_bytes).collect())
        } else {
            Request::Manifests(hashes.map(ManifestHash::from_bytes).collect())
        };
        self.buffer.advance(REQUEST_HEAD_LEN + hashes_len);
        self.requests += 1;
        Ok(Some(request))
    }
}

/// The bytes that come before an item that was found; the item's own must follow at once.
///
/// # Panics
/// If the item is longer than [`MANIFEST_LEN_MAX`]: nothing that a store keeps is.
pub fn found_head(raw_len: u32, frame_len: usize) -> [u8; ANSWER_HEAD_LEN] {
    assert!(
        frame_len <= MANIFEST_LEN_MAX,
        "an item has at most {MANIFEST_LEN_MAX} bytes, not {frame_len}"
    );
    let frame_len = u32::try_from(frame_len).expect("MANIFEST_LEN_MAX fits 32 bits");
    head(STATUS_FOUND, raw_len, frame_len)
}

/// The whole answer for an item that the provider has not.
pub const fn missing() -> [u8; ANSWER_HEAD_LEN] {
    head(STATUS_MISSING, 0, 0)
}

/// The whole answer for an item that the provider has, but cannot read.
pub const fn damaged() -> [u8; ANSWER_HEAD_LEN] {
    head(STATUS_DAMAGED, 0, 0)
}

const fn head(status: u8, raw_len: u32, frame_len: u32) -> [u8; ANSWER_HEAD_LEN] {
    let [r0, r1, r2, r3] = raw_len.to_le_bytes();
    let [f0, f1, f2, f3] = frame_len.to_le_bytes();
    [status, r0, r1, r2, r3, f0, f1, f2, f3]
}

/// What came for one item, not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The item.
    Found {
        /// Length of the content in bytes.
        raw_len: u32,
        /// A chunk's zstd frame, or a manifest's encoding.
        bytes: Bytes,
    },
    /// The provider has it not: another one may.
    Missing,
    /// The provider cannot read it: another one may.
    Damaged,
}

/// Reads answers. Sans-IO: [`expect`](Self::expect) what is asked for, and after every [`push`](Self::push) call
/// [`next`](Self::next) until it returns `Ok(None)`; after the last block [`finish`](Self::finish). An error is
/// final.
#[derive(Default)]
pub struct AnswerDecoder {
    buffer: BytesMut,
    /// What was asked for and has not come: kinds, and how many of each.
    expected: VecDeque<(ItemKind, usize)>,
    answers: u64,
    failed: Option<ChunkWireError>,
}

impl AnswerDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `count` items of a kind were asked for, after all that were noted before.
    pub fn expect(&mut self, kind: ItemKind, count: usize) {
        match self.expected.back_mut() {
            Some((last, waiting)) if *last == kind => *waiting += count,
            _ if count > 0 => self.expected.push_back((kind, count)),
            _ => {}
        }
    }

    /// How many answers have still to come.
    pub fn outstanding(&self) -> usize {
        self.expected.iter().map(|(_, count)| count).sum()
    }

    /// Adds the next bytes.
    pub fn push(&mut self, block: Bytes) {
        push(&mut self.buffer, block);
    }

    /// Bytes that came and are not part of a whole answer yet.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next answer; `None` if more bytes are needed, or nothing more is expected.
    ///
    /// # Errors
    /// [`ChunkWireError::Status`], [`ChunkWireError::Lengths`] and [`ChunkWireError::NotAsked`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator ends at None, and this goes on after more bytes"
    )]
    pub fn next(&mut self) -> Result<Option<Answer>, ChunkWireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_next().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Checks that everything asked for has come.
    ///
    /// # Errors
    /// [`ChunkWireError::Truncated`] if it has not, or the error that [`next`](Self::next) returned.
    pub fn finish(&self) -> Result<(), ChunkWireError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.expected.is_empty() && self.buffer.is_empty() => Ok(()),
            None => Err(ChunkWireError::Truncated { done: self.answers }),
        }
    }

    fn try_next(&mut self) -> Result<Option<Answer>, ChunkWireError> {
        let answer = self.answers;
        let Some((kind, _)) = self.expected.front().copied() else {
            return match self.buffer.len() {
                0 => Ok(None),
                len => Err(ChunkWireError::NotAsked { answer, len }),
            };
        };
        let Some(head) = self.buffer.first_chunk::<ANSWER_HEAD_LEN>() else {
            return Ok(None);
        };
        let [status, r0, r1, r2, r3, f0, f1, f2, f3] = *head;
        let raw_len = u32::from_le_bytes([r0, r1, r2, r3]);
        let frame_len = u32::from_le_bytes([f0, f1, f2, f3]);
        let refused = |what| ChunkWireError::Lengths {
            answer,
            raw_len,
            frame_len,
            what,
        };
        if status == STATUS_MISSING || status == STATUS_DAMAGED {
            if raw_len != 0 || frame_len != 0 {
                return Err(refused("absent item"));
            }
            self.buffer.advance(ANSWER_HEAD_LEN);
            self.done();
            return Ok(Some(if status == STATUS_MISSING {
                Answer::Missing
            } else {
                Answer::Damaged
            }));
        }
        if status != STATUS_FOUND {
            return Err(ChunkWireError::Status { answer, status });
        }
        let (raw, frame) = (raw_len as usize, frame_len as usize);
        match kind {
            ItemKind::Chunk if raw == 0 || raw > CHUNK_MAX || frame == 0 || frame > FRAME_LEN_MAX => {
                return Err(refused("chunk"));
            }
            ItemKind::Manifest if raw != frame || frame == 0 || frame > MANIFEST_LEN_MAX => {
                return Err(refused("manifest"));
            }
            ItemKind::Chunk | ItemKind::Manifest => {}
        }
        let len = ANSWER_HEAD_LEN + frame;
        if self.buffer.len() < len {
            // Ahead of the bytes themselves no more is allocated than a chunk takes.
            let ahead = (len - self.buffer.len()).min(CHUNK_MAX);
            self.buffer.reserve(ahead);
            return Ok(None);
        }
        self.buffer.advance(ANSWER_HEAD_LEN);
        let bytes = self.buffer.split_to(frame).freeze();
        self.done();
        Ok(Some(Answer::Found { raw_len, bytes }))
    }

    fn done(&mut self) {
        self.answers += 1;
        if let Some((_, count)) = self.expected.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.expected.pop_front();
            }
        }
    }
}

impl fmt::Debug for AnswerDecoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AnswerDecoder")
            .field("expected", &self.expected)
            .field("answers", &self.answers)
            .field("held_bytes", &self.buffer.len())
            .field("failed", &self.failed)
            .finish()
    }
}

fn push(buffer: &mut BytesMut, block: Bytes) {
    if buffer.is_empty() {
        // The common case of a block that nothing waits for: take it over if nobody else holds it.
        *buffer = BytesMut::from(block);
    } else {
        buffer.extend_from_slice(&block);
    }
}
