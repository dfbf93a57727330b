//! The cluster itself: its founding, its clock, its members.

use tetryx_protocol::time::UtcTime;

use super::{Context, Step};
use crate::access::{Access, contains, get, put};
use crate::command::{InitCluster, UpsertMember};
use crate::key;
use crate::query;
use crate::records::{ClockRecord, ClusterRecord, MemberRecord};
use crate::reply::{Outcome, Refusal};
use crate::tables::{ReadTables, Table, Tables};

/// What a cluster starts with; a recovery from a lost quorum counts it up.
const FIRST_EPOCH: u64 = 1;

/// The log clock is the largest time seen: a proposer whose clock lags cannot turn it back.
pub(super) fn advance_clock<T: Tables>(tables: &mut T, proposed_at: UtcTime) -> Access<T, UtcTime> {
    let clock: Option<ClockRecord> = get(tables, key::CLOCK)?;
    match clock {
        Some(clock) if clock.now >= proposed_at => Ok(clock.now),
        _ => {
            put(tables, key::CLOCK, &ClockRecord { now: proposed_at })?;
            Ok(proposed_at)
        }
    }
}

pub(super) fn require_initialised<T: ReadTables>(tables: &T) -> Step<T, ()> {
    if contains(tables, Table::Cluster, key::CLUSTER)? {
        Ok(())
    } else {
        Err(Refusal::NotInitialised.into())
    }
}

pub(super) fn init<T: Tables>(tables: &mut T, context: &Context<'_>, init: &InitCluster) -> Step<T, Outcome> {
    let existing: Option<ClusterRecord> = get(tables, key::CLUSTER)?;
    if let Some(existing) = existing {
        return Err(Refusal::AlreadyInitialised { cluster: existing.id }.into());
    }
    let record = ClusterRecord {
        id: init.cluster,
        epoch: FIRST_EPOCH,
        feature_level: init.feature_level,
        token_public_key: init.token_public_key,
        sealed_token_key: init.sealed_token_key.clone(),
        created: context.now,
    };
    put(tables, key::CLUSTER, &record)?;
    Ok(Outcome::Initialised)
}

pub(super) fn upsert_member<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    member: &UpsertMember,
) -> Step<T, Outcome> {
    let members = query::members(tables)?;
    if let Some((node, _)) = members
        .iter()
        .find(|(node, record)| record.name == member.name && *node != member.node)
    {
        return Err(Refusal::MemberNameTaken {
            name: member.name.clone(),
            node: *node,
        }
        .into());
    }
    let key = key::member(&member.node);
    let existing: Option<MemberRecord> = get(tables, &key)?;
    let record = MemberRecord {
        name: member.name.clone(),
        zone: member.zone.clone(),
        addresses: member.addresses.clone(),
        role: member.role,
        added: existing.as_ref().map_or(context.now, |existing| existing.added),
    };
    if existing.as_ref() == Some(&record) {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key, &record)?;
    Ok(if existing.is_some() {
        Outcome::MemberUpdated
    } else {
        Outcome::MemberAdded
    })
}
