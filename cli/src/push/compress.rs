//! Compression on all cores.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use tetryx_protocol::frame::Compressor;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::PushError;
use super::window::{Chunk, Window};

/// Chunks are compressed in groups of about this many bytes, so that handing them over costs nothing.
const GROUP_BYTES: u32 = 512 << 10;

/// As many compressors as there are cores, shared by all jobs.
#[derive(Debug)]
pub(crate) struct Compressors {
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Compressor>>,
}

impl Compressors {
    /// With `cores` of them.
    pub(crate) fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(cores)),
            idle: Mutex::default(),
        })
    }

    /// The frames of some chunks of a window, in their order.
    pub(crate) async fn compress(
        self: &Arc<Self>,
        window: &Arc<Window>,
        chunks: impl IntoIterator<Item = Chunk>,
    ) -> Result<Vec<Vec<u8>>, PushError> {
        let mut groups: Vec<Vec<Chunk>> = Vec::new();
        let mut bytes = GROUP_BYTES;
        for chunk in chunks {
            if bytes >= GROUP_BYTES {
                groups.push(Vec::new());
                bytes = 0;
            }
            bytes += chunk.raw_len;
            groups.last_mut().expect("a group was just begun").push(chunk);
        }
        let frames = try_join_all(groups.into_iter().map(|group| self.compress_group(window, group))).await?;
        Ok(frames.into_iter().flatten().collect())
    }

    async fn compress_group(
        self: &Arc<Self>,
        window: &Arc<Window>,
        group: Vec<Chunk>,
    ) -> Result<Vec<Vec<u8>>, PushError> {
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| PushError::Stopped)?;
        let (this, window) = (Arc::clone(self), Arc::clone(window));
        let work = spawn_blocking(move || {
            let _slot = slot;
            let mut compressor = this
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
                .unwrap_or_default();
            let frames = group
                .iter()
                .map(|chunk| compressor.compress(window.raw(chunk)))
                .collect();
            this.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(compressor);
            frames
        });
        work.await.map_err(|_| PushError::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::frame::FrameOpener;

    use super::*;
    use crate::push::window::Windows;

    #[tokio::test]
    async fn frames_come_in_the_order_of_their_chunks() {
        let mut window = Windows::new().take().await.unwrap();
        for i in 1..40_u8 {
            window.add(&vec![i; usize::from(i) * 5_000]);
        }
        let window = Arc::new(window);
        let frames = Compressors::new(3)
            .compress(&window, window.chunks().to_vec())
            .await
            .unwrap();
        let mut opener = FrameOpener::new();
        assert_eq!(frames.len(), window.chunks().len());
        for (chunk, frame) in window.chunks().iter().zip(&frames) {
            assert_eq!(
                opener.open(frame, chunk.hash, chunk.raw_len).unwrap(),
                window.raw(chunk)
            );
        }
    }

    #[tokio::test]
    async fn no_chunks_make_no_frames() {
        let window = Arc::new(Windows::new().take().await.unwrap());
        assert!(
            Compressors::new(1)
                .compress(&window, [])
                .await
                .unwrap()
                .is_empty()
        );
    }
}
