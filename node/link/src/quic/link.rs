//! One connection, and when it may be closed.
//!
//! # Invariants
//! - A connection that is superseded is closed only while nothing on it is in use, and no stream that arrives after
//!   that is looked at: whoever opened one may safely open it again elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::Notify;

use super::close::Close;
use crate::service::Lane;

/// How long nothing must happen on a superseded connection before it is closed.
const SUPERSEDED_IDLE: Duration = Duration::from_secs(2);

/// A connection whose peer is known.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: quinn::Connection,
    pub(super) peer: NodeId,
    pub(super) lane: Lane,
    /// Who dialled.
    pub(super) dialler: NodeId,
    pub(super) since: Instant,
    gate: Arc<Gate>,
}

/// Counts what is in use, and shuts when nothing is.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct GateState {
    in_use: usize,
    shut: bool,
}

/// Keeps a link from being closed as superseded.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Gate>);

impl Link {
    pub(super) fn new(
        connection: quinn::Connection,
        peer: NodeId,
        lane: Lane,
        dialler: NodeId,
        since: Instant,
    ) -> Self {
        Self {
            connection,
            peer,
            lane,
            dialler,
            since,
            gate: Arc::default(),
        }
    }

    /// Whether it can still be used, as far as this side knows.
    pub(super) fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none() && !self.gate.state.lock().shut
    }

    /// Begins to use it, for one stream; `None` if it is being closed.
    pub(super) fn enter(&self) -> Option<Arc<InUse>> {
        let mut state = self.gate.state.lock();
        if state.shut {
            return None;
        }
        state.in_use += 1;
        Some(Arc::new(InUse(self.gate.clone())))
    }

    /// Closes it for good once it has not been used for a while.
    pub(super) async fn drain(&self) {
        loop {
            tokio::select! {
                () = self.idle() => {}
                _ = self.connection.closed() => return,
            }
            tokio::time::sleep(SUPERSEDED_IDLE).await;
            let mut state = self.gate.state.lock();
            if state.in_use == 0 {
                state.shut = true;
                Close::Superseded.close(&self.connection, "another connection is used instead");
                return;
            }
        }
    }

    async fn idle(&self) {
        loop {
            let idle = self.gate.idle.notified();
            if self.gate.state.lock().in_use == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.in_use -= 1;
        if state.in_use == 0 {
            self.0.idle.notify_waiters();
        }
    }
}
