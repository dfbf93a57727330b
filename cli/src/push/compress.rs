//! Compression on all cores.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use tetryx_protocol::frame::Compressor;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::PushError;

/// Chunks are compressed in groups of about this many bytes, so that handing them over costs nothing.
const GROUP_BYTES: usize = 512 << 10;

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

    /// The frames of the chunks, in their order.
    pub(crate) async fn compress(self: &Arc<Self>, chunks: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, PushError> {
        let mut groups: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut bytes = GROUP_BYTES;
        for chunk in chunks {
            if bytes >= GROUP_BYTES {
                groups.push(Vec::new());
                bytes = 0;
            }
            bytes += chunk.len();
            groups.last_mut().expect("a group was just begun").push(chunk);
        }
        let frames = try_join_all(groups.into_iter().map(|group| self.compress_group(group))).await?;
        Ok(frames.into_iter().flatten().collect())
    }

    async fn compress_group(self: &Arc<Self>, group: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, PushError> {
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| PushError::Stopped)?;
        let this = Arc::clone(self);
        let work = spawn_blocking(move || {
            let _slot = slot;
            let mut compressor = this
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
                .unwrap_or_default();
            let frames = group.iter().map(|raw| compressor.compress(raw)).collect();
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
    use tetryx_protocol::hash::ChunkHash;

    use super::*;

    #[tokio::test]
    async fn frames_come_in_the_order_of_their_chunks() {
        let chunks: Vec<Vec<u8>> = (1..40_u8).map(|i| vec![i; usize::from(i) * 5_000]).collect();
        let frames = Compressors::new(3).compress(chunks.clone()).await.unwrap();
        let mut opener = FrameOpener::new();
        assert_eq!(frames.len(), chunks.len());
        for (chunk, frame) in chunks.iter().zip(&frames) {
            let raw_len = u32::try_from(chunk.len()).unwrap();
            assert_eq!(opener.open(frame, ChunkHash::of(chunk), raw_len).unwrap(), chunk);
        }
    }

    #[tokio::test]
    async fn no_chunks_make_no_frames() {
        assert_eq!(
            Compressors::new(1).compress(Vec::new()).await.unwrap(),
            Vec::<Vec<u8>>::new()
        );
    }
}
