//! The replica's calls, carried over the links.
//!
//! What is sent: on `Raft` and `RaftBulk` the replica's bytes as they are; on `Rpc`, which questions share, one byte
//! that says what follows ([`RPC_FORWARD`], [`RPC_PEER`]). What comes back: [`ANSWER`] and the replica's bytes, or
//! [`FAILED`] and the reason as text.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use tetryx_link::{LinkError, Links, Service};
use tetryx_protocol::id::NodeId;
use tetryx_raft::{RpcClass, Transport, TransportError};

/// On `Rpc`: a call of the replica.
pub(super) const RPC_FORWARD: u8 = 1;
/// On `Rpc`: a question of a peer.
pub(super) const RPC_PEER: u8 = 2;
/// The replica answered.
pub(super) const ANSWER: u8 = 0;
/// The replica could not, and may have carried it out nevertheless.
pub(super) const FAILED: u8 = 1;

/// [`Transport`] over [`Links`].
#[derive(Clone, Debug)]
pub struct RaftTransport {
    links: Arc<dyn Links>,
}

impl RaftTransport {
    pub fn new(links: Arc<dyn Links>) -> Self {
        Self { links }
    }
}

impl Transport for RaftTransport {
    fn call(
        &self,
        to: NodeId,
        class: RpcClass,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (service, body) = match class {
            RpcClass::Consensus => (Service::Raft, body),
            RpcClass::Snapshot => (Service::RaftBulk, body),
            RpcClass::Forward => (Service::Rpc, tagged(RPC_FORWARD, &body)),
        };
        let answer = self.links.call(to, service, body);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => read_answer(to, answer),
                Err(error) => Err(transport_error(to, error)),
            }
        })
    }
}

/// One byte, then the bytes.
pub(super) fn tagged(tag: u8, body: &[u8]) -> Bytes {
    let mut tagged = BytesMut::with_capacity(1 + body.len());
    tagged.put_u8(tag);
    tagged.put_slice(body);
    tagged.freeze()
}

fn read_answer(node: NodeId, mut answer: Bytes) -> Result<Bytes, TransportError> {
    if answer.is_empty() {
        let reason = "its answer is empty".to_owned();
        return Err(TransportError::NoAnswer { node, reason });
    }
    let tag = answer.split_to(1)[0];
    if tag == ANSWER {
        return Ok(answer);
    }
    let reason = String::from_utf8_lossy(&answer).into_owned();
    Err(TransportError::NoAnswer { node, reason })
}

fn transport_error(node: NodeId, error: LinkError) -> TransportError {
    match error {
        // A refusal comes before the replica is asked: see `Dispatch`.
        LinkError::Unreachable { reason, .. } | LinkError::Refused { reason, .. } => {
            TransportError::Unreachable { node, reason }
        }
        LinkError::NoAnswer { reason, .. } => TransportError::NoAnswer { node, reason },
        error => TransportError::NoAnswer {
            node,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_certain_and_a_failure_is_not() {
        let node = NodeId::from_bytes([1; 32]);
        let reason = || "because".to_owned();
        let refused = transport_error(
            node,
            LinkError::Refused {
                node,
                reason: reason(),
            },
        );
        assert!(matches!(refused, TransportError::Unreachable { .. }));
        let failed = read_answer(node, tagged(FAILED, b"because")).unwrap_err();
        assert!(
            matches!(&failed, TransportError::NoAnswer { reason, .. } if reason == "because"),
            "{failed}"
        );
        assert_eq!(read_answer(node, tagged(ANSWER, b"yes")).unwrap(), "yes");
    }
}
