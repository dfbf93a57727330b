//! Missions: list, show, put, remove.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tetryx_protocol::api::{MissionInfo, MissionList, PutMissionRequest, PutQuery};
use tetryx_protocol::ground::{Item, MissionName, SatelliteName};
use tetryx_raft::StateView;
use tetryx_state::command::{PutMission, RemoveMission};
use tetryx_state::ground;
use tetryx_state::records::MissionRecord;

use super::{changed, may_read, status_of};
use crate::Node;
use crate::ground::passes::unknown;
use crate::ground::require_level;
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param, Parameters};

pub(super) async fn list(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<MissionList>, HttpError> {
    may_read(&caller)?;
    let view = node.replica().view()?;
    let mut satellites: BTreeMap<MissionName, Vec<SatelliteName>> = BTreeMap::new();
    for (name, record) in ground::satellites(&view)? {
        satellites.entry(record.mission).or_default().push(name);
    }
    let all = ground::missions(&view)?.into_iter();
    let missions = all.map(|(name, record)| {
        let satellites = satellites.remove(&name).unwrap_or_default();
        describe(name, record, satellites)
    });
    Ok(ApiJson(MissionList {
        missions: missions.collect(),
    }))
}

pub(super) async fn show(
    State(node): State<Node>,
    caller: Caller,
    Param(name): Param<MissionName>,
) -> Result<ApiJson<MissionInfo>, HttpError> {
    may_read(&caller)?;
    shown(&node.replica().view()?, name)
}

fn shown(view: &StateView, name: MissionName) -> Result<ApiJson<MissionInfo>, HttpError> {
    let record = ground::mission(view, &name)?;
    let record = record.ok_or_else(|| unknown(Item::Mission, name.as_str()))?;
    let satellites = ground::satellites_of(view, &name)?;
    Ok(ApiJson(describe(name, record, satellites)))
}

fn describe(name: MissionName, record: MissionRecord, satellites: Vec<SatelliteName>) -> MissionInfo {
    MissionInfo {
        name,
        priority: record.priority,
        note: record.note,
        satellites,
        created: record.created,
    }
}

pub(super) async fn put(
    State(node): State<Node>,
    caller: Caller,
    Param(mission): Param<MissionName>,
    Parameters(PutQuery { expected }): Parameters<PutQuery>,
    ApiJson(request): ApiJson<PutMissionRequest>,
) -> Result<Response, HttpError> {
    caller.admin()?;
    require_level(&node.replica().view()?)?;
    let put = PutMission {
        mission: mission.clone(),
        expected,
        priority: request.priority,
        note: request.note,
    };
    let (index, outcome) = node.propose(caller.subject(), put).await?;
    let info = shown(&node.replica().view()?, mission)?;
    Ok(changed(index, status_of(&outcome), info))
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Param(mission): Param<MissionName>,
) -> Result<Response, HttpError> {
    caller.admin()?;
    require_level(&node.replica().view()?)?;
    let (index, _) = node.propose(caller.subject(), RemoveMission { mission }).await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}
