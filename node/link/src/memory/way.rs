//! The way that one direction of a stream takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;

use super::Hub;
use super::freeze::Gate;
use super::hub::break_later;
use super::pipe::PipeBreaker;
use super::state::Held;
use crate::Service;

/// From the writer of a pipe to its reader.
#[derive(Clone)]
pub(super) struct Way {
    hub: Hub,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    service: Service,
    doom: Option<Arc<Doom>>,
}

/// When a stream breaks that is bound to.
#[derive(Debug)]
pub(super) struct Doom(Mutex<DoomState>);

#[derive(Debug)]
struct DoomState {
    /// Pieces, in both directions, that still arrive.
    pieces_left: u32,
    pipes: Vec<PipeBreaker>,
}

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Way")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Doom {
    /// Draws when it will be.
    pub(super) fn draw(hub: &Hub) -> Arc<Self> {
        Arc::new(Self(Mutex::new(DoomState {
            pieces_left: hub.state.lock().pieces_until_break() - 1,
            pipes: Vec::new(),
        })))
    }

    /// Says whose doom it is.
    pub(super) fn is_that_of(&self, pipes: [PipeBreaker; 2]) {
        self.0.lock().pipes = pipes.into();
    }
}

impl Way {
    pub(super) fn new(hub: Hub, from: NodeId, to: NodeId, service: Service, doom: Option<Arc<Doom>>) -> Self {
        Self {
            hub,
            from,
            to,
            service,
            doom,
        }
    }

    /// Sends the first of `bytes`, at most `room`; returns what was sent in its place, and how long it takes.
    ///
    /// # Errors
    /// What to wait for before any of it can leave.
    pub(super) fn send(&self, bytes: &mut Bytes, room: usize) -> Result<(Bytes, Duration), Held> {
        let wanted = room.min(bytes.len());
        let sent = self.hub.state.lock().piece(self.from, self.to, wanted)?;
        let mut piece = bytes.split_to(sent.bytes);
        if let Some(tamper) = sent.tamper {
            piece = tamper.stream(self.from, self.to, self.service, piece);
        }
        self.count_piece();
        Ok((piece, sent.delay))
    }

    /// How long the end of the stream takes.
    pub(super) fn send_end(&self) -> Duration {
        self.hub.state.lock().trailing(self.from, self.to)
    }

    /// What the reader waits at if its node is frozen.
    pub(super) fn gate_of_reader(&self) -> Option<Arc<Gate>> {
        self.hub.gate(self.to)
    }

    /// Counts a piece that waits for the reader's node.
    pub(super) fn count_frozen(&self) {
        self.hub.state.lock().tally.frozen += 1;
    }

    /// Waits until a node is not frozen.
    pub(super) async fn stand_still(&self, node: NodeId) {
        while let Some(gate) = self.hub.gate(node) {
            gate.passed().await;
        }
    }

    /// Does something now, or at the thaw if the node is frozen.
    pub(super) fn when_thawed(&self, node: NodeId, act: impl FnOnce() + Send + 'static) {
        self.hub.when_thawed(node, act);
    }

    /// Breaks a doomed stream when its time has come: the piece that is sent now does not arrive.
    fn count_piece(&self) {
        let Some(doom) = &self.doom else {
            return;
        };
        let pipes = {
            let mut doom = doom.0.lock();
            if doom.pieces_left > 0 {
                doom.pieces_left -= 1;
                return;
            }
            std::mem::take(&mut doom.pipes)
        };
        if pipes.is_empty() {
            return;
        }
        self.hub.state.lock().tally.broken += 1;
        for pipe in &pipes {
            pipe.stall();
        }
        break_later(pipes, self.hub.failure_after(), "the connection was lost");
    }
}
