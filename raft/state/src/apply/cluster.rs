//! The cluster itself: its founding, its clock, its epoch and feature level, and what its replicas say they hold.

use tetryx_protocol::time::UtcTime;

use super::{Context, Step};
use crate::access::{Access, contains, delete, get, put};
use crate::command::{AdvanceEpoch, CheckState, InitCluster, SetFeatureLevel};
use crate::key;
use crate::limits::{CHECK_HASHES_MAX, CHECKS_KEPT};
use crate::query;
use crate::records::{CheckRecord, ClockRecord, ClusterRecord};
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

pub(super) fn advance_epoch<T: Tables>(tables: &mut T, body: &AdvanceEpoch) -> Step<T, Outcome> {
    let mut cluster = existing(tables)?;
    let current = cluster.epoch;
    if body.epoch == current {
        return Ok(Outcome::Unchanged);
    }
    if body.epoch < current {
        let epoch = body.epoch;
        return Err(Refusal::EpochNotNewer { epoch, current }.into());
    }
    cluster.epoch = body.epoch;
    put(tables, key::CLUSTER, &cluster)?;
    Ok(Outcome::EpochAdvanced)
}

pub(super) fn set_feature_level<T: Tables>(tables: &mut T, body: &SetFeatureLevel) -> Step<T, Outcome> {
    let mut cluster = existing(tables)?;
    let (level, current) = (body.level, cluster.feature_level);
    if level == current {
        return Ok(Outcome::Unchanged);
    }
    if level < current {
        return Err(Refusal::FeatureLevelNotNewer { level, current }.into());
    }
    let members = query::active_members(tables)?;
    let behind = members
        .into_iter()
        .find(|(_, member)| member.feature_level < level);
    if let Some((node, member)) = behind {
        return Err(Refusal::FeatureLevelNotShared {
            node,
            name: member.name,
            has: member.feature_level,
            level,
        }
        .into());
    }
    cluster.feature_level = level;
    put(tables, key::CLUSTER, &cluster)?;
    Ok(Outcome::FeatureLevelSet)
}

/// Notes what a replica says. The first word of each counts; what is older than all that is kept is not noted.
pub(super) fn check_state<T: Tables>(tables: &mut T, at: u64, body: &CheckState) -> Step<T, Outcome> {
    let index = body.index;
    if index >= at {
        return Err(Refusal::CheckAhead { index, at }.into());
    }
    let mut kept = query::checks(tables)?;
    let place = match kept.binary_search_by_key(&index, |(index, _)| *index) {
        Ok(place) => place,
        Err(0) if kept.len() >= CHECKS_KEPT => return Ok(Outcome::Unchanged),
        Err(place) => {
            kept.insert(place, (index, CheckRecord::default()));
            place
        }
    };
    let hashes = &mut kept[place].1.hashes;
    let Err(position) = hashes.binary_search_by_key(&body.node, |(node, _)| *node) else {
        return Ok(Outcome::Unchanged);
    };
    if hashes.len() >= CHECK_HASHES_MAX {
        return Ok(Outcome::Unchanged);
    }
    hashes.insert(position, (body.node, body.hash));
    put(tables, &key::check(index), &kept[place].1)?;
    let forgotten = kept.len().saturating_sub(CHECKS_KEPT);
    for (index, _) in &kept[..forgotten] {
        delete(tables, Table::Checks, &key::check(*index))?;
    }
    Ok(Outcome::StateChecked)
}

fn existing<T: ReadTables>(tables: &T) -> Step<T, ClusterRecord> {
    let cluster: Option<ClusterRecord> = get(tables, key::CLUSTER)?;
    cluster.ok_or_else(|| Refusal::NotInitialised.into())
}
