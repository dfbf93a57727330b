//! One NAR, or a portion of small ones, from the disk to the server.
//!
//! Of a large NAR, windows of chunks run through the stages at the same time: a thread reads and cuts one while the
//! server is asked about the next, a third is compressed and a fourth is sent. Small NARs are read together, asked
//! about in one question, and sent in one request each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use backon::Retryable as _;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, StreamExt as _};
use tetryx_protocol::chunking::CHUNK_MAX;
use tetryx_protocol::hash::ChunkHash;
use tetryx_protocol::upload::UploadEncoder;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::chunks::{Chunk, read_chunks};
use super::closure::LocalPath;
use super::error::PushError;
use super::progress::{Arrived, NarProgress};
use super::session::{Budget, Session, Share};
use crate::api::NarBody;
use crate::clock::Stopwatch;

/// Chunks are asked about and sent in windows of about so many raw bytes.
const WINDOW_BYTES: usize = 2 << 20;
/// How many windows of a NAR are asked about and compressed while one is sent.
const LOOK_AHEAD: usize = 3;
/// How many small NARs of a portion are sent at the same time.
const SMALL_AT_ONCE: usize = 4;

/// Chunks on their way, with the memory they were granted.
#[derive(Debug)]
struct Window {
    chunks: Vec<Chunk>,
    share: Share,
}

/// A chunk that is ready to be put into the stream.
#[derive(Debug)]
struct Entry {
    hash: ChunkHash,
    raw_len: u32,
    /// `None` if the server has it.
    frame: Option<Vec<u8>>,
}

type BlockResult = io::Result<(Bytes, Option<Share>)>;

/// Sends one NAR of any size.
pub(crate) async fn upload_nar(session: &Session, path: &LocalPath) -> Result<Arrived, PushError> {
    let name = path.store_path.to_string();
    let bar = session.progress.nar(&name, path.nar_size);
    let watch = Stopwatch::start();
    // Bytes that an earlier try has counted already.
    let counted = std::cell::Cell::new(0);
    let deduplicated = (|| upload_once(session, path, &bar, &counted))
        .retry(session.client.patience().backoff())
        .when(PushError::is_worth_another_try)
        .notify(|error, wait| note_retry(session, &name, error, wait))
        .await?;
    Ok(Arrived {
        nar_size: path.nar_size,
        deduplicated,
        took: watch.elapsed(),
    })
}

fn note_retry(session: &Session, name: &str, error: &PushError, wait: Duration) {
    session.progress.note(&format!(
        "{name}: {error}; trying again in {:.1} s",
        wait.as_secs_f64()
    ));
}

/// One try; returns the bytes that were not sent because the server has them.
async fn upload_once(
    session: &Session,
    path: &LocalPath,
    bar: &NarProgress<'_>,
    counted: &std::cell::Cell<u64>,
) -> Result<u64, PushError> {
    let (block_tx, block_rx) = mpsc::channel::<BlockResult>(1);
    let body = NarBody::Stream(body_stream(block_rx));
    let put = session
        .client
        .put_nar(&session.upload, &path.nar_hash, path.nar_size, body);
    let feed = async {
        let fed = feed(session, path, bar, counted, &block_tx).await;
        if fed.is_err() {
            // An error in the body breaks the request off; without it the server would take the NAR for complete.
            drop(
                block_tx
                    .send(Err(io::Error::other("the upload was stopped")))
                    .await,
            );
        }
        drop(block_tx);
        fed
    };
    match tokio::join!(feed, put) {
        (Ok(deduplicated), Ok(_)) => Ok(deduplicated),
        (Ok(_) | Err(PushError::Stopped), Err(error)) => Err(PushError::Client(error)),
        (Err(error), _) => Err(error),
    }
}

/// Runs the windows of a NAR through the stages up to the body of the request.
async fn feed(
    session: &Session,
    path: &LocalPath,
    bar: &NarProgress<'_>,
    counted: &std::cell::Cell<u64>,
    blocks: &mpsc::Sender<BlockResult>,
) -> Result<u64, PushError> {
    let (window_tx, window_rx) = mpsc::channel(1);
    let reader = {
        let (path, root, budget) = (path.clone(), session.root(path), session.budget.clone());
        spawn_blocking(move || read_windows(&path, &root, &budget, &window_tx))
    };

    let mut buffer = BytesMut::new();
    let mut encoder = UploadEncoder::start(&mut buffer);
    let mut recent = Recent::default();
    let (mut deduplicated, mut position) = (0, 0);
    let mut windows = Box::pin(
        receiver_stream(window_rx)
            .map(|window| prepare(session, window))
            .buffered(LOOK_AHEAD),
    );
    while let Some(window) = windows.next().await {
        let (entries, share) = window?;
        let before = position;
        for entry in &entries {
            position += u64::from(entry.raw_len);
            match &entry.frame {
                Some(frame) if !recent.contains(&entry.hash) => {
                    encoder.chunk(&mut buffer, &entry.hash, entry.raw_len, frame);
                }
                _ => {
                    encoder.have(&mut buffer, &entry.hash, entry.raw_len);
                    deduplicated += u64::from(entry.raw_len);
                }
            }
        }
        recent.add(&entries);
        drop(entries);
        send(session, blocks, &mut buffer, Some(share)).await?;
        bar.advance(position.saturating_sub(counted.get().max(before)));
        counted.set(counted.get().max(position));
    }
    drop(windows);
    reader.await.map_err(|_| PushError::Stopped)??;
    encoder.end(&mut buffer);
    send(session, blocks, &mut buffer, None).await?;
    Ok(deduplicated)
}

