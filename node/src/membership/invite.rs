//! Minting tickets.

use std::time::Duration;

use tetryx_protocol::id::InviteId;
use tetryx_protocol::secret::Secret32;
use tetryx_protocol::ticket::{JoinTicket, TicketMember};
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::CreateInvite;

use crate::NodeError;
use crate::node::Node;

/// The longest a ticket may count: whoever finds it in a drawer should not get in.
pub(crate) const INVITE_VALIDITY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Members named in a ticket, this node first: enough to find one that is up, few enough for one line.
const TICKET_MEMBERS_MAX: usize = 5;
/// Addresses named for each.
const TICKET_ADDRESSES_MAX: usize = 4;

/// A ticket, and by what its invitation is known.
#[derive(Debug)]
pub(crate) struct Invitation {
    pub(crate) ticket: JoinTicket,
    pub(crate) invite: InviteId,
    pub(crate) index: u64,
}

/// Has the cluster admit one node with the ticket that is returned, on behalf of `by`.
///
/// # Errors
/// Those of [`Node::propose`].
pub(crate) async fn invite(
    node: &Node,
    by: &str,
    zone: Option<String>,
    validity: Duration,
    voter: bool,
) -> Result<Invitation, NodeError> {
    let mut secret = [0; 32];
    node.entropy().fill(&mut secret);
    let validity_ms = i64::try_from(validity.as_millis()).unwrap_or(i64::MAX);
    let now = node.clock().utc().unix_ms();
    let ticket = JoinTicket {
        cluster: node.cluster().id,
        token_public_key: node.cluster().token_public_key,
        secret: Secret32::from_bytes(secret),
        expires: UtcTime::from_unix_ms(now.saturating_add(validity_ms)),
        members: members_to_ask(node),
    };
    let invite = ticket.secret_hash();
    let create = CreateInvite {
        secret_hash: invite,
        zone,
        expires: ticket.expires,
        voter,
    };
    let (index, _) = node.propose(by, create).await?;
    Ok(Invitation {
        ticket,
        invite,
        index,
    })
}

/// This node, then others that take part.
fn members_to_ask(node: &Node) -> Vec<TicketMember> {
    let mut members = node.roster().members();
    for member in &mut members {
        // What it listens on now, which the roster may yet have to learn.
        if member.node == node.node_id() {
            member.addresses.clone_from(&node.advertised().addresses);
        }
    }
    members.retain(|member| !member.addresses.is_empty());
    members.sort_by_key(|member| (member.node != node.node_id(), !member.state.is_active()));
    members.truncate(TICKET_MEMBERS_MAX);
    members
        .into_iter()
        .map(|member| TicketMember {
            node: member.node,
            addresses: member.addresses.into_iter().take(TICKET_ADDRESSES_MAX).collect(),
        })
        .collect()
}
