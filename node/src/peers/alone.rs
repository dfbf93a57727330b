//! The links of a node that has none.

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_link::{Channel, LinkError, Links, PathInfo, Service};
use tetryx_protocol::id::NodeId;

/// Every call fails at once: for a node alone, and for work on the data of a node that does not run.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLinks;

impl NoLinks {
    fn refuse<T: Send + 'static>(node: NodeId) -> BoxFuture<'static, Result<T, LinkError>> {
        let reason = "this node has no links to others".to_owned();
        Box::pin(std::future::ready(Err(LinkError::Unreachable { node, reason })))
    }
}

impl Links for NoLinks {
    fn call(
        &self,
        to: NodeId,
        _service: Service,
        _body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        Self::refuse(to)
    }

    fn open(&self, to: NodeId, _service: Service) -> BoxFuture<'static, Result<Channel, LinkError>> {
        Self::refuse(to)
    }

    fn call_stranger(
        &self,
        _addresses: Vec<String>,
        expect: NodeId,
        _service: Service,
        _body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        Self::refuse(expect)
    }

    fn path(&self, _to: NodeId) -> Option<PathInfo> {
        None
    }

    fn forget(&self, _node: NodeId) {}
}
