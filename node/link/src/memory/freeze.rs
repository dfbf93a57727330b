//! Nodes that stand still.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tokio::sync::Notify;

use super::Hub;

/// Where everything waits that a frozen node sends or would receive.
#[derive(Default)]
pub(super) struct Gate {
    open: AtomicBool,
    opened: Notify,
    deferred: Mutex<Vec<Deferred>>,
}

type Deferred = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// Waits for the thaw. Who waits first goes on first.
    pub(super) async fn passed(&self) {
        loop {
            let opened = self.opened.notified();
            if self.open.load(Ordering::Acquire) {
                return;
            }
            opened.await;
        }
    }

    /// Does something at the thaw, in the order of asking.
    fn defer(&self, act: Deferred) {
        self.deferred.lock().push(act);
    }

    fn open(&self) {
        self.open.store(true, Ordering::Release);
        let deferred = std::mem::take(&mut *self.deferred.lock());
        for act in deferred {
            act();
        }
        self.opened.notify_waiters();
    }
}

impl Hub {
    /// Has a node stand still, as if it was stopped by a signal: what it sends is held, and what is sent to it. Nothing
    /// breaks by that; whoever waits for it may lose patience.
    ///
    /// Only the node's links stand still: its own work goes on.
    pub fn freeze(&self, node: NodeId) {
        self.state.lock().frozen.entry(node).or_default();
    }

    /// Ends a freeze: what was held goes on its way in the order in which it was held.
    pub fn thaw(&self, node: NodeId) {
        let gate = self.state.lock().frozen.remove(&node);
        if let Some(gate) = gate {
            gate.open();
        }
    }

    /// Whether a node is frozen.
    pub fn is_frozen(&self, node: NodeId) -> bool {
        self.state.lock().frozen.contains_key(&node)
    }

    /// Does something now, or at the thaw if the node is frozen.
    pub(super) fn when_thawed(&self, node: NodeId, act: impl FnOnce() + Send + 'static) {
        let state = self.state.lock();
        if let Some(gate) = state.frozen.get(&node) {
            return gate.defer(Box::new(act));
        }
        drop(state);
        act();
    }

    /// What a node waits at while it is frozen.
    pub(super) fn gate(&self, node: NodeId) -> Option<Arc<Gate>> {
        self.state.lock().frozen.get(&node).cloned()
    }
}
