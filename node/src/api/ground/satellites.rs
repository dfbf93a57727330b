//! Satellites: list, show with the next passes, put, remove.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tetryx_protocol::api::{
    ElementsInfo, PassesQuery, PutQuery, PutSatelliteRequest, SatelliteDetails, SatelliteInfo, SatelliteList,
};
use tetryx_protocol::ground::{Item, SatelliteName};
use tetryx_protocol::time::UtcTime;
use tetryx_raft::StateView;
use tetryx_state::command::{PutSatellite, RemoveSatellite};
use tetryx_state::ground;
use tetryx_state::records::SatelliteRecord;
use tetryx_station::elements;
use tetryx_station::time::SkyTime;

use super::{changed, may_act_for, may_read, status_of};
use crate::Node;
use crate::ground::passes::{self, unknown};
use crate::ground::{age_warning, one_element_set, require_level};
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param, Parameters};

/// How many of the next passes are shown.
const NEXT_PASSES: usize = 10;

pub(super) async fn list(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<SatelliteList>, HttpError> {
    may_read(&caller)?;
    let view = node.replica().view()?;
    let now = node.clock().utc();
    // Thousands of element sets take a while to read.
    let read = move || {
        let all = ground::satellites(&view)?.into_iter();
        let satellites = all.map(|(name, record)| describe(&view, name, record, now));
        satellites.collect::<Result<Vec<_>, HttpError>>()
    };
    Ok(ApiJson(SatelliteList {
        satellites: node.io().run(read).await??,
    }))
}

pub(super) async fn show(
    State(node): State<Node>,
    caller: Caller,
    Param(name): Param<SatelliteName>,
) -> Result<ApiJson<SatelliteDetails>, HttpError> {
    may_read(&caller)?;
    let view = node.replica().view()?;
    let record = require(&view, &name)?;
    let sets = ground::elements(&view, &name, usize::MAX)?;
    let elements = sets
        .first()
        .map(|(_, set)| set.source.clone())
        .unwrap_or_default();
    let history = sets.into_iter().map(|(epoch_ns, set)| ElementsInfo {
        epoch: SkyTime::from_unix_ns(epoch_ns).to_utc(),
        added: set.added,
        added_by: set.added_by,
    });
    let history = history.collect();
    let info = describe(&view, name.clone(), record, node.clock().utc())?;
    let query = PassesQuery {
        satellite: Some(name),
        ..PassesQuery::default()
    };
    let mut next = passes::find(&node, view, query).await?.passes;
    next.truncate(NEXT_PASSES);
    Ok(ApiJson(SatelliteDetails {
        info,
        elements,
        history,
        passes: next,
    }))
}

fn require(view: &StateView, name: &SatelliteName) -> Result<SatelliteRecord, HttpError> {
    ground::satellite(view, name)?.ok_or_else(|| unknown(Item::Satellite, name.as_str()))
}

fn describe(
    view: &StateView,
    name: SatelliteName,
    record: SatelliteRecord,
    now: UtcTime,
) -> Result<SatelliteInfo, HttpError> {
    let set = ground::elements(view, &name, 1)?.pop();
    let source = set.map(|(_, set)| set.source).unwrap_or_default();
    let elements = elements::read_one(&source).map_err(|error| HttpError::internal(&error))?;
    let age = elements.age_days(SkyTime::from(now));
    Ok(SatelliteInfo {
        warning: age_warning(&name, &elements, now),
        name,
        catalogue_number: record.catalogue_number,
        mission: record.mission,
        links: record.links,
        epoch: elements.epoch.to_utc(),
        elements_age_days: (age * 1e3).round() / 1e3,
        created: record.created,
    })
}

pub(super) async fn put(
    State(node): State<Node>,
    caller: Caller,
    Param(satellite): Param<SatelliteName>,
    Parameters(PutQuery { expected }): Parameters<PutQuery>,
    ApiJson(request): ApiJson<PutSatelliteRequest>,
) -> Result<Response, HttpError> {
    may_read(&caller)?;
    let view = node.replica().view()?;
    require_level(&view)?;
    if let Some(record) = ground::satellite(&view, &satellite)? {
        may_act_for(&caller, record.mission.as_str())?;
    }
    if let Some(mission) = &request.mission {
        may_act_for(&caller, mission.as_str())?;
    }
    if let Some(link) = request.links.iter().flatten().find(|link| link.frequency_hz == 0) {
        return Err(HttpError::bad_request(format!(
            "link '{}' has a frequency of 0 Hz; give its carrier",
            link.name
        )));
    }
    let put = PutSatellite {
        satellite: satellite.clone(),
        expected,
        mission: request.mission,
        links: request.links,
        elements: request.elements.as_deref().map(one_element_set).transpose()?,
    };
    let (index, outcome) = node.propose(caller.subject(), put).await?;
    let view = node.replica().view()?;
    let record = require(&view, &satellite)?;
    let info = describe(&view, satellite, record, node.clock().utc())?;
    Ok(changed(index, status_of(&outcome), ApiJson(info)))
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Param(satellite): Param<SatelliteName>,
) -> Result<Response, HttpError> {
    may_read(&caller)?;
    let view = node.replica().view()?;
    require_level(&view)?;
    let record = require(&view, &satellite)?;
    may_act_for(&caller, record.mission.as_str())?;
    let (index, _) = node
        .propose(caller.subject(), RemoveSatellite { satellite })
        .await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}
