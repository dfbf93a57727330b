//! Applying one command: the only function that changes the state.

mod audit;
mod cache;
mod cluster;
mod ground;
mod invite;
mod member;
mod nar;
mod path;
mod proposal;
mod publish;
mod retention;
mod token;

use tetryx_protocol::time::UtcTime;

use self::proposal::Admission;
use crate::command::{Body, Command};
use crate::error::StateError;
use crate::limits::check_limits;
use crate::reply::{Outcome, Refusal, Reply};
use crate::tables::{ReadTables, Tables};

/// Applies one committed command. Total: every command yields a reply, on every replica the same one.
///
/// `index` is the log index of the command; it names the audit record, and no replica can say what its state is
/// there or later. The caller applies each index once, in
/// order, within one transaction, and stores the index in the same transaction.
///
/// # Errors
/// When the tables cannot be read or written, or hold a row this build cannot read. Then the tables may hold half
/// of the command's effect: the caller drops the transaction and does not go on.
pub fn apply<T: Tables>(
    tables: &mut T,
    index: u64,
    command: &Command,
) -> Result<Reply, StateError<T::Error>> {
    let now = cluster::advance_clock(tables, command.proposed_at)?;
    let standing = match proposal::admit(tables, command)? {
        Admission::Fresh(standing) => standing,
        Admission::Answered(reply) => return Ok(reply),
    };
    let reply = match execute(tables, index, now, command) {
        Ok(outcome) => Reply::Done(outcome),
        Err(Stop::Refused(refusal)) => Reply::Refused(refusal),
        Err(Stop::Failed(error)) => return Err(error),
    };
    proposal::remember(tables, now, command.proposal, standing, &reply)?;
    if let Reply::Done(outcome) = &reply {
        audit::record(tables, index, now, command, outcome)?;
    }
    Ok(reply)
}

/// Why a command stops: refused before it changed anything, or failed for good.
enum Stop<E: std::error::Error + 'static> {
    Refused(Refusal),
    Failed(StateError<E>),
}

impl<E: std::error::Error + 'static> From<Refusal> for Stop<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: std::error::Error + 'static> From<StateError<E>> for Stop<E> {
    fn from(error: StateError<E>) -> Self {
        Self::Failed(error)
    }
}

/// The result of a step of a command.
type Step<T, V> = Result<V, Stop<<T as ReadTables>::Error>>;

/// When, and on whose behalf.
struct Context<'a> {
    now: UtcTime,
    by: &'a str,
}

// Every arm checks first and writes last: a refusal leaves nothing behind.
fn execute<T: Tables>(tables: &mut T, index: u64, now: UtcTime, command: &Command) -> Step<T, Outcome> {
    check_limits(command)?;
    let context = Context { now, by: &command.by };
    if !matches!(command.body, Body::InitCluster(_)) {
        cluster::require_initialised(tables)?;
    }
    match &command.body {
        Body::InitCluster(body) => cluster::init(tables, &context, body),
        Body::UpsertMember(body) => member::upsert(tables, &context, body),
        Body::CreateCache(body) => cache::create(tables, &context, body),
        Body::ConfigureCache(body) => cache::configure(tables, body),
        Body::DestroyCache(body) => cache::destroy(tables, body),
        Body::PublishPaths(body) => publish::publish(tables, &context, body),
        Body::DeletePath(body) => path::delete(tables, &context, body),
        Body::PinPath(body) => path::pin(tables, &context, body),
        Body::UnpinPath(body) => path::unpin(tables, &context, body),
        Body::RegisterToken(body) => token::register(tables, &context, body),
        Body::RevokeToken(body) => token::revoke(tables, &context, body),
        Body::CreateInvite(body) => invite::create(tables, &context, body),
        Body::RevokeInvite(body) => invite::revoke(tables, body),
        Body::RedeemInvite(body) => invite::redeem(tables, &context, body),
        Body::UpdateMember(body) => member::update(tables, body),
        Body::DrainMember(body) => member::drain(tables, &context, body),
        Body::RemoveMember(body) => member::remove(tables, &context, body),
        Body::AdvanceEpoch(body) => cluster::advance_epoch(tables, body),
        Body::CheckState(body) => cluster::check_state(tables, index, body),
        Body::SetFeatureLevel(body) => cluster::set_feature_level(tables, body),
        Body::ExpirePaths(body) => retention::expire(tables, &context, body),
        Body::NoteAccesses(body) => retention::note_accesses(tables, &context, body),
        Body::PinPathUntil(body) => path::pin_until(tables, &context, body),
        Body::PutMission(body) => ground::put_mission(tables, &context, body),
        Body::RemoveMission(body) => ground::remove_mission(tables, body),
        Body::PutSatellite(body) => ground::put_satellite(tables, &context, body),
        Body::RemoveSatellite(body) => ground::remove_satellite(tables, body),
        Body::PutStation(body) => ground::put_station(tables, &context, body),
        Body::RemoveStation(body) => ground::remove_station(tables, body),
        Body::PutMaintenance(body) => ground::put_maintenance(tables, &context, body),
        Body::RemoveMaintenance(body) => ground::remove_maintenance(tables, body),
        Body::RefreshElements(body) => ground::refresh(tables, &context, body),
    }
}
