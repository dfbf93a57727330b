//! Windows: a stretch of a NAR, or some small NARs, cut into chunks and on its way to the server.
//!
//! # Invariants
//! - At most [`WINDOWS_MAX`] windows exist at a time, over all jobs: that bounds the memory of a push.
//! - Their buffers are used again. Chunks allocated one by one would spread over the allocator's arenas, one for each
//!   thread that reads, and each would keep its own peak.
//! - It cannot lock up: a job takes a window before it fills it, and the earliest window of a job needs nothing more
//!   to be sent.

use std::sync::{Arc, Mutex, PoisonError};

use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::hash::ChunkHash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::PushError;

/// A window is full when it holds so many raw bytes.
pub(crate) const WINDOW_BYTES: usize = 1 << 20;
/// How many windows there are.
const WINDOWS_MAX: usize = 16;

/// Hands out windows.
#[derive(Debug, Clone)]
pub(crate) struct Windows(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    places: Arc<Semaphore>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// Some chunks in order, with their raw bytes.
#[derive(Debug)]
pub(crate) struct Window {
    raw: Vec<u8>,
    chunks: Vec<Chunk>,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

/// A chunk of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) hash: ChunkHash,
    pub(crate) raw_len: u32,
    start: usize,
}

impl Windows {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Pool {
            places: Arc::new(Semaphore::new(WINDOWS_MAX)),
            buffers: Mutex::default(),
        }))
    }

    /// Waits for an empty window.
    pub(crate) async fn take(&self) -> Result<Window, PushError> {
        let place = Arc::clone(&self.0.places)
            .acquire_owned()
            .await
            .map_err(|_| PushError::Stopped)?;
        let used = self
            .0
            .buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let raw = used.unwrap_or_else(|| Vec::with_capacity(WINDOW_BYTES + CHUNK_MAX));
        Ok(Window {
            raw,
            chunks: Vec::new(),
            pool: Arc::clone(&self.0),
            _place: place,
        })
    }
}

impl Window {
    /// Adds a chunk.
    pub(crate) fn add(&mut self, raw: &[u8]) {
        let raw_len = u32::try_from(raw.len()).expect("a chunk has at most CHUNK_MAX bytes");
        self.chunks.push(Chunk {
            hash: ChunkHash::of(raw),
            raw_len,
            start: self.raw.len(),
        });
        self.raw.extend_from_slice(raw);
    }

    /// Whether it is time to send it.
    pub(crate) fn is_full(&self) -> bool {
        self.raw.len() >= WINDOW_BYTES
    }

    /// The chunks in order.
    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Forgets the last chunks until so many are left.
    pub(crate) fn truncate(&mut self, chunks: usize) {
        if let Some(first) = self.chunks.get(chunks) {
            self.raw.truncate(first.start);
            self.chunks.truncate(chunks);
        }
    }

    /// The bytes of one of its chunks.
    pub(crate) fn raw(&self, chunk: &Chunk) -> &[u8] {
        &self.raw[chunk.start..chunk.start + chunk.raw_len as usize]
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        self.pool
            .buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_window_gives_back_the_bytes_of_its_chunks() {
        let mut window = Windows::new().take().await.unwrap();
        window.add(b"one");
        window.add(b"three");
        let bytes: Vec<&[u8]> = window.chunks().iter().map(|chunk| window.raw(chunk)).collect();
        assert_eq!(bytes, [b"one".as_slice(), b"three"]);
        window.truncate(1);
        assert_eq!((window.chunks().len(), window.raw.len()), (1, 3));
    }

    #[tokio::test]
    async fn there_are_only_so_many_windows_and_their_buffers_are_used_again() {
        let windows = Windows::new();
        let mut held = Vec::new();
        for _ in 0..WINDOWS_MAX {
            held.push(windows.take().await.unwrap());
        }
        assert!(windows.0.places.try_acquire().is_err());
        held.clear();
        windows.take().await.unwrap().add(b"x");
        assert_eq!(windows.0.buffers.lock().unwrap().len(), WINDOWS_MAX);
        assert!(windows.take().await.unwrap().chunks().is_empty());
    }
}
