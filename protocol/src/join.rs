//! What a joining node and a member say to one another, on `tetryx-join/1`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, NodeId};
use crate::member::RosterEntry;
use crate::message::Message;
use crate::secret::Secret32;
use crate::time::UtcTime;

/// The most bytes of a request.
pub const REQUEST_LEN_MAX: usize = 16 * 1024;
/// The most bytes of an answer: a roster of a few thousand members.
pub const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;
/// The most a joining node's clock may differ from a member's. Leases and expiries are compared with it.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(10);

/// A node asks to become a member. Its key is the one it authenticated the connection with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The cluster its ticket is for.
    pub cluster: ClusterId,
    /// The secret of its ticket.
    pub secret: Secret32,
    /// What people shall call it.
    pub name: String,
    /// The failure zone it is in, unless the invitation names one.
    pub zone: String,
    /// Where its data and control endpoint is, `host:port`, best first.
    pub addresses: Vec<String>,
    /// Where its gossip endpoint is, `host:port`, best first.
    pub gossip: Vec<String>,
    /// Where clients reach it, if it says so.
    pub http_url: Option<String>,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// What its clock says.
    pub now: UtcTime,
    /// The newest commands it understands.
    pub feature_level: u32,
}

/// The answer to a [`JoinRequest`]. Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// It is a member now.
    Welcome(Box<Welcome>),
    /// It is not.
    Refused {
        /// Why.
        reason: JoinRefusal,
    },
}

/// What a new member needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster.
    pub cluster: ClusterId,
    /// How often it was recovered, plus one.
    pub epoch: u64,
    /// What the members seal signing keys with.
    pub cluster_secret: Secret32,
    /// Who the members are, the new one included.
    pub members: Vec<RosterEntry>,
    /// The log index at which it became one.
    pub index: u64,
    /// What the member's clock says.
    pub now: UtcTime,
}

/// Why a node may not join. Append-only. The text says what, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// No invitation has this secret.
    #[error(
        "the cluster does not know this ticket (it was revoked, or is of another cluster); ask for a new one with 'tetryx-cli node invite'"
    )]
    UnknownTicket,
    /// Another node was faster.
    #[error(
        "this ticket was used by node {by}; each admits one node: ask for a new one with 'tetryx-cli node invite'"
    )]
    UsedTicket {
        /// Which node.
        by: NodeId,
    },
    /// Too late.
    #[error("this ticket expired at {at}; ask for a new one with 'tetryx-cli node invite'")]
    ExpiredTicket {
        /// When.
        at: UtcTime,
    },
    /// The ticket is for another cluster than the node that was asked belongs to.
    #[error(
        "the node that answered belongs to another cluster; ask for a new ticket from the cluster you mean"
    )]
    OtherCluster,
    /// The name belongs to somebody else.
    #[error("the name '{name}' belongs to another member; choose another with --name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The key is a member's already.
    #[error("this node is a member already; start it with 'tetryx-node run'")]
    AlreadyMember,
    /// The key was removed.
    #[error(
        "this node was removed from the cluster and its key is refused for ever; join with an empty data directory, which makes a new key"
    )]
    RemovedNode,
    /// The two clocks differ too much.
    #[error("this machine's clock is {} ms {} the cluster's; set it (for example with NTP) and join again", by_ms.unsigned_abs(), if *by_ms < 0 { "behind" } else { "ahead of" })]
    ClockOff {
        /// By how many milliseconds the joining node is ahead; negative when it is behind.
        by_ms: i64,
    },
    /// Nobody can admit it now.
    #[error(
        "the cluster cannot reach a majority of its voters now, so it cannot admit a node; join again when it can"
    )]
    NoQuorum,
    /// The new node is too old for the cluster.
    #[error("the cluster runs a newer version than this node; install that version and join again")]
    NeedsUpgrade,
    /// Something about the request is too long, or makes no sense.
    #[error("the request is refused: {reason}")]
    Invalid {
        /// What.
        reason: String,
    },
}

impl Message for JoinRequest {
    const WHAT: &'static str = "a join request";
    const MAGIC: [u8; 4] = *b"TXJQ";
    const LEN_MAX: usize = REQUEST_LEN_MAX;
}

impl Message for JoinAnswer {
    const WHAT: &'static str = "the answer to a join request";
    const MAGIC: [u8; 4] = *b"TXJA";
    const LEN_MAX: usize = ANSWER_LEN_MAX;
}
