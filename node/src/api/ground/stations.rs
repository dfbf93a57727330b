//! Stations and their maintenance: list, show, put, remove.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tetryx_protocol::api::{PutQuery, PutStationRequest, RemoveMaintenanceQuery, StationInfo, StationList};
use tetryx_protocol::ground::{Item, Maintenance, StationName};
use tetryx_state::command::{PutMaintenance, PutStation, RemoveMaintenance, RemoveStation};
use tetryx_state::ground;
use tetryx_station::StationError;

use super::{changed, may_operate, may_read, status_of};
use crate::Node;
use crate::ground::passes::unknown;
use crate::ground::{convert, require_level};
use crate::http::auth::Caller;
use crate::http::error::HttpError;
use crate::http::extract::{ApiJson, Param, Parameters};

pub(super) async fn list(
    State(node): State<Node>,
    caller: Caller,
) -> Result<ApiJson<StationList>, HttpError> {
    may_read(&caller)?;
    let all = ground::stations(&node.replica().view()?)?.into_iter();
    Ok(ApiJson(StationList {
        stations: all
            .map(|(name, record)| convert::station_info(name, record))
            .collect(),
    }))
}

pub(super) async fn show(
    State(node): State<Node>,
    caller: Caller,
    Param(name): Param<StationName>,
) -> Result<ApiJson<StationInfo>, HttpError> {
    may_read(&caller)?;
    shown(&node, name)
}

fn shown(node: &Node, name: StationName) -> Result<ApiJson<StationInfo>, HttpError> {
    let record = ground::station(&node.replica().view()?, &name)?;
    let record = record.ok_or_else(|| unknown(Item::Station, name.as_str()))?;
    Ok(ApiJson(convert::station_info(name, record)))
}

pub(super) async fn put(
    State(node): State<Node>,
    caller: Caller,
    Param(station): Param<StationName>,
    Parameters(PutQuery { expected }): Parameters<PutQuery>,
    ApiJson(request): ApiJson<PutStationRequest>,
) -> Result<Response, HttpError> {
    may_operate(&caller, station.as_str())?;
    require_level(&node.replica().view()?)?;
    let refused = |error: StationError| HttpError::bad_request(format!("station '{station}': {error}"));
    let antennas = request.antennas.map(|antennas| {
        let antennas = antennas.iter().map(|antenna| {
            convert::antenna(antenna).map_err(|error| {
                HttpError::bad_request(format!(
                    "antenna '{}' of station '{station}': {error}",
                    antenna.name
                ))
            })
        });
        antennas.collect::<Result<Vec<_>, _>>()
    });
    let node_there = match (request.node, request.without_node) {
        (Some(_), true) => {
            return Err(HttpError::bad_request(
                "a node runs at the station or none does; give 'node' or 'without_node'",
            ));
        }
        (Some(node), false) => Some(Some(node)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    let put = PutStation {
        station: station.clone(),
        expected,
        place: request
            .site
            .as_ref()
            .map(convert::place)
            .transpose()
            .map_err(refused)?,
        antennas: antennas.transpose()?,
        node: node_there,
    };
    let (index, outcome) = node.propose(caller.subject(), put).await?;
    Ok(changed(index, status_of(&outcome), shown(&node, station)?))
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Param(station): Param<StationName>,
) -> Result<Response, HttpError> {
    may_operate(&caller, station.as_str())?;
    require_level(&node.replica().view()?)?;
    let (index, _) = node.propose(caller.subject(), RemoveStation { station }).await?;
    Ok(changed(index, StatusCode::NO_CONTENT, ()))
}

pub(super) async fn put_maintenance(
    State(node): State<Node>,
    caller: Caller,
    Param(station): Param<StationName>,
    ApiJson(maintenance): ApiJson<Maintenance>,
) -> Result<Response, HttpError> {
    may_operate(&caller, station.as_str())?;
    require_level(&node.replica().view()?)?;
    if maintenance.reason.trim().is_empty() {
        return Err(HttpError::bad_request("a maintenance needs a reason; say why"));
    }
    let put = PutMaintenance {
        station: station.clone(),
        maintenance,
    };
    let (index, _) = node.propose(caller.subject(), put).await?;
    Ok(changed(index, StatusCode::OK, shown(&node, station)?))
}

pub(super) async fn remove_maintenance(
    State(node): State<Node>,
    caller: Caller,
    Param(station): Param<StationName>,
    Parameters(RemoveMaintenanceQuery { from }): Parameters<RemoveMaintenanceQuery>,
) -> Result<Response, HttpError> {
    may_operate(&caller, station.as_str())?;
    require_level(&node.replica().view()?)?;
    let remove = RemoveMaintenance {
        station: station.clone(),
        from,
    };
    let (index, _) = node.propose(caller.subject(), remove).await?;
    Ok(changed(index, StatusCode::OK, shown(&node, station)?))
}
