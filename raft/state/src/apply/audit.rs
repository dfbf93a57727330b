//! Who did what, by log index, as far back as [`AUDIT_KEPT`].

use std::ops::Bound;

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::ground::Refreshed;
use tetryx_protocol::time::UtcTime;

use crate::access::{Access, delete_range, put};
use crate::command::{Body, Command};
use crate::key;
use crate::limits::AUDIT_KEPT;
use crate::records::{AuditAction, AuditRecord};
use crate::reply::Outcome;
use crate::tables::{Table, Tables};

/// Records a command that changed something; one that found all as it asked did nothing worth a record, and nobody
/// asked for what replicas say of their states, or of what was pulled.
pub(super) fn record<T: Tables>(
    tables: &mut T,
    index: u64,
    now: UtcTime,
    command: &Command,
    outcome: &Outcome,
) -> Access<T, ()> {
    if matches!(
        outcome,
        Outcome::Unchanged
            | Outcome::StateChecked
            | Outcome::AccessesNoted { .. }
            | Outcome::Published {
                published: 0,
                updated: 0,
                ..
            }
    ) {
        return Ok(());
    }
    if let Outcome::ElementsRefreshed { outcomes } = outcome
        && !outcomes.contains(&Refreshed::Added)
    {
        return Ok(());
    }
    let Some((action, cache, object)) = describe(&command.body, outcome) else {
        return Ok(());
    };
    let record = AuditRecord {
        at: now,
        by: command.by.clone(),
        action,
        cache: cache.cloned(),
        object,
        paths: concerned(outcome),
    };
    put(tables, &key::audit(index), &record)?;
    let oldest = key::audit(index.saturating_sub(AUDIT_KEPT - 1));
    delete_range(tables, Table::Audit, Bound::Unbounded, Bound::Excluded(&oldest))
}

/// What was done, in which cache, to what.
type Description<'a> = (AuditAction, Option<&'a CacheName>, Option<String>);

fn describe<'a>(body: &'a Body, outcome: &Outcome) -> Option<Description<'a>> {
    Some(match body {
        Body::InitCluster(body) => (AuditAction::InitCluster, None, Some(body.cluster.to_string())),
        Body::UpsertMember(body) => {
            let added = matches!(outcome, Outcome::MemberAdded);
            let action = if added {
                AuditAction::AddMember
            } else {
                AuditAction::UpdateMember
            };
            (action, None, Some(body.node.to_string()))
        }
        Body::CreateCache(body) => (AuditAction::CreateCache, Some(&body.cache), None),
        Body::ConfigureCache(body) => {
            let new_key = body.key_pair.is_some();
            let action = if new_key {
                AuditAction::ReplaceCacheKey
            } else {
                AuditAction::ConfigureCache
            };
            (action, Some(&body.cache), None)
        }
        Body::DestroyCache(body) => (AuditAction::DestroyCache, Some(&body.cache), None),
        Body::PublishPaths(body) => {
            let only = match body.paths.as_slice() {
                [path] => Some(path.store_path.to_string()),
                _ => None,
            };
            (AuditAction::PublishPaths, Some(&body.cache), only)
        }
        Body::DeletePath(body) => (
            AuditAction::DeletePath,
            Some(&body.cache),
            Some(body.path.to_string()),
        ),
        Body::PinPath(body) => (
            AuditAction::PinPath,
            Some(&body.cache),
            Some(body.path.to_string()),
        ),
        Body::UnpinPath(body) => (
            AuditAction::UnpinPath,
            Some(&body.cache),
            Some(body.path.to_string()),
        ),
        Body::RegisterToken(body) => (AuditAction::RegisterToken, None, Some(body.token.to_string())),
        Body::RevokeToken(body) => (AuditAction::RevokeToken, None, Some(body.token.to_string())),
        Body::CreateInvite(body) => (
            AuditAction::CreateInvite,
            None,
            Some(body.secret_hash.to_string()),
        ),
        Body::RevokeInvite(body) => (
            AuditAction::RevokeInvite,
            None,
            Some(body.secret_hash.to_string()),
        ),
        Body::RedeemInvite(body) => (AuditAction::RedeemInvite, None, Some(body.node.to_string())),
        Body::UpdateMember(body) => (AuditAction::UpdateMember, None, Some(body.node.to_string())),
        Body::DrainMember(body) => (AuditAction::DrainMember, None, Some(body.node.to_string())),
        Body::RemoveMember(body) => (AuditAction::RemoveMember, None, Some(body.node.to_string())),
        Body::AdvanceEpoch(body) => (AuditAction::AdvanceEpoch, None, Some(body.epoch.to_string())),
        Body::SetFeatureLevel(body) => (AuditAction::SetFeatureLevel, None, Some(body.level.to_string())),
        Body::ExpirePaths(body) => (AuditAction::ExpirePaths, Some(&body.cache), None),
        Body::PinPathUntil(body) => (
            AuditAction::PinPath,
            Some(&body.cache),
            Some(body.path.to_string()),
        ),
        Body::PutMission(body) => (AuditAction::PutMission, None, Some(body.mission.to_string())),
        Body::RemoveMission(body) => (AuditAction::RemoveMission, None, Some(body.mission.to_string())),
        Body::PutSatellite(body) => (AuditAction::PutSatellite, None, Some(body.satellite.to_string())),
        Body::RemoveSatellite(body) => (
            AuditAction::RemoveSatellite,
            None,
            Some(body.satellite.to_string()),
        ),
        Body::PutStation(body) => (AuditAction::PutStation, None, Some(body.station.to_string())),
        Body::RemoveStation(body) => (AuditAction::RemoveStation, None, Some(body.station.to_string())),
        Body::PutMaintenance(body) => (AuditAction::PutMaintenance, None, Some(body.station.to_string())),
        Body::RemoveMaintenance(body) => (
            AuditAction::RemoveMaintenance,
            None,
            Some(body.station.to_string()),
        ),
        Body::RefreshElements(_) => (AuditAction::RefreshElements, None, None),
        Body::CheckState(_) | Body::NoteAccesses(_) => return None,
    })
}

/// How many paths were changed.
const fn concerned(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Published {
            published, updated, ..
        } => *published + *updated,
        Outcome::CacheDestroyed { paths, .. } | Outcome::PathsExpired { paths, .. } => *paths,
        Outcome::PathDeleted { .. } | Outcome::PathPinned | Outcome::PathUnpinned => 1,
        _ => 0,
    }
}
