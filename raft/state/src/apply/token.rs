//! The token registry.

use std::ops::Bound;

use super::{Context, Step};
use crate::access::{Access, delete, get, put};
use crate::command::{RegisterToken, RevokeToken};
use crate::error::StateError;
use crate::key;
use crate::limits::TOKEN_KEPT;
use crate::records::{Record, TokenRecord};
use crate::reply::{Outcome, Refusal};
use crate::tables::{Table, Tables};
use tetryx_protocol::time::UtcTime;

/// How many neighbours of a new token are looked at. Ids are random, so every row is looked at sooner or later, and
/// expired tokens stay a fraction of the others.
const SWEPT: usize = 8;

pub(super) fn register<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &RegisterToken,
) -> Step<T, Outcome> {
    let key = key::token(&body.token);
    let mut record = TokenRecord {
        subject: body.subject.clone(),
        grants: body.grants.clone(),
        issued: body.issued,
        expires: body.expires,
        revoked: None,
    };
    let existing: Option<TokenRecord> = get(tables, &key)?;
    if let Some(existing) = existing {
        record.revoked = existing.revoked;
        let token = body.token;
        return if existing == record {
            Ok(Outcome::Unchanged)
        } else {
            Err(Refusal::TokenExists { token }.into())
        };
    }
    sweep(tables, context.now, &key)?;
    put(tables, &key, &record)?;
    Ok(Outcome::TokenRegistered)
}

pub(super) fn revoke<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &RevokeToken,
) -> Step<T, Outcome> {
    let key = key::token(&body.token);
    let existing: Option<TokenRecord> = get(tables, &key)?;
    let Some(mut record) = existing else {
        return Err(Refusal::NoSuchToken { token: body.token }.into());
    };
    if record.revoked.is_some() {
        return Ok(Outcome::Unchanged);
    }
    record.revoked = Some(context.now);
    put(tables, &key, &record)?;
    Ok(Outcome::TokenRevoked)
}

/// Forgets tokens that expired long ago, among the next few behind `after`.
fn sweep<T: Tables>(tables: &mut T, now: UtcTime, after: &[u8]) -> Access<T, ()> {
    let rows = tables
        .range(Table::Tokens, Bound::Excluded(after), Bound::Unbounded, SWEPT)
        .map_err(StateError::Tables)?;
    for (key, value) in rows {
        let record = TokenRecord::decode(&key, &value).map_err(StateError::Corrupt)?;
        if now.since(record.expires) > TOKEN_KEPT {
            delete(tables, Table::Tokens, &key)?;
        }
    }
    Ok(())
}
