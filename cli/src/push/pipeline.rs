//! One NAR from the disk to the server, whatever its size.
//!
//! Windows of chunks run through the stages at the same time: a thread reads and cuts one while the server is asked
//! about the next, a third is compressed and a fourth is sent. A window is cut at the same places in every try, since
//! the NAR and the cutting are the same.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;

use backon::BackoffBuilder as _;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use tetryx_protocol::hash::ChunkHash;
use tetryx_protocol::upload::UploadEncoder;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::chunks::read_chunks;
use super::closure::LocalPath;
use super::error::PushError;
use super::progress::{Arrived, NarProgress};
use super::session::Session;
use super::window::{Chunk, Window, Windows};
use crate::api::NarBody;
use crate::clock::Stopwatch;

/// How many windows of a NAR are asked about and compressed while one is sent.
const LOOK_AHEAD: usize = 6;

/// A window, with the frame of each chunk that the server lacks.
#[derive(Debug)]
struct Prepared {
    window: Arc<Window>,
    frames: Vec<Option<Vec<u8>>>,
}

/// A piece of a body, and the window whose memory it stands for.
type BlockResult = io::Result<(Bytes, Option<Arc<Window>>)>;

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
        let (path, root, windows) = (path.clone(), session.root(path), session.windows.clone());
        spawn_blocking(move || read_windows(&path, &root, &windows, &window_tx))
    };

    let mut block = Vec::new();
    let mut encoder = UploadEncoder::start(&mut block);
    let mut recent = Recent::default();
    let mut position = 0;
    let mut windows = Box::pin(
        receiver_stream(window_rx)
            .map(|window| prepare(session, window))
            .buffered(LOOK_AHEAD),
    );
    while let Some(prepared) = windows.next().await {
        let Prepared { window, frames } = prepared?;
        let (window_start, mut named) = (position, 0);
        block.reserve_exact(
            frames
                .iter()
                .map(|frame| 64 + frame.as_ref().map_or(0, Vec::len))
                .sum(),
        );
        for (chunk, frame) in window.chunks().iter().zip(&frames) {
            position += u64::from(chunk.raw_len);
            match frame {
                Some(frame) if !recent.contains(&chunk.hash) => {
                    encoder.chunk(&mut block, &chunk.hash, chunk.raw_len, frame);
                }
                _ => {
                    encoder.have(&mut block, &chunk.hash, chunk.raw_len);
                    named += u64::from(chunk.raw_len);
                }
            }
        }
        recent.add(window.chunks());
        drop(frames);
        send(session, blocks, std::mem::take(&mut block), Some(window)).await?;
        // What an earlier try has sent is named now, but was not saved.
        if window_start >= reached.position.get() {
            bar.advance(position - window_start);
            reached.position.set(position);
            reached.deduplicated.set(reached.deduplicated.get() + named);
        }
    }
    drop(windows);
    reader.await.map_err(|_| PushError::Stopped)??;
    encoder.end(&mut block);
    send(session, blocks, block, None).await
}

async fn send(
    session: &Session,
    blocks: &mpsc::Sender<BlockResult>,
    block: Vec<u8>,
    window: Option<Arc<Window>>,
) -> Result<(), PushError> {
    let length = block.len();
    blocks
        .send(Ok((Bytes::from(block), window)))
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

    fn add(&mut self, chunks: &[Chunk]) {
        self.windows
            .push_back(chunks.iter().map(|chunk| chunk.hash).collect());
        if self.windows.len() > 2 * LOOK_AHEAD {
            self.windows.pop_front();
        }
    }
}

/// Reads a NAR into windows. Blocking.
fn read_windows(
    path: &LocalPath,
    root: &Path,
    windows: &Windows,
    filled: &mpsc::Sender<Window>,
) -> Result<(), PushError> {
    let runtime = Handle::current();
    let mut window: Option<Window> = None;
    read_chunks(path, root, &mut |raw| {
        let current = match &mut window {
            Some(current) => current,
            None => window.insert(runtime.block_on(windows.take())?),
        };
        current.add(raw);
        if current.is_full() {
            let full = window.take().expect("a chunk was just put into it");
            filled.blocking_send(full).map_err(|_| PushError::Stopped)?;
        }
        Ok(())
    })?;
    match window {
        Some(last) => filled.blocking_send(last).map_err(|_| PushError::Stopped),
        None => Ok(()),
    }
}

/// Asks which chunks of a window are missing, and compresses those.
async fn prepare(session: &Session, window: Window) -> Result<Prepared, PushError> {
    let window = Arc::new(window);
    let missing = missing_once(session, &window).await?;
    let to_send = window
        .chunks()
        .iter()
        .zip(&missing)
        .filter(|(_, missing)| **missing)
        .map(|(chunk, _)| *chunk);
    let mut frames = session.compressors.compress(&window, to_send).await?.into_iter();
    let frames = missing
        .into_iter()
        .map(|missing| if missing { frames.next() } else { None })
        .collect();
    Ok(Prepared { window, frames })
}

/// For each chunk of a window, whether it is to be sent: the server lacks it, and no chunk before it is the same.
async fn missing_once(session: &Session, window: &Window) -> Result<Vec<bool>, PushError> {
    let mut missing = ask(session, window).await?;
    Ok(window
        .chunks()
        .iter()
        .map(|chunk| missing.remove(&chunk.hash))
        .collect())
}

/// Which chunks of a window the server lacks.
pub(super) async fn ask(session: &Session, window: &Window) -> Result<BTreeSet<ChunkHash>, PushError> {
    let hashes: BTreeSet<ChunkHash> = window.chunks().iter().map(|chunk| chunk.hash).collect();
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

/// The body of a request; a window is given back when the next block is asked for.
fn body_stream(receiver: mpsc::Receiver<BlockResult>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(
        (receiver, None),
        |(mut receiver, last): (_, Option<Arc<Window>>)| async move {
            drop(last);
            let item: BlockResult = mpsc::Receiver::recv(&mut receiver).await?;
            match item {
                Ok((block, window)) => Some((Ok(block), (receiver, window))),
                Err(error) => Some((Err(error), (receiver, None))),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_sent_lately_is_remembered_and_then_forgotten() {
        let windows = Windows::new();
        let mut recent = Recent::default();
        for byte in 0..20 {
            let mut window = windows.take().await.unwrap();
            window.add(&[byte]);
            recent.add(window.chunks());
        }
        assert!(recent.contains(&ChunkHash::of(&[19])));
        assert!(!recent.contains(&ChunkHash::of(&[0])));
    }
}
