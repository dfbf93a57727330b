//! One node's place at the hub.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Handler, Roster};

/// What others see of a node, from its joining to its end.
#[derive(Default)]
pub(super) struct Seat {
    pub(super) roster: Option<Arc<dyn Roster>>,
    handler: Mutex<Option<Arc<dyn Handler>>>,
    gone: AtomicBool,
    /// A handler came, or the node is gone.
    changed: Notify,
}

impl fmt::Debug for Seat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Seat")
            .field("roster", &self.roster)
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

impl Seat {
    pub(super) fn new(roster: Option<Arc<dyn Roster>>) -> Self {
        Self {
            roster,
            ..Self::default()
        }
    }

    /// Begins to answer.
    pub(super) fn serve(&self, handler: Arc<dyn Handler>) {
        let before = {
            let mut current = self.handler.lock();
            if self.is_gone() {
                return;
            }
            current.replace(handler)
        };
        drop(before);
        self.changed.notify_waiters();
    }

    /// Ends everything that the node does for others.
    pub(super) fn leave(&self) {
        let handler = {
            let mut current = self.handler.lock();
            self.gone.store(true, Ordering::Release);
            current.take()
        };
        self.changed.notify_waiters();
        drop(handler);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Who answers, as soon as somebody does; `None` if the node is gone.
    pub(super) async fn handler(&self) -> Option<Arc<dyn Handler>> {
        loop {
            let changed = self.changed.notified();
            let handler = self.handler.lock().clone();
            if handler.is_some() || self.is_gone() {
                return handler;
            }
            changed.await;
        }
    }

    /// Does something on the node. `None` if the node is gone before it is done.
    pub(super) async fn carry_out<W: Future>(&self, work: impl FnOnce() -> W) -> Option<W::Output> {
        if self.is_gone() {
            return None;
        }
        let mut work = pin!(work());
        loop {
            let changed = self.changed.notified();
            if self.is_gone() {
                return None;
            }
            tokio::select! {
                biased;
                () = changed => {}
                done = &mut work => return Some(done),
            }
        }
    }
}
