//! A member's answer to a node that wants to join.

use bytes::Bytes;
use tetryx_link::Roster as _;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::join::{CLOCK_TOLERANCE, JoinAnswer, JoinRefusal, JoinRequest, Welcome};
use tetryx_protocol::message::Message;
use tetryx_protocol::ticket;
use tetryx_raft::ProposeError;
use tetryx_state::command::RedeemInvite;
use tetryx_state::records::ClusterRecord;
use tetryx_state::{Refusal, query};

use crate::node::Node;
use crate::{NodeError, membership};

/// Who proposes a redeemed invitation, for the audit.
const BY_JOINER: &str = "join";

/// Judges the request of a node that has proved to be `from`, and answers it.
pub(crate) async fn admit(node: &Node, from: NodeId, body: &[u8]) -> Result<Bytes, String> {
    let request = JoinRequest::decode(body).map_err(|error| error.to_string())?;
    let name = request.name.clone();
    let answer = match welcome(node, from, request).await {
        Ok(welcome) => {
            tracing::info!(node = %from, name, "a node has joined");
            JoinAnswer::Welcome(Box::new(welcome))
        }
        Err(Failure::Refused(reason)) => {
            tracing::warn!(node = %from, name, %reason, "a node may not join");
            JoinAnswer::Refused { reason }
        }
        Err(Failure::Broken(error)) => {
            tracing::error!(node = %from, error = error.chain(), "a join failed inside this node");
            return Err("the node that was asked failed; its log says why, ask another one".to_owned());
        }
    };
    Ok(answer.encode().into())
}

enum Failure {
    Refused(JoinRefusal),
    Broken(NodeError),
}

impl From<JoinRefusal> for Failure {
    fn from(reason: JoinRefusal) -> Self {
        Self::Refused(reason)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Broken(error)
    }
}

async fn welcome(node: &Node, from: NodeId, request: JoinRequest) -> Result<Welcome, Failure> {
    let cluster = cluster(node)?;
    if request.cluster != cluster.id {
        return Err(JoinRefusal::OtherCluster.into());
    }
    let now = node.clock().utc();
    let by_ms = request.now.unix_ms().saturating_sub(now.unix_ms());
    if u128::from(by_ms.unsigned_abs()) > CLOCK_TOLERANCE.as_millis() {
        return Err(JoinRefusal::ClockOff { by_ms }.into());
    }
    if request.feature_level < cluster.feature_level {
        return Err(JoinRefusal::NeedsUpgrade.into());
    }
    let redeem = RedeemInvite {
        secret_hash: ticket::secret_hash(&request.secret),
        node: from,
        name: request.name,
        zone: request.zone,
        addresses: request.addresses,
        gossip: request.gossip,
        http_url: request.http_url,
        weight: request.weight,
        feature_level: request.feature_level,
    };
    let index = match node.propose(BY_JOINER, redeem).await {
        Ok((index, _)) => index,
        Err(NodeError::Refused(refusal)) => return Err(explain(refusal)),
        Err(NodeError::Propose(ProposeError::NoLeader { .. } | ProposeError::Unknown { .. })) => {
            return Err(JoinRefusal::NoQuorum.into());
        }
        Err(error) => return Err(error.into()),
    };
    let view = node.replica().view().map_err(NodeError::from)?;
    let members = membership::entries(&view)?;
    // The newcomer hears from the leader in a moment: this node must know it by then.
    crate::peers::take_over(node)?;
    let epoch = node.roster().cluster().map_or(cluster.epoch, |(_, epoch)| epoch);
    Ok(Welcome {
        cluster: cluster.id,
        epoch,
        cluster_secret: node.cluster_secret().to_shared(),
        members,
        index,
        now: node.clock().utc(),
    })
}

/// The cluster as the state has it now: its level may have risen since this node started.
fn cluster(node: &Node) -> Result<ClusterRecord, NodeError> {
    query::cluster(&node.replica().view()?)?.ok_or(NodeError::NoCluster)
}

/// The state's refusal, as the newcomer needs to hear it.
fn explain(refusal: Refusal) -> Failure {
    Failure::Refused(match refusal {
        Refusal::NoSuchInvite { .. } => JoinRefusal::UnknownTicket,
        Refusal::InviteUsed { by } => JoinRefusal::UsedTicket { by },
        Refusal::InviteExpired { expires } => JoinRefusal::ExpiredTicket { at: expires },
        Refusal::MemberNameTaken { name, .. } => JoinRefusal::NameTaken { name },
        Refusal::AlreadyMember { .. } => JoinRefusal::AlreadyMember,
        Refusal::MemberRemoved { .. } => JoinRefusal::RemovedNode,
        other => JoinRefusal::Invalid {
            reason: other.to_string(),
        },
    })
}
