//! A portion of small NARs: read into one window, asked about in one question, and sent in one request each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use backon::Retryable as _;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tetryx_protocol::hash::ChunkHash;
use tetryx_protocol::upload::UploadEncoder;
use tokio::task::spawn_blocking;

use super::chunks::read_chunks;
use super::closure::LocalPath;
use super::error::PushError;
use super::pipeline::{ask, upload_nar};
use super::progress::Arrived;
use super::session::Session;
use super::window::{Chunk, Window};
use crate::api::NarBody;
use crate::clock::Stopwatch;

/// How many NARs of a portion are sent at the same time.
const SMALL_AT_ONCE: usize = 4;

/// The chunks of each NAR in the window of the portion.
type Nars = Vec<Result<Range<usize>, PushError>>;

/// Sends a portion of small NARs; `done` is told of each as it arrives or fails.
pub(crate) async fn upload_small(
    session: &Session,
    paths: &[(usize, &LocalPath)],
    done: &(impl Fn(usize, Result<Arrived, PushError>) + Sync),
) -> Result<(), PushError> {
    let watch = Stopwatch::start();
    let (window, nars) = read_all(session, paths).await?;
    let mut readable = Vec::new();
    for (&(index, path), nar) in paths.iter().zip(nars) {
        match nar {
            Ok(chunks) => readable.push((index, path, chunks)),
            Err(error) => done(index, Err(error)),
        }
    }
    let window = Arc::new(window);
    let frames = missing_frames(session, &window).await?;

    let (window, frames, watch) = (&window, &frames, &watch);
    let uploads = readable.into_iter().map(|(index, path, chunks)| async move {
        let (body, deduplicated) = body_of(&window.chunks()[chunks], frames);
        let arrived = upload_one(session, path, body).await.map(|from_start| {
            from_start.unwrap_or_else(|| Arrived {
                nar_size: path.nar_size,
                deduplicated,
                took: watch.elapsed(),
            })
        });
        (index, arrived)
    });
    let mut uploads = stream::iter(uploads).buffer_unordered(SMALL_AT_ONCE);
    while let Some((index, result)) = uploads.next().await {
        done(index, result);
    }
    Ok(())
}

/// Sends one small NAR. If the server has lost a chunk that it said it had, begins again as for a large one, and
/// returns what that one counted.
async fn upload_one(session: &Session, path: &LocalPath, body: Bytes) -> Result<Option<Arrived>, PushError> {
    let name = path.store_path.to_string();
    let send = || async {
        let whole = NarBody::<stream::Empty<io::Result<Bytes>>>::Whole(body.clone());
        session.progress.sent(body.len());
        let put = session
            .client
            .put_nar(&session.upload, &path.nar_hash, path.nar_size, whole);
        put.await.map_err(PushError::Client)
    };
    let sent = send
        .retry(session.client.patience().backoff())
        .when(|error| matches!(error, PushError::Client(error) if error.is_transient()))
        .notify(|error, wait| session.progress.retrying(&name, error, wait))
        .await;
    match sent {
        Ok(_) => {
            session.progress.advance(path.nar_size);
            Ok(None)
        }
        Err(error) if error.is_worth_another_try() => upload_nar(session, path).await.map(Some),
        Err(error) => Err(error),
    }
}

async fn read_all(session: &Session, paths: &[(usize, &LocalPath)]) -> Result<(Window, Nars), PushError> {
    let mut window = session.windows.take().await?;
    let to_read: Vec<(LocalPath, PathBuf)> = paths
        .iter()
        .map(|(_, path)| ((*path).clone(), session.root(path)))
        .collect();
    let read = spawn_blocking(move || {
        let nars = to_read.iter().map(|(path, root)| {
            let first = window.chunks().len();
            let read = read_chunks(path, root, &mut |raw| {
                window.add(raw);
                Ok(())
            });
            if read.is_err() {
                window.truncate(first);
            }
            read.map(|()| first..window.chunks().len())
        });
        let nars = nars.collect();
        (window, nars)
    });
    read.await.map_err(|_| PushError::Stopped)
}

/// The frames of the chunks of a window that the server lacks.
async fn missing_frames(
    session: &Session,
    window: &Arc<Window>,
) -> Result<BTreeMap<ChunkHash, Vec<u8>>, PushError> {
    let mut missing = ask(session, window).await?;
    let to_send: Vec<Chunk> = window
        .chunks()
        .iter()
        .filter(|chunk| missing.remove(&chunk.hash))
        .copied()
        .collect();
    let frames = session
        .compressors
        .compress(window, to_send.iter().copied())
        .await?;
    Ok(to_send.into_iter().map(|chunk| chunk.hash).zip(frames).collect())
}

/// The whole stream of a small NAR, and how many of its bytes it only names. A chunk that several NARs of the portion
/// share is in each of them, because they travel at the same time.
fn body_of(chunks: &[Chunk], frames: &BTreeMap<ChunkHash, Vec<u8>>) -> (Bytes, u64) {
    let mut body = Vec::new();
    let mut encoder = UploadEncoder::start(&mut body);
    let mut in_stream = BTreeSet::new();
    let mut deduplicated = 0;
    for chunk in chunks {
        match frames.get(&chunk.hash) {
            Some(frame) if in_stream.insert(chunk.hash) => {
                encoder.chunk(&mut body, &chunk.hash, chunk.raw_len, frame);
            }
            _ => {
                encoder.have(&mut body, &chunk.hash, chunk.raw_len);
                deduplicated += u64::from(chunk.raw_len);
            }
        }
    }
    encoder.end(&mut body);
    (Bytes::from(body), deduplicated)
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::upload::{UploadDecoder, UploadEntry};

    use super::*;
    use crate::push::window::Windows;

    #[tokio::test]
    async fn a_chunk_that_repeats_in_a_nar_is_sent_once() {
        let mut window = Windows::new().take().await.unwrap();
        for byte in [1, 2, 1] {
            window.add(&[byte; 100]);
        }
        let frames = BTreeMap::from([(window.chunks()[0].hash, vec![9; 10])]);
        let (body, deduplicated) = body_of(window.chunks(), &frames);
        assert_eq!(deduplicated, 200);

        let mut decoder = UploadDecoder::new();
        decoder.push(body);
        let mut kinds = String::new();
        while let Some(entry) = decoder.next().unwrap() {
            kinds.push(match entry {
                UploadEntry::Have { .. } => 'h',
                UploadEntry::Chunk { .. } => 'c',
                UploadEntry::End { .. } => 'e',
            });
        }
        assert_eq!(kinds, "chhe");
        decoder.finish().unwrap();
    }
}
