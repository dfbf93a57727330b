//! One direction of an in-memory stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use crate::LinkError;

/// The most bytes that a writer is ahead of the reader: the stream window of the QUIC links.
const WINDOW_BYTES: usize = 2 * 1024 * 1024;

/// A pipe from one node to another. `delay` is asked at each write, so that a hub may change its mind.
pub(super) fn pipe(
    writer: NodeId,
    reader: NodeId,
    delay: Arc<dyn Fn() -> Duration + Send + Sync>,
) -> (PipeWriter, PipeReader, PipeBreaker) {
    let shared = Arc::new(Shared::default());
    let to_writer = PipeWriter {
        shared: shared.clone(),
        node: reader,
        delay: Delay(delay),
    };
    let to_reader = PipeReader {
        shared: shared.clone(),
        node: writer,
        first: None,
    };
    (to_writer, to_reader, PipeBreaker(shared))
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something changed that a waiting reader or writer wants to know.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Piece>,
    /// Bytes written and not read yet.
    ahead: usize,
    broken: Option<String>,
    stopped: bool,
    /// The end was written.
    finished: bool,
    /// The end was read.
    ended: bool,
}

/// Bytes on their way, or the end of the stream.
#[derive(Debug)]
struct Piece {
    arrives: Option<Pin<Box<Sleep>>>,
    bytes: Option<Bytes>,
}

/// The end of a wait that begins now; `None` if there is nothing to wait for.
pub(super) fn after(delay: Duration) -> Option<Pin<Box<Sleep>>> {
    (!delay.is_zero()).then(|| Box::pin(sleep(delay)))
}

struct Delay(Arc<dyn Fn() -> Duration + Send + Sync>);

impl std::fmt::Debug for Delay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Delay")
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_waiters();
    }

    /// Waits until `ready` has an answer. Cancel-safe if `ready` changes the state only when it has one.
    async fn wait<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let notified = self.changed.notified();
            if let Some(answer) = ready(&mut self.state.lock()) {
                return answer;
            }
            notified.await;
        }
    }
}

/// The end that writes.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    shared: Arc<Shared>,
    node: NodeId,
    delay: Delay,
}

impl PipeWriter {
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let room = self.shared.wait(|state| match state.refusal() {
                Some(reason) => Some(Err(reason)),
                None if state.ahead < WINDOW_BYTES => Some(Ok(WINDOW_BYTES - state.ahead)),
                None => None,
            });
            let room = room.await.map_err(|reason| self.broken(reason))?;
            let piece = bytes.split_to(room.min(bytes.len()));
            let arrives = after((self.delay.0)());
            self.shared.change(|state| {
                state.ahead += piece.len();
                state.queue.push_back(Piece {
                    arrives,
                    bytes: Some(piece),
                });
            });
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), LinkError> {
        let refusal = self.shared.state.lock().refusal();
        if let Some(reason) = refusal {
            return Err(self.broken(reason));
        }
        let arrives = after((self.delay.0)());
        self.shared.change(|state| {
            state.finished = true;
            state.queue.push_back(Piece { arrives, bytes: None });
        });
        Ok(())
    }

    pub(crate) fn reset(&mut self) {
        self.shared
            .change(|state| state.break_with("the other side gave it up"));
    }

    pub(crate) async fn received(&mut self) -> Result<(), LinkError> {
        let outcome = self.shared.wait(|state| match &state.broken {
            _ if state.ended || state.stopped => Some(Ok(())),
            Some(reason) => Some(Err(reason.clone())),
            None => None,
        });
        outcome.await.map_err(|reason| self.broken(reason))
    }

    fn broken(&self, reason: String) -> LinkError {
        LinkError::Broken {
            node: self.node,
            reason,
        }
    }
}

/// The end that reads.
#[derive(Debug)]
pub(crate) struct PipeReader {
    shared: Arc<Shared>,
    node: NodeId,
    /// What has arrived first, taken off the queue, so that waiting for it needs no lock.
    first: Option<Piece>,
}

impl PipeReader {
    pub(crate) async fn read(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        if max == 0 {
            return Ok(Some(Bytes::new()));
        }
        if self.first.is_none() {
            let node = self.node;
            let first = self.shared.wait(|state| match &state.broken {
                Some(reason) => Some(Err(reason.clone())),
                None if state.ended => Some(Ok(None)),
                None => state.queue.pop_front().map(|piece| Ok(Some(piece))),
            });
            match first.await {
                Ok(Some(piece)) => self.first = Some(piece),
                Ok(None) => return Ok(None),
                Err(reason) => return Err(LinkError::Broken { node, reason }),
            }
        }
        let piece = self
            .first
            .as_mut()
            .expect("set above, or still there from before");
        if let Some(arrives) = &mut piece.arrives {
            let broken = self.shared.wait(|state| state.broken.clone());
            tokio::select! {
                biased;
                () = arrives => piece.arrives = None,
                reason = broken => return Err(LinkError::Broken { node: self.node, reason }),
            }
        }
        let Some(bytes) = &mut piece.bytes else {
            self.shared.change(|state| state.ended = true);
            self.first = None;
            return Ok(None);
        };
        let read = bytes.split_to(max.min(bytes.len()));
        if bytes.is_empty() {
            self.first = None;
        }
        self.shared.change(|state| state.ahead -= read.len());
        Ok(Some(read))
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.stopped = true;
            state.queue.clear();
        });
    }
}

impl State {
    /// Why writing makes no sense any more.
    fn refusal(&self) -> Option<String> {
        match &self.broken {
            Some(reason) => Some(reason.clone()),
            None if self.stopped => Some("the other side wants no more of it".to_owned()),
            None if self.finished => Some("it was already finished".to_owned()),
            None => None,
        }
    }

    fn break_with(&mut self, reason: &str) {
        if self.broken.is_none() && !self.ended {
            self.broken = Some(reason.to_owned());
            self.queue.clear();
        }
    }
}

/// Breaks a pipe from outside, as a lost connection does.
#[derive(Debug, Clone)]
pub(super) struct PipeBreaker(Arc<Shared>);

impl PipeBreaker {
    pub(super) fn break_with(&self, reason: &str) {
        self.0.change(|state| state.break_with(reason));
    }

    /// Whether anybody still holds an end.
    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
