//! A new node's side of joining: asks the members that its ticket names until one answers.

use std::fmt;
use std::time::Duration;

use tetryx_environment::Clock;
use tetryx_link::{LinkError, Links, Service};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::join::{CLOCK_TOLERANCE, JoinAnswer, JoinRefusal, JoinRequest, Welcome};
use tetryx_protocol::message::Message;
use tetryx_protocol::ticket::JoinTicket;

use crate::NodeError;

/// How long one member may take to answer: it has to reach the leader, perhaps over the slowest links.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often all members are asked before the node gives up.
const ROUNDS: u32 = 3;
/// The time between.
const ROUND_PAUSE: Duration = Duration::from_secs(2);

/// A step of joining that went well. Its text is one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// A member answered.
    Reachable {
        /// Which.
        member: NodeId,
        /// From the question to the answer, the connection included.
        took: Duration,
    },
    /// The clocks agree.
    Clock {
        /// By how many milliseconds this node is ahead, as far as can be told; negative when it is behind.
        ahead_ms: i64,
    },
    /// This node is a member.
    Accepted {
        /// Its name.
        name: String,
        /// Its zone.
        zone: String,
        /// How many members there are.
        members: usize,
    },
    /// The state is here.
    CaughtUp {
        /// The log index it has reached.
        index: u64,
    },
    /// Clients are served.
    Serving {
        /// Where.
        address: String,
    },
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reachable { member, took } => {
                let member = member.fmt_short();
                write!(
                    f,
                    "1. reachable: member {member} answered within {} ms",
                    took.as_millis()
                )
            }
            Self::Clock { ahead_ms } => {
                let side = if *ahead_ms < 0 { "behind" } else { "ahead of" };
                let limit = CLOCK_TOLERANCE.as_secs();
                write!(
                    f,
                    "2. clock: {} ms {side} the cluster's, {limit} s are allowed",
                    ahead_ms.unsigned_abs()
                )
            }
            Self::Accepted { name, zone, members } => write!(
                f,
                "3. key accepted: this node is '{name}' in zone '{zone}', one of {members} members"
            ),
            Self::CaughtUp { index } => write!(f, "4. caught up: the state is here up to log index {index}"),
            Self::Serving { address } => write!(f, "5. serving: {address}"),
        }
    }
}

/// Asks to be admitted. Each check that passes is told.
///
/// # Errors
/// [`NodeError::JoinRefused`], or [`NodeError::NobodyToJoin`] when no member answers.
pub(crate) async fn ask_to_join(
    links: &dyn Links,
    clock: &dyn Clock,
    ticket: &JoinTicket,
    request: &JoinRequest,
    tell: &mut (dyn FnMut(Check) + Send),
) -> Result<Welcome, NodeError> {
    let mut tried = Vec::new();
    let mut no_quorum = false;
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        tried.clear();
        for member in &ticket.members {
            let mut request = request.clone();
            request.now = clock.utc();
            let asked = clock.elapsed();
            let call = links.call_stranger(
                member.addresses.clone(),
                member.node,
                Service::Join,
                request.encode().into(),
            );
            let answer = match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    tried.push(describe(member.node, &member.addresses, &error));
                    continue;
                }
                Err(_) => {
                    tried.push(format!(
                        "{} did not answer within {} s",
                        member.node.fmt_short(),
                        ANSWER_TIMEOUT.as_secs()
                    ));
                    continue;
                }
            };
            let took = clock.elapsed().saturating_sub(asked);
            let answer = match JoinAnswer::decode(&answer) {
                Ok(answer) => answer,
                Err(error) => {
                    tried.push(format!("{}: {error}", member.node.fmt_short()));
                    continue;
                }
            };
            match answer {
                JoinAnswer::Refused {
                    reason: JoinRefusal::NoQuorum,
                } => no_quorum = true,
                JoinAnswer::Refused { reason } => {
                    tell(Check::Reachable {
                        member: member.node,
                        took,
                    });
                    return Err(NodeError::JoinRefused(reason));
                }
                JoinAnswer::Welcome(welcome) => {
                    if welcome.cluster != ticket.cluster {
                        return Err(NodeError::JoinRefused(JoinRefusal::OtherCluster));
                    }
                    tell(Check::Reachable {
                        member: member.node,
                        took,
                    });
                    let half_ms = i64::try_from(took.as_millis() / 2).unwrap_or(i64::MAX);
                    tell(Check::Clock {
                        ahead_ms: (clock.utc().unix_ms() - half_ms).saturating_sub(welcome.now.unix_ms()),
                    });
                    return Ok(*welcome);
                }
            }
        }
    }
    if no_quorum {
        return Err(NodeError::JoinRefused(JoinRefusal::NoQuorum));
    }
    Err(NodeError::NobodyToJoin {
        tried: tried.join("; "),
    })
}

fn describe(node: NodeId, addresses: &[String], error: &LinkError) -> String {
    let reason = match error {
        LinkError::Unreachable { reason, .. }
        | LinkError::NoAnswer { reason, .. }
        | LinkError::Refused { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    format!("{} at {}: {reason}", node.fmt_short(), addresses.join(", "))
}
