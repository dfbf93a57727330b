//! How nodes become members of the cluster, and how they leave it.
//!
//! A member is a row of the replicated state. `invite` mints a ticket; the node that has it asks any member over
//! `tetryx-join/1` ([`join`]); that one judges and has the cluster agree ([`admit`]). Every node tells the cluster
//! where it is at each start ([`introduce`]); the leader makes the members of consensus follow the rows
//! ([`supervise`]).
//!
//! # Invariants
//! - A ticket admits one node. Asking again with the same key and ticket is answered as before.
//! - A removed node's key is refused for ever; it may come back with an empty data directory only.

mod admit;
mod drain;
mod introduce;
mod invite;
pub(crate) mod join;
mod supervise;
#[cfg(test)]
mod tests;

use tetryx_protocol::member::RosterEntry;
use tetryx_raft::StateView;
use tetryx_state::query;

pub(crate) use self::admit::admit;
pub(crate) use self::drain::{DrainProgress, watch_own_state};
pub use self::introduce::introduce;
pub(crate) use self::introduce::keep_introduced;
pub(crate) use self::invite::{INVITE_VALIDITY_MAX, invite};
pub use self::join::Check;
pub(crate) use self::supervise::{hand_over_leadership, supervise};
use crate::NodeError;

/// All members of the state as nodes tell one another about them, removed ones included, by id.
pub(crate) fn entries(view: &StateView) -> Result<Vec<RosterEntry>, NodeError> {
    let members = query::members(view)?;
    Ok(members
        .into_iter()
        .map(|(node, member)| member.to_roster_entry(node))
        .collect())
}
