//! At most once: a proposal that was applied is answered from memory, never applied again.
//!
//! A client numbers its proposals and says with each which of them it may still repeat: those from `oldest_open`
//! on. Their replies are kept. The highest `oldest_open` heard is the client's floor; what comes late from below it
//! is refused, because it cannot be told any more whether it was applied.
//!
//! A client is forgotten [`CLIENT_KEPT`] after its last proposal, when another client appears.

use std::ops::Bound;

#[cfg(feature = "mutants")]
use tetryx_environment::mutant::Mutant;
use tetryx_protocol::id::{ClientId, ProposalId};
use tetryx_protocol::time::UtcTime;

use crate::access::{Access, Walk, delete, delete_prefix, delete_range, get, put};
use crate::command::Command;
use crate::error::StateError;
use crate::key::{self, ProposalKey};
use crate::limits::{CLIENT_KEPT, OPEN_PROPOSALS_MAX};
use crate::records::{ClientRecord, Record, ReplyRecord};
use crate::reply::{Refusal, Reply};
use crate::tables::{ReadTables, Table, Tables};

/// What is known of a proposal before it is applied.
pub(super) enum Admission {
    /// It was never applied.
    Fresh(Standing),
    /// It was applied before, or will never be.
    Answered(Reply),
}

/// Where the client of a fresh proposal stands.
pub(super) struct Standing {
    floor: u64,
    is_new: bool,
}

pub(super) fn admit<T: ReadTables>(tables: &T, command: &Command) -> Access<T, Admission> {
    let ProposalId { client, serial } = command.proposal;
    let known: Option<ClientRecord> = get(tables, &key::client(&client))?;
    let floor = known.map_or(0, |known| known.floor).max(command.oldest_open);
    if serial < floor {
        return Ok(Admission::Answered(Reply::Refused(Refusal::ProposalFinished {
            serial,
            floor,
        })));
    }
    let earlier: Option<ReplyRecord> = get(tables, &key::reply(&client, serial))?;
    #[cfg(feature = "mutants")]
    let earlier = earlier.filter(|_| !Mutant::ApplyWithoutDedup.is_active());
    if let Some(earlier) = earlier {
        return Ok(Admission::Answered(earlier.reply));
    }
    if serial - floor >= OPEN_PROPOSALS_MAX {
        return Ok(Admission::Answered(Reply::Refused(
            Refusal::TooManyOpenProposals { serial, floor },
        )));
    }
    Ok(Admission::Fresh(Standing {
        floor,
        is_new: known.is_none(),
    }))
}

pub(super) fn remember<T: Tables>(
    tables: &mut T,
    now: UtcTime,
    proposal: ProposalId,
    standing: Standing,
    reply: &Reply,
) -> Access<T, ()> {
    let ProposalId { client, serial } = proposal;
    let Standing { floor, is_new } = standing;
    if is_new {
        forget_expired(tables, now)?;
    }
    put(tables, &key::client(&client), &ClientRecord { floor, seen: now })?;
    put(
        tables,
        &key::reply(&client, serial),
        &ReplyRecord { reply: reply.clone() },
    )?;
    let (first, end) = (key::replies(&client), key::reply(&client, floor));
    delete_range(
        tables,
        Table::Proposals,
        Bound::Included(&first),
        Bound::Excluded(&end),
    )
}

fn forget_expired<T: Tables>(tables: &mut T, now: UtcTime) -> Access<T, ()> {
    for client in expired(tables, now)? {
        delete(tables, Table::Proposals, &key::client(&client))?;
        delete_prefix(tables, Table::Proposals, &key::replies(&client))?;
    }
    Ok(())
}

fn expired<T: ReadTables>(tables: &T, now: UtcTime) -> Access<T, Vec<ClientId>> {
    let mut expired = Vec::new();
    for row in Walk::prefix(tables, Table::Proposals, key::clients()) {
        let (key, value) = row.map_err(StateError::Tables)?;
        let record = ClientRecord::decode(&key, &value).map_err(StateError::Corrupt)?;
        let parsed = key::parse_proposal(&key).map_err(StateError::Corrupt)?;
        if let ProposalKey::Client(client) = parsed
            && now.since(record.seen) > CLIENT_KEPT
        {
            expired.push(client);
        }
    }
    Ok(expired)
}
