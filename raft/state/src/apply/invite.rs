//! Invitations: each admits one node, once, until it expires by the log clock.

use tetryx_protocol::time::UtcTime;

use super::{Context, Step, member};
use crate::access::{Access, delete, get, put};
use crate::command::{CreateInvite, RedeemInvite, RevokeInvite};
use crate::key;
use crate::limits::INVITE_KEPT;
use crate::query;
use crate::records::{InviteRecord, InviteUse, MemberRecord, MemberState, Role};
use crate::reply::{Outcome, Refusal};
use crate::tables::{Table, Tables};

pub(super) fn create<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &CreateInvite,
) -> Step<T, Outcome> {
    let key = key::invite(&body.secret_hash);
    let existing: Option<InviteRecord> = get(tables, &key)?;
    if let Some(existing) = existing {
        let same =
            existing.zone == body.zone && existing.voter == body.voter && existing.expires == body.expires;
        return if same {
            Ok(Outcome::Unchanged)
        } else {
            let invite = body.secret_hash;
            Err(Refusal::InviteExists { invite }.into())
        };
    }
    if body.expires <= context.now {
        let expires = body.expires;
        return Err(Refusal::InviteNeverValid { expires }.into());
    }
    forget_expired(tables, context.now)?;
    let record = InviteRecord {
        zone: body.zone.clone(),
        voter: body.voter,
        created: context.now,
        created_by: context.by.to_owned(),
        expires: body.expires,
        used: None,
    };
    put(tables, &key, &record)?;
    Ok(Outcome::InviteCreated)
}

pub(super) fn revoke<T: Tables>(tables: &mut T, body: &RevokeInvite) -> Step<T, Outcome> {
    let (invite, key) = (body.secret_hash, key::invite(&body.secret_hash));
    let record: Option<InviteRecord> = get(tables, &key)?;
    let record = record.ok_or(Refusal::NoSuchInvite { invite })?;
    if let Some(used) = record.used {
        return Err(Refusal::InviteUsed { by: used.by }.into());
    }
    delete(tables, Table::Invites, &key)?;
    Ok(Outcome::InviteRevoked)
}

pub(super) fn redeem<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &RedeemInvite,
) -> Step<T, Outcome> {
    let (invite, key, node) = (body.secret_hash, key::invite(&body.secret_hash), body.node);
    let record: Option<InviteRecord> = get(tables, &key)?;
    let mut record = record.ok_or(Refusal::NoSuchInvite { invite })?;
    match record.used {
        Some(used) if used.by != node => return Err(Refusal::InviteUsed { by: used.by }.into()),
        // The node asks again because it did not hear that it had joined.
        Some(_) => return rejoin(tables, &record, body),
        None => {}
    }
    if record.expires <= context.now {
        let expires = record.expires;
        return Err(Refusal::InviteExpired { expires }.into());
    }
    member::require_stranger(tables, node)?;
    member::require_free_name(tables, &body.name, node)?;
    put(tables, &key::member(&node), &joined(&record, context.now, body))?;
    let at = context.now;
    record.used = Some(InviteUse { by: node, at });
    put(tables, &key, &record)?;
    Ok(Outcome::Joined)
}

fn rejoin<T: Tables>(tables: &mut T, invite: &InviteRecord, body: &RedeemInvite) -> Step<T, Outcome> {
    let node = body.node;
    let member: Option<MemberRecord> = get(tables, &key::member(&node))?;
    let member = member.ok_or(Refusal::NoSuchMember { node })?;
    if let MemberState::Removed { at } = member.state {
        return Err(Refusal::MemberRemoved { node, at }.into());
    }
    member::require_free_name(tables, &body.name, node)?;
    let again = MemberRecord {
        state: member.state,
        ..joined(invite, member.added, body)
    };
    if again == member {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key::member(&node), &again)?;
    Ok(Outcome::Joined)
}

fn joined(invite: &InviteRecord, added: UtcTime, body: &RedeemInvite) -> MemberRecord {
    MemberRecord {
        name: body.name.clone(),
        zone: invite.zone.clone().unwrap_or_else(|| body.zone.clone()),
        addresses: body.addresses.clone(),
        gossip: body.gossip.clone(),
        http_url: body.http_url.clone(),
        role: if invite.voter { Role::Voter } else { Role::Learner },
        weight: body.weight,
        state: MemberState::Active,
        added,
        feature_level: body.feature_level,
    }
}

/// Forgets invitations that expired long ago. There are few: people make them one by one.
fn forget_expired<T: Tables>(tables: &mut T, now: UtcTime) -> Access<T, ()> {
    for (invite, record) in query::invites(tables)? {
        if now.since(record.expires) > INVITE_KEPT {
            delete(tables, Table::Invites, &key::invite(&invite))?;
        }
    }
    Ok(())
}
