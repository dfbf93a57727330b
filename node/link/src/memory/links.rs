//! One node's end of the hub.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_protocol::id::NodeId;

use super::Hub;
use super::seat::Seat;
use super::trip::Trip;
use crate::header::{Header, Kind};
use crate::{Channel, Handler, LinkError, Links, PathInfo, Service};

/// The [`Links`] of one node at a [`Hub`].
#[derive(Debug)]
pub struct MemoryLinks {
    hub: Hub,
    node: NodeId,
    seat: Arc<Seat>,
}

impl MemoryLinks {
    pub(super) fn new(hub: Hub, node: NodeId, seat: Arc<Seat>) -> Self {
        Self { hub, node, seat }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Begins to answer. Whoever called before waits until now.
    pub fn serve(&self, handler: Arc<dyn Handler>) {
        self.seat.serve(handler);
    }

    fn trip(&self, to: NodeId, service: Service, kind: Kind) -> Trip {
        Trip {
            hub: self.hub.clone(),
            from: self.node,
            to,
            header: Header {
                service,
                kind,
                cluster: self.seat.roster.as_ref().and_then(|roster| roster.cluster()),
            },
            own: self.seat.clone(),
        }
    }
}

impl Links for MemoryLinks {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        Box::pin(self.trip(to, service, Kind::Call).call(body))
    }

    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'static, Result<Channel, LinkError>> {
        Box::pin(self.trip(to, service, Kind::Channel).open())
    }

    fn call_stranger(
        &self,
        _addresses: Vec<String>,
        expect: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        self.call(expect, service, body)
    }

    fn path(&self, to: NodeId) -> Option<PathInfo> {
        let state = self.hub.state.lock();
        let known = state.nodes.contains_key(&to);
        let cut = state.is_cut(self.node, to) || state.is_cut(to, self.node);
        (known && !cut).then(|| PathInfo {
            rtt: state.latency(self.node, to) + state.latency(to, self.node),
            packets_sent: 0,
            packets_lost: 0,
            congestion_window: u64::MAX,
            connected_for: Duration::ZERO,
        })
    }

    fn forget(&self, node: NodeId) {
        self.hub
            .break_streams(self.node, node, "the other side closed the connection");
    }
}
