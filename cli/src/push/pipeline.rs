//! One NAR from the disk to the server, whatever its size.
//!
//! Windows of chunks run through the stages at the same time: a thread reads and cuts one while the server is asked
//! about the next, a third is compressed and a fourth is sent. A window is cut at the same places in every try, since
//! the NAR and the cutting are the same.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::io;

use backon::BackoffBuilder as _;
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

/// How far a NAR has come, over all tries.
#[derive(Debug, Default)]
struct Reached {
    /// NAR bytes handed to the network or named.
    position: Cell<u64>,
    /// How many of them were only named.
    deduplicated: Cell<u64>,
}

/// Sends one NAR of any size. It is tried again as long as tries get further, and a number of times where they do not.
pub(crate) async fn upload_nar(session: &Session, path: &LocalPath) -> Result<Arrived, PushError> {
    let name = path.store_path.to_string();
    let bar = session.progress.nar(&name, path.nar_size);
    let watch = Stopwatch::start();
    let reached = Reached::default();
    let waits = session.client.patience().backoff();
    let mut waits_left = waits.build();
    loop {
        let before = reached.position.get();
        let Err(error) = upload_once(session, path, &bar, &reached).await else {
            break;
        };
        if !error.is_worth_another_try() {
            return Err(error);
        }
        if reached.position.get() > before {
            waits_left = waits.build();
        }
        let Some(wait) = waits_left.next() else {
            return Err(error);
        };
        session.progress.retrying(&name, &error, wait);
        tokio::time::sleep(wait).await;
    }
    Ok(Arrived {
        nar_size: path.nar_size,
        deduplicated: reached.deduplicated.get(),
        took: watch.elapsed(),
    })
}

async fn upload_once(
    session: &Session,
    path: &LocalPath,
    bar: &NarProgress<'_>,
    reached: &Reached,
) -> Result<(), PushError> {
    let (block_tx, block_rx) = mpsc::channel::<BlockResult>(1);
    let body = NarBody::Stream(body_stream(block_rx));
    let put = session
        .client
        .put_nar(&session.upload, &path.nar_hash, path.nar_size, body);
    let feed = async {
        let fed = feed(session, path, bar, reached, &block_tx).await;
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
        (Ok(()), Ok(_)) => Ok(()),
        (Ok(()) | Err(PushError::Stopped), Err(error)) => Err(PushError::Client(error)),
        (Err(error), _) => Err(error),
    }
}

/// Runs the windows of a NAR through the stages up to the body of the request.
async fn feed(
    session: &Session,
    path: &LocalPath,
    bar: &NarProgress<'_>,
    reached: &Reached,
    blocks: &mpsc::Sender<BlockResult>,
) -> Result<(), PushError> {
    let (window_tx, window_rx) = mpsc::channel(1);
    let reader = {
        let (path, root, budget) = (path.clone(), session.root(path), session.budget.clone());
        spawn_blocking(move || read_windows(&path, &root, &budget, &window_tx))
    };

    let mut buffer = BytesMut::new();
    let mut encoder = UploadEncoder::start(&mut buffer);
    let mut recent = Recent::default();
    let mut position = 0;
    let mut windows = Box::pin(
        receiver_stream(window_rx)
            .map(|window| prepare(session, window))
            .buffered(LOOK_AHEAD),
    );
    while let Some(window) = windows.next().await {
        let (entries, share) = window?;
        let (window_start, mut named) = (position, 0);
        for entry in &entries {
            position += u64::from(entry.raw_len);
            match &entry.frame {
                Some(frame) if !recent.contains(&entry.hash) => {
                    encoder.chunk(&mut buffer, &entry.hash, entry.raw_len, frame);
                }
                _ => {
                    encoder.have(&mut buffer, &entry.hash, entry.raw_len);
                    named += u64::from(entry.raw_len);
                }
            }
        }
        recent.add(&entries);
        drop(entries);
        send(session, blocks, &mut buffer, Some(share)).await?;
        // What an earlier try has sent is named now, but was not saved.
        if window_start >= reached.position.get() {
            bar.advance(position - window_start);
            reached.position.set(position);
            reached.deduplicated.set(reached.deduplicated.get() + named);
        }
    }
    drop(windows);
    reader.await.map_err(|_| PushError::Stopped)??;
    encoder.end(&mut buffer);
    send(session, blocks, &mut buffer, None).await
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

pub(super) async fn ask<'a>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_lately_is_remembered_and_then_forgotten() {
        let mut recent = Recent::default();
        let hash = |byte| ChunkHash::of(&[byte]);
        let entry = |byte| {
            vec![Entry {
                hash: hash(byte),
                raw_len: 100,
                frame: None,
            }]
        };
        recent.add(&entry(0));
        assert!(recent.contains(&hash(0)));
        for byte in 1..20 {
            recent.add(&entry(byte));
        }
        assert!(recent.contains(&hash(19)) && !recent.contains(&hash(0)));
    }
}
