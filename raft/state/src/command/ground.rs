//! Commands about missions, satellites and stations.

use serde::{Deserialize, Serialize};
use tetryx_protocol::ground::{
    Antenna, Expected, Link, Maintenance, MissionName, NewElements, Place, SatelliteName, StationName,
};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::UtcTime;

/// Adds a mission, or changes what is `Some` of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutMission {
    /// Its name.
    pub mission: MissionName,
    /// Whether it should be there already.
    pub expected: Expected,
    /// Missions with a larger number go first; a new one has 0 if nothing is said.
    pub priority: Option<u32>,
    /// What people should know about it.
    pub note: Option<String>,
}

/// Removes a mission that no satellite names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMission {
    /// Its name.
    pub mission: MissionName,
}

/// Adds a satellite, or changes what is `Some` of one. A new one needs a mission and elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSatellite {
    /// Its name.
    pub satellite: SatelliteName,
    /// Whether it should be there already.
    pub expected: Expected,
    /// The mission it belongs to.
    pub mission: Option<MissionName>,
    /// All its links.
    pub links: Option<Vec<Link>>,
    /// Its current elements, whatever their epoch: sets with a later epoch leave its history. With another catalogue
    /// number than before, all of them do.
    pub elements: Option<NewElements>,
}

/// Removes a satellite with all its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSatellite {
    /// Its name.
    pub satellite: SatelliteName,
}

/// Adds a station, or changes what is `Some` of one. A new one needs a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutStation {
    /// Its name.
    pub station: StationName,
    /// Whether it should be there already.
    pub expected: Expected,
    /// Where it is.
    pub place: Option<Place>,
    /// All its antennas.
    pub antennas: Option<Vec<Antenna>>,
    /// The member that runs there; `Some(None)` says that none does.
    pub node: Option<Option<NodeId>>,
}

/// Removes a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveStation {
    /// Its name.
    pub station: StationName,
}

/// Adds a time in which a station is not to be used; one that begins at the same moment is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutMaintenance {
    /// The station.
    pub station: StationName,
    /// When, and why.
    pub maintenance: Maintenance,
}

/// Takes a maintenance back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMaintenance {
    /// The station.
    pub station: StationName,
    /// When it would begin.
    pub from: UtcTime,
}

/// Gives satellites newer elements. Each set is judged by itself: by its epoch against those that the satellite has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshElements {
    /// The sets, in any order.
    pub sets: Vec<SatelliteElements>,
}

/// Elements that were published for a satellite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SatelliteElements {
    /// The satellite.
    pub satellite: SatelliteName,
    /// Its elements.
    pub elements: NewElements,
}
