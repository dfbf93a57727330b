//! Looking at what travels, and changing it.

use std::sync::Arc;

use bytes::Bytes;
use tetryx_protocol::id::NodeId;

use super::Hub;
use crate::Service;

/// A call that was delivered, or its answer.
#[derive(Debug, Clone)]
pub struct Passage {
    /// Who sent it.
    pub from: NodeId,
    /// Who received it.
    pub to: NodeId,
    /// The service that was called.
    pub service: Service,
    /// The request or the answer.
    pub body: Bytes,
    /// Whether it is the answer: `from` is then the node that was called.
    pub answer: bool,
}

/// Changes what nodes send, as lying ones do. Called once for everything that is sent, in the order of sending.
pub trait Tamper: Send + Sync {
    /// What is sent in place of this piece of a stream. An empty one is left out.
    fn stream(&self, from: NodeId, to: NodeId, service: Service, piece: Bytes) -> Bytes {
        let _ = (from, to, service);
        piece
    }

    /// What is sent in place of this answer to a call; `from` is the node that was called.
    fn answer(&self, from: NodeId, to: NodeId, service: Service, body: Bytes) -> Bytes {
        let _ = (from, to, service);
        body
    }
}

/// Sees passages.
pub(super) type Observer = Arc<dyn Fn(&Passage) + Send + Sync>;

impl Hub {
    /// Shows `observer` every call that is delivered, and every answer that is not a refusal, in place of whoever
    /// saw them before.
    pub fn observe(&self, observer: Arc<dyn Fn(&Passage) + Send + Sync>) {
        let before = self.state.lock().observer.replace(observer);
        drop(before);
    }

    /// Has what is sent from now on go through `tamper`, or through nobody.
    pub fn tamper(&self, tamper: Option<Arc<dyn Tamper>>) {
        let before = std::mem::replace(&mut self.state.lock().tamper, tamper);
        drop(before);
    }
}
