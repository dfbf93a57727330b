//! The body of a NAR answer: stored frames, copied from disk to the socket, one batch read ahead.
//!
//! # Invariants
//! - It yields exactly as many bytes as it promised, or breaks off with an error: the connection is then aborted
//!   and the client sees truncation, never wrong bytes.
//! - It holds at most two batches, about twice [`BATCH_BYTES`].
//! - A chunk that turns out to be corrupt or gone is fetched from another node before the stream is given up.
//!
//! # Non-goals
//! - Compressing, decompressing or hashing: the store checks each record as it reads it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tetryx_protocol::hash::{ChunkHash, NarHash};
use tetryx_state::records::NarRecord;
use tetryx_store::{Hold, StoreError};
use tokio::task::JoinHandle;

use super::layout::Layout;
use super::pull::{PullError, Reader};
use super::relay::Relay;
use crate::Node;
use crate::error::chain;

/// Bytes read from the store at once.
const BATCH_BYTES: u64 = 1 << 20;

/// Why a NAR stream broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The store could not deliver the frames.
    #[error("frames of the NAR {nar} cannot be read")]
    Store { nar: NarHash, source: Box<StoreError> },
    /// The store delivered something else than it had announced.
    #[error(
        "the frame of chunk {chunk} of the NAR {nar} has {found} bytes, the layout says {expected}; ask again"
    )]
    Length {
        nar: NarHash,
        chunk: ChunkHash,
        found: u64,
        expected: u64,
    },
    /// Frames are not here and did not come from elsewhere.
    #[error(transparent)]
    Pull(PullError),
    /// The reading task was cancelled or panicked.
    #[error("reading the NAR {nar} was cut short")]
    Task {
        nar: NarHash,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

type Batch = Result<VecDeque<Bytes>, ReadError>;

/// A part of a NAR's file as an HTTP body of known length.
pub(super) struct NarBody {
    source: Source,
    /// Frames that no batch covers yet.
    unread: Range<usize>,
    /// Bytes of the first frame that come before the part.
    skip: u64,
    /// Bytes of the part that were not yielded yet.
    remaining: u64,
    ready: VecDeque<Bytes>,
    reading: Option<JoinHandle<Batch>>,
    sent: Counter,
    /// Keeps the chunks from collection, should the path be deleted meanwhile.
    _hold: Hold,
}

/// Where a body's frames come from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) node: Node,
    pub(super) layout: Arc<Layout>,
    pub(super) nar: NarHash,
    pub(super) record: NarRecord,
    pub(super) origin: Origin,
}

/// How frames come to be here.
#[derive(Clone)]
pub(super) enum Origin {
    /// They were all here.
    Here,
    /// Those that are missing are fetched and kept.
    Fetched(Arc<Reader>),
    /// There is no room for them: they are passed on.
    Relayed(Arc<Relay>),
}

impl NarBody {
    /// Begins to stream `part`, which is not empty and lies within the file. Returns when the first batch is there,
    /// so that a chunk found damaged until then can still be answered with an error. May be polled on any task of a
    /// tokio runtime. `sent` counts the bytes that were yielded.
    pub(super) async fn open(source: Source, part: Range<u64>, sent: Counter) -> Result<Self, ReadError> {
        let frames = source.layout.frames_of(&part);
        let hold = source.node.store().hold(source.layout.hashes(frames.clone()));
        let skip = part.start - source.layout.start_of(frames.start);
        let mut body = Self {
            source,
            unread: frames,
            skip,
            remaining: part.end - part.start,
            ready: VecDeque::new(),
            reading: None,
            sent,
            _hold: hold,
        };
        body.read_ahead();
        std::future::poll_fn(|context| body.poll_batch(context)).await?;
        Ok(body)
    }

    /// Starts to read the next batch, if there is one.
    fn read_ahead(&mut self) {
        if self.unread.is_empty() {
            return;
        }
        let frames = self.source.layout.batch(&self.unread, BATCH_BYTES);
        self.unread.start = frames.end;
        let source = self.source.clone();
        self.reading = Some(tokio::spawn(async move { source.read(frames).await }));
    }

    /// Takes over the batch that is being read and starts the next one.
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(Ok(()));
        };
        let batch = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let nar = self.source.nar;
        self.ready = batch.unwrap_or_else(|source| {
            Err(ReadError::Task {
                nar,
                source: source.into(),
            })
        })?;
        self.read_ahead();
        Poll::Ready(Ok(()))
    }
}

