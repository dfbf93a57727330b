//! The JSON about members, invitations and how the cluster is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{InviteId, NodeId};
use crate::member::{MemberState, Role};
use crate::time::UtcTime;

/// How fresh a read is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadLevel {
    /// Whatever this node has, however old.
    #[default]
    Any,
    /// No older than a bound.
    Bounded,
    /// Everything that was acknowledged anywhere before the question.
    Strong,
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Any => "any",
            Self::Bounded => "bounded",
            Self::Strong => "strong",
        })
    }
}

/// How many members there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersSummary {
    /// All that were not removed.
    pub total: u64,
    /// Those this node hears now, itself included.
    pub reachable: u64,
    /// Those that hand over what they have.
    pub draining: u64,
}

/// What has fewer copies than it should, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderReplicated {
    /// How many NARs.
    pub nars: u64,
    /// Their bytes, uncompressed.
    pub bytes: u64,
    /// The log index of the state that was looked at: what was pushed later is not counted yet.
    #[serde(default)]
    pub as_of: u64,
}

/// A member, as the API shows it. What only gossip knows is absent when nothing was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Its key.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// The failure zone it is in.
    pub zone: String,
    /// Its part in consensus, as wished.
    pub role: Role,
    /// Whether it votes now.
    #[serde(default)]
    pub votes: bool,
    /// Whether it takes part.
    pub state: MemberState,
    /// Where its data and control endpoint is, best first.
    pub addresses: Vec<String>,
    /// Where clients reach it.
    pub http_url: Option<String>,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// When it became a member.
    pub added: UtcTime,
    /// The version it runs.
    #[serde(default)]
    pub version: Option<String>,
    /// Seconds since it was last heard.
    #[serde(default)]
    pub last_seen_seconds: Option<u64>,
    /// The last log index it said it had applied.
    #[serde(default)]
    pub applied_index: Option<u64>,
    /// The round-trip time to it from the node that answers, in milliseconds.
    #[serde(default)]
    pub rtt_ms: Option<u64>,
    /// Bytes it can still store.
    #[serde(default)]
    pub free_bytes: Option<u64>,
}

/// Answer of `GET /api/v1/members`: by name; removed ones only with `?all=true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberList {
    /// The members.
    pub members: Vec<MemberInfo>,
}

/// Body of `POST /api/v1/invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateInviteRequest {
    /// The zone the new member is put in; its own choice otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How long the ticket counts.
    pub expires_seconds: u64,
    /// Whether the new member may be given a vote.
    #[serde(default)]
    pub voter: bool,
}

/// Answer of `POST /api/v1/invites`. The ticket is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateInviteResponse {
    /// The ticket: one line for `tetryx-node join`.
    pub ticket: String,
    /// By what the invitation is known and revoked.
    pub invite: InviteId,
    /// When it ends.
    pub expires: UtcTime,
}

impl fmt::Debug for CreateInviteResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CreateInviteResponse")
            .field("ticket", &"<redacted>")
            .field("invite", &self.invite)
            .field("expires", &self.expires)
            .finish()
    }
}

/// An invitation, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteInfo {
    /// By what it is known and revoked.
    pub invite: InviteId,
    /// The zone the new member is put in.
    pub zone: Option<String>,
    /// Whether the new member may be given a vote.
    pub voter: bool,
    /// When it ends.
    pub expires: UtcTime,
    /// Who joined with it.
    pub used_by: Option<NodeId>,
}

/// Answer of `GET /api/v1/invites`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteList {
    /// The invitations, by id.
    pub invites: Vec<InviteInfo>,
}

/// Answer of `POST /api/v1/members/{node}/drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainMemberResponse {
    /// The member.
    pub node: NodeId,
    /// The log index of the change.
    pub index: u64,
    /// What it still has to hand over, in bytes, as far as the answering node knows.
    #[serde(default)]
    pub bytes_left: Option<u64>,
}

/// Answer of `DELETE /api/v1/members/{node}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMemberResponse {
    /// The member.
    pub node: NodeId,
    /// The log index of the change.
    pub index: u64,
}
