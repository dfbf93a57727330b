//! The rows about missions, satellites and stations.

use serde::{Deserialize, Serialize};
use tetryx_protocol::ground::{Antenna, Link, Maintenance, MissionName, Place};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::UtcTime;

/// A mission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissionRecord {
    /// Missions with a larger number go first.
    pub priority: u32,
    /// What people should know about it.
    pub note: String,
    /// When it was registered.
    pub created: UtcTime,
    /// By whom: the subject of the token.
    pub created_by: String,
}

/// A satellite. Its elements are rows of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SatelliteRecord {
    /// The mission it belongs to.
    pub mission: MissionName,
    /// The catalogue number of all its elements.
    pub catalogue_number: u32,
    /// Its links, in the order given.
    pub links: Vec<Link>,
    /// When it was registered.
    pub created: UtcTime,
    /// By whom: the subject of the token.
    pub created_by: String,
}

/// An element set of a satellite. Its epoch is in its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementsRecord {
    /// The text it was read from.
    pub source: String,
    /// When it came.
    pub added: UtcTime,
    /// By whom: the subject of the token.
    pub added_by: String,
}

/// A station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationRecord {
    /// Where it is.
    pub place: Place,
    /// Its antennas, in the order given.
    pub antennas: Vec<Antenna>,
    /// The member that runs there, or that did before it was removed.
    pub node: Option<NodeId>,
    /// When it is not to be used, in order of the beginnings.
    pub maintenance: Vec<Maintenance>,
    /// When it was registered.
    pub created: UtcTime,
    /// By whom: the subject of the token.
    pub created_by: String,
}