async fn send(
    session: &Session,
    blocks: &mpsc::Sender<BlockResult>,
    buffer: &mut BytesMut,
    share: Option<Share>,
) -> Result<(), PushError> {
    let block = buffer.split().freeze();
    let length = block.len();
    blocks
        .send(Ok((block, share)))
        .await
        .map_err(|_| PushError::Stopped)?;
    session.progress.sent(length);
    Ok(())
}

/// The chunks that were sent lately in this stream. The question about a window is asked before the ones ahead of it
/// have arrived, so the server may call missing what is on its way.
#[derive(Default)]
struct Recent {
    windows: VecDeque<BTreeSet<ChunkHash>>,
}

impl Recent {
    fn contains(&self, hash: &ChunkHash) -> bool {
        self.windows.iter().any(|window| window.contains(hash))
    }

    fn add(&mut self, entries: &[Entry]) {
        self.windows
            .push_back(entries.iter().map(|entry| entry.hash).collect());
        if self.windows.len() > 2 * LOOK_AHEAD + 2 {
            self.windows.pop_front();
        }
    }
}

/// Reads a NAR into windows. Blocking.
fn read_windows(
    path: &LocalPath,
    root: &std::path::Path,
    budget: &Budget,
    windows: &mpsc::Sender<Window>,
) -> Result<(), PushError> {
    let runtime = Handle::current();
    let new_window = || -> Result<Window, PushError> {
        let share = runtime.block_on(budget.take((WINDOW_BYTES + CHUNK_MAX) as u64))?;
        Ok(Window {
            chunks: Vec::new(),
            share,
        })
    };
    let mut window: Option<Window> = None;
    let mut bytes = 0;
    read_chunks(path, root, &mut |chunk| {
        let current = match &mut window {
            Some(current) => current,
            None => window.insert(new_window()?),
        };
        bytes += chunk.raw.len();
        current.chunks.push(chunk);
        if bytes >= WINDOW_BYTES {
            bytes = 0;
            let full = window.take().expect("a chunk was just put into it");
            windows.blocking_send(full).map_err(|_| PushError::Stopped)?;
        }
        Ok(())
    })?;
    match window {
        Some(last) => windows.blocking_send(last).map_err(|_| PushError::Stopped),
        None => Ok(()),
    }
}

/// Asks which chunks of a window are missing, and compresses those.
async fn prepare(session: &Session, window: Window) -> Result<(Vec<Entry>, Share), PushError> {
    let missing = ask(session, &window.chunks).await?;
    let mut to_compress = Vec::new();
    let mut taken = BTreeSet::new();
    // The index into the frames, for each chunk that is sent.
    let mut plan: Vec<(ChunkHash, u32, Option<usize>)> = Vec::with_capacity(window.chunks.len());
    for chunk in window.chunks {
        let frame = (missing.contains(&chunk.hash) && taken.insert(chunk.hash)).then_some(to_compress.len());
        plan.push((chunk.hash, chunk.raw_len(), frame));
        if frame.is_some() {
            to_compress.push(chunk.raw);
        }
    }
    let mut frames: Vec<Option<Vec<u8>>> = session
        .compressors
        .compress(to_compress)
        .await?
        .into_iter()
        .map(Some)
        .collect();
    let entries = plan
        .into_iter()
        .map(|(hash, raw_len, frame)| Entry {
            hash,
            raw_len,
            frame: frame.and_then(|index| frames[index].take()),
        })
        .collect();
    Ok((entries, window.share))
}

async fn ask<'a>(
    session: &Session,
    chunks: impl IntoIterator<Item = &'a Chunk>,
) -> Result<BTreeSet<ChunkHash>, PushError> {
    let hashes: BTreeSet<ChunkHash> = chunks.into_iter().map(|chunk| chunk.hash).collect();
    let hashes: Vec<ChunkHash> = hashes.into_iter().collect();
    let missing = session
        .client
        .missing_chunks(&session.upload, &hashes)
        .await
        .map_err(PushError::Client)?;
    Ok(missing.into_iter().collect())
}

fn receiver_stream<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

/// The body of a request; a window's memory is given back when the next one is asked for.
fn body_stream(receiver: mpsc::Receiver<BlockResult>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(
        (receiver, None),
        |(mut receiver, last): (_, Option<Share>)| async move {
            drop(last);
            let item: BlockResult = mpsc::Receiver::recv(&mut receiver).await?;
            match item {
                Ok((block, share)) => Some((Ok(block), (receiver, share))),
                Err(error) => Some((Err(error), (receiver, None))),
            }
        },
    )
}

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
        .notify(|error, wait| note_retry(session, &name, error, wait))
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
    let to_read: Vec<(LocalPath, std::path::PathBuf)> = paths
        .iter()
        .map(|(_, path)| ((*path).clone(), session.root(path)))
        .collect();
    let read = spawn_blocking(move || {
        let read_one = |(path, root): &(LocalPath, std::path::PathBuf)| {
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

    #[test]
    fn what_was_sent_lately_is_remembered_and_then_forgotten() {
        let mut recent = Recent::default();
        let entry = |byte| {
            vec![Entry {
                hash: chunk(byte).hash,
                raw_len: 100,
                frame: None,
            }]
        };
        recent.add(&entry(0));
        assert!(recent.contains(&chunk(0).hash));
        for byte in 1..20 {
            recent.add(&entry(byte));
        }
        assert!(recent.contains(&chunk(19).hash) && !recent.contains(&chunk(0).hash));
    }
}
