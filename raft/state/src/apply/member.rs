//! The members: added, changed, drained, removed.
//!
//! A removed member keeps its row, so that its key is refused for ever; its name is free again.

use tetryx_protocol::id::NodeId;
use tetryx_protocol::member::WEIGHT_DEFAULT;

use super::{Context, Step};
use crate::access::{get, put};
use crate::command::{DrainMember, RemoveMember, UpdateMember, UpsertMember};
use crate::key;
use crate::query;
use crate::records::{FEATURE_LEVEL_UNSAID, MemberRecord, MemberState};
use crate::reply::{Outcome, Refusal};
use crate::tables::{ReadTables, Tables};

/// The member, unless it was removed.
fn present<T: ReadTables>(tables: &T, node: NodeId) -> Step<T, Option<MemberRecord>> {
    let member: Option<MemberRecord> = get(tables, &key::member(&node))?;
    match member {
        Some(MemberRecord {
            state: MemberState::Removed { at },
            ..
        }) => Err(Refusal::MemberRemoved { node, at }.into()),
        member => Ok(member),
    }
}

/// Refuses a key that was removed or is a member already.
pub(super) fn require_stranger<T: ReadTables>(tables: &T, node: NodeId) -> Step<T, ()> {
    match present(tables, node)? {
        Some(_) => Err(Refusal::AlreadyMember { node }.into()),
        None => Ok(()),
    }
}

/// Refuses a name that another present member has.
pub(super) fn require_free_name<T: ReadTables>(tables: &T, name: &str, node: NodeId) -> Step<T, ()> {
    let members = query::active_members(tables)?;
    let taken = members
        .iter()
        .find(|(other, member)| member.name == name && *other != node);
    match taken {
        Some((node, _)) => Err(Refusal::MemberNameTaken {
            name: name.to_owned(),
            node: *node,
        }
        .into()),
        None => Ok(()),
    }
}

pub(super) fn upsert<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &UpsertMember,
) -> Step<T, Outcome> {
    let existing = present(tables, body.node)?;
    require_free_name(tables, &body.name, body.node)?;
    let is_new = existing.is_none();
    let mut record = existing.clone().unwrap_or_else(|| MemberRecord {
        name: String::new(),
        zone: String::new(),
        addresses: Vec::new(),
        gossip: Vec::new(),
        http_url: None,
        role: body.role,
        weight: WEIGHT_DEFAULT,
        state: MemberState::Active,
        added: context.now,
        feature_level: FEATURE_LEVEL_UNSAID,
    });
    record.name.clone_from(&body.name);
    record.zone.clone_from(&body.zone);
    record.addresses.clone_from(&body.addresses);
    record.role = body.role;
    if existing.as_ref() == Some(&record) {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key::member(&body.node), &record)?;
    Ok(if is_new {
        Outcome::MemberAdded
    } else {
        Outcome::MemberUpdated
    })
}

pub(super) fn update<T: Tables>(tables: &mut T, body: &UpdateMember) -> Step<T, Outcome> {
    let node = body.node;
    let existing = present(tables, node)?.ok_or(Refusal::NoSuchMember { node })?;
    require_free_name(tables, &body.name, node)?;
    let record = MemberRecord {
        name: body.name.clone(),
        zone: body.zone.clone(),
        addresses: body.addresses.clone(),
        gossip: body.gossip.clone(),
        http_url: body.http_url.clone(),
        role: body.role.unwrap_or(existing.role),
        weight: body.weight,
        state: existing.state,
        added: existing.added,
        feature_level: body.feature_level,
    };
    if existing == record {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key::member(&node), &record)?;
    Ok(Outcome::MemberUpdated)
}

pub(super) fn drain<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &DrainMember,
) -> Step<T, Outcome> {
    let node = body.node;
    let mut record = present(tables, node)?.ok_or(Refusal::NoSuchMember { node })?;
    if record.state.is_draining() {
        return Ok(Outcome::Unchanged);
    }
    require_another(tables, node)?;
    record.state = MemberState::Draining { since: context.now };
    put(tables, &key::member(&node), &record)?;
    Ok(Outcome::MemberDraining)
}

pub(super) fn remove<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &RemoveMember,
) -> Step<T, Outcome> {
    let (node, key) = (body.node, key::member(&body.node));
    let record: Option<MemberRecord> = get(tables, &key)?;
    let mut record = record.ok_or(Refusal::NoSuchMember { node })?;
    if record.state.is_removed() {
        return Ok(Outcome::Unchanged);
    }
    require_another(tables, node)?;
    record.state = MemberState::Removed { at: context.now };
    put(tables, &key, &record)?;
    Ok(Outcome::MemberRemoved)
}

/// Refuses to let the last active member go.
fn require_another<T: ReadTables>(tables: &T, node: NodeId) -> Step<T, ()> {
    let members = query::members(tables)?;
    let mut others = members.iter().filter(|(other, _)| *other != node);
    if others.any(|(_, member)| member.state.is_active()) {
        Ok(())
    } else {
        Err(Refusal::LastMember { node }.into())
    }
}
