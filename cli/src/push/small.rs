//! A portion of small NARs: read together, asked about in one question, and sent in one request each.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use backon::Retryable as _;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};
use tetryx_protocol::hash::ChunkHash;
use tetryx_protocol::upload::UploadEncoder;
use tokio::task::spawn_blocking;

use super::chunks::{Chunk, read_chunks};
use super::closure::LocalPath;
use super::error::PushError;
use super::pipeline::{ask, upload_nar};
use super::progress::Arrived;
use super::session::Session;
use crate::api::NarBody;
use crate::clock::Stopwatch;

/// How many NARs of a portion are sent at the same time.
const SMALL_AT_ONCE: usize = 4;

/// Sends a portion of small NARs; `done` is told of each as it arrives or fails.
pub(crate) async fn upload_small(
    session: &Session,
    paths: &[(usize, &LocalPath)],
    done: &(impl Fn(usize, Result<Arrived, PushError>) + Sync),
) -> Result<(), PushError> {
    let watch = Stopwatch::start();
    let bytes = paths.iter().map(|(_, path)| path.nar_size).sum();
    let _share = session.budget.take(bytes).await?;
    let nars = read_all(session, paths).await?;

    let mut readable: Vec<(usize, &LocalPath, Vec<Chunk>)> = Vec::new();
    for (&(index, path), nar) in paths.iter().zip(nars) {
        match nar {
            Ok(chunks) => readable.push((index, path, chunks)),
            Err(error) => done(index, Err(error)),
        }
    }
    let missing = ask(session, readable.iter().flat_map(|(_, _, chunks)| chunks)).await?;
    let frames = compress_missing(
        session,
        &missing,
        readable.iter().flat_map(|(_, _, chunks)| chunks),
    )
    .await?;

    let uploads = readable.into_iter().map(|(index, path, chunks)| {
        let (body, deduplicated) = small_body(&chunks, &frames);
        let watch = &watch;
        async move {
            let result = upload_small_one(session, path, body).await;
            let arrived = result.map(|from_start| {
                from_start.unwrap_or(Arrived {
                    nar_size: path.nar_size,
                    deduplicated,
                    took: watch.elapsed(),
                })
            });
            (index, arrived)
        }
    });
    // The futures are made one by one: a body exists only while it is sent.
    let mut uploads = stream::iter(uploads).buffer_unordered(SMALL_AT_ONCE);
    while let Some((index, result)) = uploads.next().await {
        done(index, result);
    }
    Ok(())
}

/// Sends one small NAR. If the server has lost a chunk that it said it had, begins again as for a large one, and
/// returns what that one counted.
async fn upload_small_one(
    session: &Session,
    path: &LocalPath,
    body: Bytes,
) -> Result<Option<Arrived>, PushError> {
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

async fn read_all(
    session: &Session,
    paths: &[(usize, &LocalPath)],
) -> Result<Vec<Result<Vec<Chunk>, PushError>>, PushError> {
    let to_read: Vec<(LocalPath, PathBuf)> = paths
        .iter()
        .map(|(_, path)| ((*path).clone(), session.root(path)))
        .collect();
    let read = spawn_blocking(move || {
        let read_one = |(path, root): &(LocalPath, PathBuf)| {
            let mut chunks = Vec::new();
            read_chunks(path, root, &mut |chunk| {
                chunks.push(chunk);
                Ok(())
            })?;
            Ok(chunks)
        };
        to_read.iter().map(read_one).collect()
    });
    read.await.map_err(|_| PushError::Stopped)
}

async fn compress_missing<'a>(
    session: &Session,
    missing: &BTreeSet<ChunkHash>,
    chunks: impl Iterator<Item = &'a Chunk>,
) -> Result<BTreeMap<ChunkHash, Vec<u8>>, PushError> {
    let raws: BTreeMap<ChunkHash, &Vec<u8>> = chunks
        .filter(|chunk| missing.contains(&chunk.hash))
        .map(|chunk| (chunk.hash, &chunk.raw))
        .collect();
    let hashes: Vec<ChunkHash> = raws.keys().copied().collect();
    let frames = session
        .compressors
        .compress(raws.into_values().cloned().collect())
        .await?;
    Ok(hashes.into_iter().zip(frames).collect())
}

/// The whole stream of a small NAR, and how many of its bytes it only names. A chunk that several NARs of the portion
/// share is in each of them, because they travel at the same time.
fn small_body(chunks: &[Chunk], frames: &BTreeMap<ChunkHash, Vec<u8>>) -> (Bytes, u64) {
    let mut buffer = BytesMut::new();
    let mut encoder = UploadEncoder::start(&mut buffer);
    let mut in_stream = BTreeSet::new();
    let mut deduplicated = 0;
    for chunk in chunks {
        match frames.get(&chunk.hash) {
            Some(frame) if in_stream.insert(chunk.hash) => {
                encoder.chunk(&mut buffer, &chunk.hash, chunk.raw_len(), frame);
            }
            _ => {
                encoder.have(&mut buffer, &chunk.hash, chunk.raw_len());
                deduplicated += u64::from(chunk.raw_len());
            }
        }
    }
    encoder.end(&mut buffer);
    (buffer.freeze(), deduplicated)
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::upload::{UploadDecoder, UploadEntry};

    use super::*;

    fn chunk(byte: u8) -> Chunk {
        let raw = vec![byte; 100];
        Chunk {
            hash: ChunkHash::of(&raw),
            raw,
        }
    }

    #[test]
    fn a_chunk_that_repeats_in_a_nar_is_sent_once() {
        let chunks = [chunk(1), chunk(2), chunk(1)];
        let frames = BTreeMap::from([(chunks[0].hash, vec![9; 10])]);
        let (body, deduplicated) = small_body(&chunks, &frames);
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
