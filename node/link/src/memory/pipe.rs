//! One direction of an in-memory stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use super::state::now;
use super::way::Way;
use crate::LinkError;

/// The most bytes that a writer is ahead of the reader: the stream window of the QUIC links.
const WINDOW_BYTES: usize = 2 * 1024 * 1024;

/// A pipe along a way. The way is asked at each write, so that a hub may change its mind.
pub(super) fn pipe(way: Way) -> (PipeWriter, PipeReader, PipeBreaker) {
    let shared = Arc::new(Shared::default());
    let to_writer = PipeWriter {
        shared: shared.clone(),
        way: way.clone(),
    };
    let to_reader = PipeReader {
        shared: shared.clone(),
        way,
        timer: None,
    };
    (to_writer, to_reader, PipeBreaker(shared))
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something changed that a waiting reader wants to know.
    for_reader: Notify,
    /// Something changed that a waiting writer wants to know.
    for_writer: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Piece>,
    /// When the last piece arrives of those that take time: none arrives before it.
    last_arrives: Option<Instant>,
    /// Bytes written and not read yet.
    ahead: usize,
    broken: Option<String>,
    /// Nothing arrives any more, and that will be noticed.
    stalled: bool,
    stopped: bool,
    /// The end was written.
    finished: bool,
    /// The end was read.
    ended: bool,
}

/// Bytes on their way, or the end of the stream.
#[derive(Debug)]
struct Piece {
    arrives: Option<Instant>,
    bytes: Option<Bytes>,
}

/// What a reader gets.
enum Next {
    Pieces(usize),
    End,
    Broken(String),
    /// The next piece is on its way.
    Arrives(Instant),
    Nothing,
}

impl Shared {
    fn break_with(&self, reason: &str) {
        {
            let mut state = self.state.lock();
            if state.broken.is_none() && !state.ended {
                state.broken = Some(reason.to_owned());
                state.queue.clear();
            }
        }
        self.for_reader.notify_waiters();
        self.for_writer.notify_waiters();
    }

    fn push(&self, bytes: Option<Bytes>, delay: Duration) {
        let mut state = self.state.lock();
        // Already broken, or no more of it is wanted.
        if state.broken.is_some() || state.stopped {
            return;
        }
        if !delay.is_zero() {
            state.last_arrives = state.last_arrives.max(Some(now() + delay));
        }
        let arrives = state.last_arrives;
        state.ahead += bytes.as_ref().map_or(0, Bytes::len);
        state.queue.push_back(Piece { arrives, bytes });
        let was_empty = state.queue.len() == 1;
        drop(state);
        if was_empty {
            self.for_reader.notify_waiters();
        }
    }

    fn take(&self, max: usize, pieces: &mut [Bytes]) -> Next {
        let mut state = self.state.lock();
        let was_full = state.ahead >= WINDOW_BYTES;
        let next = state.take(max, pieces);
        let wake_writer = state.ended || (was_full && state.ahead < WINDOW_BYTES);
        drop(state);
        if wake_writer {
            self.for_writer.notify_waiters();
        }
        next
    }

    /// Waits until the writer may write, and says how much.
    async fn room(&self) -> Result<usize, String> {
        loop {
            let changed = self.for_writer.notified();
            {
                let state = self.state.lock();
                match state.refusal() {
                    Some(reason) => return Err(reason),
                    None if state.ahead < WINDOW_BYTES => return Ok(WINDOW_BYTES - state.ahead),
                    None => {}
                }
            }
            changed.await;
        }
    }
}

impl State {
    fn take(&mut self, max: usize, pieces: &mut [Bytes]) -> Next {
        if let Some(reason) = &self.broken {
            return Next::Broken(reason.clone());
        }
        if self.ended {
            return Next::End;
        }
        if self.stalled {
            return Next::Nothing;
        }
        let mut taken = 0;
        let mut at = None;
        while taken < pieces.len() {
            let Some(first) = self.queue.front_mut() else {
                break;
            };
            if let Some(arrives) = first.arrives {
                if arrives > *at.get_or_insert_with(now) {
                    if taken == 0 {
                        return Next::Arrives(arrives);
                    }
                    break;
                }
                first.arrives = None;
            }
            let Some(bytes) = &mut first.bytes else {
                if taken == 0 {
                    self.ended = true;
                    self.queue.clear();
                    return Next::End;
                }
                break;
            };
            let read = bytes.split_to(max.min(bytes.len()));
            if bytes.is_empty() {
                self.queue.pop_front();
            }
            self.ahead -= read.len();
            pieces[taken] = read;
            taken += 1;
        }
        if taken == 0 {
            Next::Nothing
        } else {
            Next::Pieces(taken)
        }
    }

