//! Hands what other nodes ask to whoever answers it.
//!
//! # Invariants
//! - An `Err` of [`Handler::call`] means that nothing was carried out. What fails later is told inside the answer.
//! - It holds the node weakly: links never keep a node alive.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use tetryx_link::{Channel, Handler, Service};
use tetryx_protocol::id::NodeId;
use tetryx_raft::{Replica, RpcClass};

use super::requests;
use super::transport::{ANSWER, FAILED, RPC_FORWARD, RPC_PEER, tagged};
use crate::membership;
use crate::node::{Node, WeakNode};

/// What a node answers, as far as it is assembled: the replica first, everything else when the node is there.
#[derive(Clone, Debug, Default)]
pub struct Dispatch {
    parts: Arc<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    replica: OnceLock<Replica>,
    node: OnceLock<WeakNode>,
}

const STARTING: &str = "this node is starting; ask again in a moment";
const STOPPING: &str = "this node is shutting down";

impl Dispatch {
    /// Lets the replica be called. Once.
    pub fn set_replica(&self, replica: Replica) {
        let _ = self.parts.replica.set(replica);
    }

    /// Lets everything else be asked. Once.
    pub fn set_node(&self, node: &Node) {
        let _ = self.parts.node.set(node.downgrade());
    }

    fn node(&self) -> Result<Node, String> {
        let node = self.parts.node.get().ok_or(STARTING)?;
        let node = node.upgrade().ok_or(STOPPING)?;
        if node.is_stopping() {
            return Err(STOPPING.to_owned());
        }
        Ok(node)
    }

    async fn replica_call(self, class: RpcClass, body: Bytes) -> Result<Bytes, String> {
        let replica = self.parts.replica.get().ok_or(STARTING)?;
        Ok(match replica.handle_rpc(class, body).await {
            Ok(answer) => tagged(ANSWER, &answer),
            Err(error) => tagged(FAILED, error.chain().as_bytes()),
        })
    }

    async fn answer(self, from: NodeId, service: Service, mut body: Bytes) -> Result<Bytes, String> {
        match service {
            // A greeting: the connection is all it is for.
            Service::Raft if body.is_empty() => Ok(Bytes::new()),
            Service::Raft => self.replica_call(RpcClass::Consensus, body).await,
            Service::RaftBulk => self.replica_call(RpcClass::Snapshot, body).await,
            Service::Rpc => {
                if body.is_empty() {
                    return Err("the question is empty".to_owned());
                }
                match body.split_to(1)[0] {
                    RPC_FORWARD => self.replica_call(RpcClass::Forward, body).await,
                    RPC_PEER => requests::answer(&self.node()?, from, &body).await,
                    other => Err(format!("question {other} is unknown to this version")),
                }
            }
            Service::Join => membership::admit(&self.node()?, from, &body).await,
            Service::Chunks | Service::Blobs => Err(format!("{service} takes streams, not calls")),
        }
    }

    async fn serve(self, from: NodeId, service: Service, channel: Channel) {
        let node = match self.node() {
            Ok(node) => node,
            Err(reason) => {
                tracing::debug!(node = from.fmt_short(), %service, reason, "a stream is not served");
                return;
            }
        };
        match service {
            Service::Chunks => node.chunk_server().serve(from, channel).await,
            other => {
                tracing::debug!(node = from.fmt_short(), service = %other, "nobody serves such streams here");
            }
        }
    }
}

impl Handler for Dispatch {
    fn call(&self, from: NodeId, service: Service, body: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(self.clone().answer(from, service, body))
    }

    fn open(&self, from: NodeId, service: Service, channel: Channel) -> BoxFuture<'static, ()> {
        Box::pin(self.clone().serve(from, service, channel))
    }
}