impl Source {
    /// Frames from the disk, once they are there, each held against the layout.
    async fn read(self, frames: Range<usize>) -> Batch {
        match &self.origin {
            Origin::Here => {}
            Origin::Relayed(relay) => return self.relayed(relay, frames).await,
            Origin::Fetched(reader) => match self.wait_for(reader, frames.clone()).await {
                Err(ReadError::Pull(error)) if error.is_full() => {
                    let relay = reader.relay(&self.node, &self.nar).await;
                    return self.relayed(relay.map_err(ReadError::Pull)?, frames).await;
                }
                waited => waited?,
            },
        }
        // Each turn heals one frame at least: reading stops at the first that is bad.
        for _ in frames.clone() {
            match self.clone().read_stored(frames.clone()).await {
                Err(ReadError::Store { source, .. }) if may_be_fetched(&source) => {
                    tracing::warn!(
                        nar = %self.nar,
                        error = chain(&*source),
                        "frames of a NAR are damaged; fetching them from other nodes"
                    );
                    let reader =
                        Reader::open(&self.node, &self.nar, &self.record).map_err(ReadError::Pull)?;
                    self.wait_for(&reader, frames.clone()).await?;
                }
                read => return read,
            }
        }
        self.read_stored(frames).await
    }

    async fn wait_for(&self, reader: &Reader, frames: Range<usize>) -> Result<(), ReadError> {
        let nar = self.nar;
        reader.handle.want(frames.start);
        let here = reader.handle.wait_for(frames).await;
        here.map_err(|source| ReadError::Pull(PullError::Fetch { nar, source }))
    }

    async fn relayed(&self, relay: &Relay, frames: Range<usize>) -> Batch {
        let relayed = relay.frames(&self.node, &self.nar, &self.layout, frames.clone());
        let relayed = relayed.await.map_err(ReadError::Pull)?;
        self.fit(frames, relayed)
    }

    async fn read_stored(self, frames: Range<usize>) -> Batch {
        let nar = self.nar;
        let io = self.node.io().clone();
        let read = io.run(move || self.read_blocking(frames)).await;
        read.unwrap_or_else(|source| {
            Err(ReadError::Task {
                nar,
                source: source.into(),
            })
        })
    }

    fn read_blocking(&self, frames: Range<usize>) -> Batch {
        let nar = self.nar;
        let hashes = self.layout.hashes(frames.clone());
        let store = self.node.store();
        let read = store.read_frames(hashes).map_err(|source| ReadError::Store {
            nar,
            source: Box::new(source),
        })?;
        self.fit(frames, read)
    }

    /// Holds frames against the layout.
    fn fit(&self, frames: Range<usize>, read: Vec<Bytes>) -> Batch {
        let hashes = self.layout.hashes(frames.clone());
        for ((frame, chunk), bytes) in frames.zip(hashes).zip(&read) {
            let (found, expected) = (bytes.len() as u64, self.layout.len_of(frame));
            if found != expected {
                self.node.substituter().layouts.forget(&self.record.file_hash);
                return Err(ReadError::Length {
                    nar: self.nar,
                    chunk: *chunk,
                    found,
                    expected,
                });
            }
        }
        Ok(read.into())
    }
}

/// Whether another node's copy helps.
fn may_be_fetched(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Corrupt { .. } | StoreError::ChunkAbsent { .. } | StoreError::Frame { .. }
    )
}

impl Body for NarBody {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let body = &mut *self;
        if body.remaining == 0 {
            return Poll::Ready(None);
        }
        if body.ready.is_empty()
            && let Err(error) = ready!(body.poll_batch(context))
        {
            tracing::error!(
                error = &error as &(dyn std::error::Error + 'static),
                "a NAR answer broke off; the client must try again"
            );
            body.remaining = 0;
            return Poll::Ready(Some(Err(error)));
        }
        let bytes = body
            .ready
            .pop_front()
            .expect("a batch holds at least one frame while bytes remain");
        // Each frame has the length that the layout gives it, so these cuts are within bounds.
        let skip = usize::try_from(std::mem::take(&mut body.skip)).expect("less than a frame");
        let bytes = if skip == 0 { bytes } else { bytes.slice(skip..) };
        let len = usize::try_from(body.remaining)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        body.remaining -= len as u64;
        body.sent.inc_by(len as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes.slice(..len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

impl fmt::Debug for NarBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NarBody")
            .field("nar", &self.source.nar)
            .field("unread", &self.unread)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}