    /// Why writing makes no sense any more.
    fn refusal(&self) -> Option<String> {
        match &self.broken {
            Some(reason) => Some(reason.clone()),
            None if self.stopped => Some("the other side wants no more of it".to_owned()),
            None if self.finished => Some("it was already finished".to_owned()),
            None => None,
        }
    }
}

/// The end that writes.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    shared: Arc<Shared>,
    way: Way,
}

impl PipeWriter {
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let room = match self.shared.room().await {
                Ok(room) => room,
                Err(reason) => {
                    self.way.stand_still(self.way.from).await;
                    return Err(self.broken(reason));
                }
            };
            match self.way.send(&mut bytes, room) {
                Ok((piece, delay)) if !piece.is_empty() => self.shared.push(Some(piece), delay),
                Ok(_) => {}
                Err(held) => held.pass().await,
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), LinkError> {
        let refusal = {
            let mut state = self.shared.state.lock();
            let refusal = state.refusal();
            state.finished = true;
            refusal
        };
        if let Some(reason) = refusal {
            return Err(self.broken(reason));
        }
        let delay = self.way.send_end();
        let shared = self.shared.clone();
        self.way
            .when_thawed(self.way.from, move || shared.push(None, delay));
        Ok(())
    }

    pub(crate) fn reset(&mut self) {
        let shared = self.shared.clone();
        self.way.when_thawed(self.way.from, move || {
            shared.break_with("the other side gave it up");
        });
    }

    pub(crate) async fn received(&mut self) -> Result<(), LinkError> {
        let outcome = loop {
            let changed = self.shared.for_writer.notified();
            {
                let state = self.shared.state.lock();
                match &state.broken {
                    _ if state.ended || state.stopped => break Ok(()),
                    Some(reason) => break Err(reason.clone()),
                    None => {}
                }
            }
            changed.await;
        };
        self.way.stand_still(self.way.from).await;
        outcome.map_err(|reason| self.broken(reason))
    }

    fn broken(&self, reason: String) -> LinkError {
        LinkError::Broken {
            node: self.way.to,
            reason,
        }
    }
}

/// The end that reads.
#[derive(Debug)]
pub(crate) struct PipeReader {
    shared: Arc<Shared>,
    way: Way,
    /// Wakes the reader when the next piece arrives. Kept, because most streams wait more than once.
    timer: Option<Pin<Box<Sleep>>>,
}

impl PipeReader {
    pub(crate) async fn read(&mut self, max: usize) -> Result<Option<Bytes>, LinkError> {
        let mut piece = [Bytes::new()];
        let read = self.fill(max, &mut piece).await?;
        let [piece] = piece;
        Ok(read.map(|_| piece))
    }

    /// As many pieces as have arrived, at least one.
    pub(crate) async fn read_pieces(&mut self, pieces: &mut [Bytes]) -> Result<Option<usize>, LinkError> {
        self.fill(usize::MAX, pieces).await
    }

    async fn fill(&mut self, max: usize, pieces: &mut [Bytes]) -> Result<Option<usize>, LinkError> {
        if max == 0 || pieces.is_empty() {
            return Ok(Some(0));
        }
        let Self { shared, way, timer } = self;
        loop {
            let changed = shared.for_reader.notified();
            if let Some(gate) = way.gate_of_reader() {
                if !shared.state.lock().queue.is_empty() {
                    way.count_frozen();
                }
                gate.passed().await;
                continue;
            }
            match shared.take(max, pieces) {
                Next::Pieces(taken) => return Ok(Some(taken)),
                Next::End => return Ok(None),
                Next::Broken(reason) => {
                    return Err(LinkError::Broken {
                        node: way.from,
                        reason,
                    });
                }
                Next::Nothing => changed.await,
                Next::Arrives(at) => {
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                    timer.as_mut().reset(at);
                    tokio::select! {
                        biased;
                        () = timer.as_mut() => {}
                        () = changed => {}
                    }
                }
            }
        }
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        self.way.when_thawed(self.way.to, move || {
            {
                let mut state = shared.state.lock();
                state.stopped = true;
                state.queue.clear();
            }
            shared.for_writer.notify_waiters();
        });
    }
}

/// Breaks a pipe from outside, as a lost connection does.
#[derive(Debug, Clone)]
pub(super) struct PipeBreaker(Arc<Shared>);

impl PipeBreaker {
    pub(super) fn break_with(&self, reason: &str) {
        self.0.break_with(reason);
    }

    /// Has nothing arrive any more, as while a lost connection is not noticed yet.
    pub(super) fn stall(&self) {
        self.0.state.lock().stalled = true;
    }

    /// Whether anybody still holds an end.
    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
