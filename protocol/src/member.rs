//! Members of a cluster as everybody sees them: parts, states, and the roster that nodes exchange.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::time::UtcTime;

/// The weight of a member that was given none. Weights only count relative to one another; 0 holds nothing.
pub const WEIGHT_DEFAULT: u32 = 100;

/// The part a member has in consensus. Append-only: the position is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is given a vote whenever one more voter is wanted.
    Voter,
    /// It follows the log, and is given a vote only where policy finds nobody else.
    Learner,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
        })
    }
}

/// Whether a member takes part. Append-only: the position is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// It holds data, takes pushes and may vote.
    #[default]
    Active,
    /// It hands over what it has and gets nothing new.
    Draining {
        /// Since when, by the log clock.
        since: UtcTime,
    },
    /// It is gone. Its key is refused for ever; its name is free.
    Removed {
        /// When, by the log clock.
        at: UtcTime,
    },
}

impl MemberState {
    /// Whether it takes part in everything.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether it is leaving.
    pub const fn is_draining(self) -> bool {
        matches!(self, Self::Draining { .. })
    }

    /// Whether it is gone.
    pub const fn is_removed(self) -> bool {
        matches!(self, Self::Removed { .. })
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Active => "active",
            Self::Draining { .. } => "draining",
            Self::Removed { .. } => "removed",
        })
    }
}

/// What nodes tell one another about a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// The member.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// The failure zone it is in.
    pub zone: String,
    /// Where its data and control endpoint is, `host:port`, best first.
    pub addresses: Vec<String>,
    /// Where its gossip endpoint is, `host:port`, best first.
    pub gossip: Vec<String>,
    /// Where clients reach it, if it says so.
    pub http_url: Option<String>,
    /// Its share of the data, relative to the others'.
    pub weight: u32,
    /// Whether it takes part.
    pub state: MemberState,
    /// Its part in consensus, as wished.
    pub role: Role,
}
