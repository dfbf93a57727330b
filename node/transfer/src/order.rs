//! Carries out one order: a stream, a request, frames in, batches to the verifier.
//!
//! # Invariants
//! - Every whole frame that arrived goes to the verifier, also when the order is cancelled or its stream breaks.
//! - It holds at most one batch and the beginning of one frame; while the verifier is busy, it does not read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tetryx_link::{Channel, LinkError, RecvHalf, Service};
use tetryx_protocol::chunk_wire::{
    ANSWER_HEAD_LEN, Answer, AnswerDecoder, ChunkWireError, ItemKind, Request,
};
use tetryx_protocol::id::NodeId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::fetcher::Shared;
use crate::flight::Content;
use crate::plan::{Order, OrderId};
use crate::verify::{Frame, Verified};

/// Pieces read from a stream at once: each is what one packet brought.
const PIECES: usize = 64;
/// How often a frame that is long under way is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Bytes of frames that go to the verifier together, if they come fast enough.
const BATCH_BYTES: usize = 1 << 20;

/// What happens to orders.
#[derive(Debug)]
pub(crate) enum Event {
    /// A frame came in, and is on its way to the verifier.
    Received { order: OrderId, item: u32, bytes: u64 },
    /// Something came in, though no whole frame for a while.
    Progress { order: OrderId },
    /// The provider has it not, or damaged.
    Lacking { order: OrderId, item: u32 },
    /// The verifier is done with a batch from a provider.
    Verified { provider: NodeId, verified: Verified },
    /// The provider does not speak the protocol.
    Nonsense { provider: NodeId, error: ChunkWireError },
    /// The stream is at its end, with everything or not.
    Ended {
        order: OrderId,
        error: Option<LinkError>,
    },
}

/// What an order needs to be carried out.
pub(crate) struct Errand {
    pub(crate) shared: Arc<Shared>,
    pub(crate) content: Arc<Content>,
    pub(crate) order: Order,
    pub(crate) events: mpsc::Sender<Event>,
    /// Bytes of frames, whole or not, that came over the wire.
    pub(crate) wire_bytes: Arc<AtomicU64>,
}

/// Why reading stopped.
enum Stop {
    Complete,
    Cancelled,
    Link(LinkError),
    Nonsense(ChunkWireError),
}

impl Errand {
    /// Runs until everything came, or nothing more will, or it is cancelled. The last event is [`Event::Ended`].
    pub(crate) async fn run(self, mut cancelled: oneshot::Receiver<()>) {
        let opened = tokio::select! {
            biased;
            _ = &mut cancelled => Err(Stop::Cancelled),
            opened = self.open() => opened.map_err(Stop::Link),
        };
        let stop = match opened {
            Ok(recv) => self.read(recv, &mut cancelled).await,
            Err(stop) => stop,
        };
        let (order, provider) = (self.order.id, self.order.provider);
        let error = match stop {
            Stop::Complete | Stop::Cancelled => None,
            Stop::Link(error) => Some(error),
            Stop::Nonsense(error) => {
                self.tell(Event::Nonsense { provider, error }).await;
                None
            }
        };
        self.tell(Event::Ended { order, error }).await;
    }

    async fn open(&self) -> Result<RecvHalf, LinkError> {
        let Channel { mut send, recv } = self
            .shared
            .links
            .open(self.order.provider, Service::Chunks)
            .await?;
        let mut request = BytesMut::new();
        let hashes = self
            .order
            .items
            .iter()
            .map(|item| self.content.items[*item as usize].0);
        Request::Chunks(hashes.collect()).encode(&mut request);
        send.write_bytes(request.freeze()).await?;
        send.finish()?;
        Ok(recv)
    }

    async fn read(&self, mut recv: RecvHalf, cancelled: &mut oneshot::Receiver<()>) -> Stop {
        let mut decoder = AnswerDecoder::new();
        decoder.expect(ItemKind::Chunk, self.order.items.len());
        let mut waiting: VecDeque<u32> = self.order.items.iter().copied().collect();
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
        let mut told = (self.shared.now)();
        let stop = loop {
            if decoder.outstanding() == 0 {
                break Stop::Complete;
            }
            if batch_bytes >= BATCH_BYTES {
                let slot = self.shared.verifier.slot().await;
                self.hand_over(slot, &mut batch, &mut batch_bytes);
                continue;
            }
            // What there is goes on as soon as nothing more is there and the verifier is free.
            let read = tokio::select! {
                biased;
                _ = &mut *cancelled => break Stop::Cancelled,
                read = recv.read_pieces(&mut pieces) => read,
                slot = self.shared.verifier.slot(), if !batch.is_empty() => {
                    self.hand_over(slot, &mut batch, &mut batch_bytes);
                    continue;
                }
            };
            let count = match read {
                Ok(Some(count)) => count,
                Ok(None) => break Stop::Link(self.ended_early()),
                Err(error) => break Stop::Link(error),
            };
            for piece in &mut pieces[..count] {
                self.wire_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                decoder.push(std::mem::take(piece));
            }
            let now = (self.shared.now)();
            match self.take(&mut decoder, &mut waiting, &mut batch).await {
                Ok(0) if now.saturating_sub(told) >= PROGRESS_EVERY => {
                    told = now;
                    self.tell(Event::Progress { order: self.order.id }).await;
                }
                Ok(taken) => batch_bytes += taken,
                Err(error) => break Stop::Nonsense(error),
            }
        };
        if !batch.is_empty() {
            let slot = self.shared.verifier.slot().await;
            self.hand_over(slot, &mut batch, &mut batch_bytes);
        }
        stop
    }

    /// Takes what the decoder has; the bytes of the frames taken.
    async fn take(
        &self,
        decoder: &mut AnswerDecoder,
        waiting: &mut VecDeque<u32>,
        batch: &mut Vec<Frame>,
    ) -> Result<usize, ChunkWireError> {
        let mut taken = 0;
        while let Some(answer) = decoder.next()? {
            let item = waiting
                .pop_front()
                .expect("the decoder gives as many answers as were asked for");
            self.wire_bytes
                .fetch_sub(ANSWER_HEAD_LEN as u64, Ordering::Relaxed);
            let order = self.order.id;
            match answer {
                Answer::Found { bytes, .. } => {
                    let (chunk, raw_len) = self.content.items[item as usize];
                    taken += bytes.len();
                    let event = Event::Received {
                        order,
                        item,
                        bytes: bytes.len() as u64,
                    };
                    batch.push(Frame {
                        item,
                        chunk,
                        raw_len,
                        bytes,
                    });
                    self.tell(event).await;
                }
                Answer::Missing | Answer::Damaged => self.tell(Event::Lacking { order, item }).await,
            }
        }
        Ok(taken)
    }

    fn hand_over(&self, slot: OwnedSemaphorePermit, batch: &mut Vec<Frame>, batch_bytes: &mut usize) {
        *batch_bytes = 0;
        let frames = std::mem::take(batch);
        let (events, provider) = (self.events.clone(), self.order.provider);
        let verified = self.shared.verifier.begin(slot, frames);
        tokio::spawn(async move {
            let verified = verified.await;
            // Nobody listens any more when the fetch was given up.
            let _ = events.send(Event::Verified { provider, verified }).await;
        });
    }

    fn ended_early(&self) -> LinkError {
        LinkError::Broken {
            node: self.order.provider,
            reason: "it ended before everything asked for had come".to_owned(),
        }
    }

    async fn tell(&self, event: Event) {
        // Nobody listens any more when the fetch was given up.
        let _ = self.events.send(event).await;
    }
}
