//! The JSON about missions, satellites, stations and passes. Angles are in degrees, lengths in metres or kilometres.

use serde::{Deserialize, Serialize};

use crate::ground::{
    AntennaName, Expected, Link, Maintenance, MissionName, Refreshed, SatelliteName, StationName,
};
use crate::id::NodeId;
use crate::time::UtcTime;

/// The most hours of passes that are searched at once: ten days.
pub const PASS_HOURS_MAX: f64 = 240.0;

/// Query of the `PUT` of a mission, satellite or station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutQuery {
    /// Whether it should be there already.
    #[serde(default)]
    pub expected: Expected,
}

/// Body of `PUT /api/v1/missions/{mission}`. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutMissionRequest {
    /// Missions with a larger number go first; a new one has 0.
    #[serde(default)]
    pub priority: Option<u32>,
    /// What people should know about it.
    #[serde(default)]
    pub note: Option<String>,
}

/// A mission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissionInfo {
    /// Its name.
    pub name: MissionName,
    /// Missions with a larger number go first.
    pub priority: u32,
    /// What people should know about it.
    pub note: String,
    /// Its satellites, by name.
    pub satellites: Vec<SatelliteName>,
    /// When it was registered.
    pub created: UtcTime,
}

/// Answer of `GET /api/v1/missions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissionList {
    /// The missions, by name.
    pub missions: Vec<MissionInfo>,
}

/// Body of `PUT /api/v1/satellites/{satellite}`. What is not named stays as it is; a new satellite needs a mission and
/// elements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSatelliteRequest {
    /// The mission it belongs to.
    #[serde(default)]
    pub mission: Option<MissionName>,
    /// All its links.
    #[serde(default)]
    pub links: Option<Vec<Link>>,
    /// The text of one element set: an OMM in any form, or a TLE. It becomes the current one, whatever its epoch.
    #[serde(default)]
    pub elements: Option<String>,
}

/// A satellite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SatelliteInfo {
    /// Its name.
    pub name: SatelliteName,
    /// Its catalogue number, of one to nine digits.
    pub catalogue_number: u32,
    /// The mission it belongs to.
    pub mission: MissionName,
    /// Its links.
    pub links: Vec<Link>,
    /// The epoch of its elements.
    pub epoch: UtcTime,
    /// How old they are, in days; negative before their epoch.
    pub elements_age_days: f64,
    /// What is wrong with their age, and what to do, if they are too old for its orbit.
    #[serde(default)]
    pub warning: Option<String>,
    /// When it was registered.
    pub created: UtcTime,
}

/// Answer of `GET /api/v1/satellites`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SatelliteList {
    /// The satellites, by name.
    pub satellites: Vec<SatelliteInfo>,
}

/// Answer of `GET /api/v1/satellites/{satellite}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SatelliteDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub info: SatelliteInfo,
    /// Its current elements, as they were given.
    pub elements: String,
    /// The element sets that are kept, the latest epoch first.
    pub history: Vec<ElementsInfo>,
    /// Its next passes over the stations, within a day.
    pub passes: Vec<PassInfo>,
}

/// An element set that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementsInfo {
    /// Its epoch.
    pub epoch: UtcTime,
    /// When it came.
    pub added: UtcTime,
    /// Who brought it.
    pub added_by: String,
}

/// Where a station is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteInfo {
    /// Degrees north, WGS84.
    pub latitude_deg: f64,
    /// Degrees east.
    pub longitude_deg: f64,
    /// Metres above the ellipsoid.
    pub altitude_m: f64,
}

/// An antenna of a station.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AntennaInfo {
    /// Its name.
    pub name: AntennaName,
    /// The horizon mask: azimuth and lowest usable elevation in degrees, straight in between.
    #[serde(default = "flat")]
    pub horizon_deg: Vec<[f64; 2]>,
    /// Lowest and highest azimuth of the rotator; it may go beyond a turn.
    #[serde(default = "a_turn")]
    pub azimuth_deg: [f64; 2],
    /// Lowest and highest elevation of the rotator.
    #[serde(default = "to_the_zenith")]
    pub elevation_deg: [f64; 2],
    /// How fast it turns in azimuth and in elevation, in degrees a second.
    #[serde(default = "as_usual")]
    pub slew_rate_deg_s: [f64; 2],
}

fn flat() -> Vec<[f64; 2]> {
    vec![[0.0, 0.0]]
}

fn a_turn() -> [f64; 2] {
    [0.0, 360.0]
}

fn to_the_zenith() -> [f64; 2] {
    [0.0, 90.0]
}

fn as_usual() -> [f64; 2] {
    [6.0, 6.0]
}

impl AntennaInfo {
    /// An antenna that sees everything above the horizon and turns as small ones do.
    pub fn new(name: AntennaName) -> Self {
        Self {
            name,
            horizon_deg: flat(),
            azimuth_deg: a_turn(),
            elevation_deg: to_the_zenith(),
            slew_rate_deg_s: as_usual(),
        }
    }
}

/// Body of `PUT /api/v1/stations/{station}`. What is not named stays as it is; a new station needs a site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutStationRequest {
    /// Where it is.
    #[serde(default)]
    pub site: Option<SiteInfo>,
    /// All its antennas.
    #[serde(default)]
    pub antennas: Option<Vec<AntennaInfo>>,
    /// The node that runs there.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// No node runs there any more.
    #[serde(default)]
    pub without_node: bool,
}

/// A station.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StationInfo {
    /// Its name.
    pub name: StationName,
    /// Where it is.
    pub site: SiteInfo,
    /// Its antennas.
    pub antennas: Vec<AntennaInfo>,
    /// The node that runs there.
    pub node: Option<NodeId>,
    /// When it is not to be used, in order.
    pub maintenance: Vec<Maintenance>,
    /// When it was registered.
    pub created: UtcTime,
}

/// Answer of `GET /api/v1/stations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StationList {
    /// The stations, by name.
    pub stations: Vec<StationInfo>,
}

/// Query of `DELETE /api/v1/stations/{station}/maintenance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveMaintenanceQuery {
    /// When it would begin.
    pub from: UtcTime,
}

/// Answer of `POST /api/v1/elements`: what became of each entry of the batch, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshResponse {
    /// Sets that are current now.
    pub added: u64,
    /// Sets that were there.
    pub unchanged: u64,
    /// Sets with an earlier epoch than the current one's.
    pub older: u64,
    /// Sets of satellites that are not registered, or that the token may not change.
    pub unknown: u64,
    /// Entries that could not be read.
    pub malformed: u64,
    /// Each entry; one for each satellite where several have its catalogue number.
    pub entries: Vec<RefreshEntry>,
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshEntry {
    /// The object it is about: its name or catalogue number, as far as it was read.
    #[serde(default)]
    pub object: Option<String>,
    /// The satellite that it is for.
    #[serde(default)]
    pub satellite: Option<SatelliteName>,
    /// What became of it.
    pub result: RefreshResult,
    /// What is wrong with it, with its line and column.
    #[serde(default)]
    pub error: Option<String>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshResult {
    /// It is the satellite's current one now.
    Added,
    /// The satellite has it already.
    Unchanged,
    /// The satellite has one with a later epoch.
    Older,
    /// No satellite is registered with its catalogue number, or none that the token may change.
    Unknown,
    /// It could not be read.
    Malformed,
}

impl From<Refreshed> for RefreshResult {
    fn from(refreshed: Refreshed) -> Self {
        match refreshed {
            Refreshed::Added => Self::Added,
            Refreshed::Unchanged => Self::Unchanged,
            Refreshed::Older => Self::Older,
            Refreshed::Unknown => Self::Unknown,
        }
    }
}

/// Query of `GET /api/v1/passes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassesQuery {
    /// Only this satellite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub satellite: Option<SatelliteName>,
    /// Only this station.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<StationName>,
    /// When the window begins; now if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UtcTime>,
    /// How many hours it lasts, at most [`PASS_HOURS_MAX`]; 24 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
    /// Only passes that get so high, in degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_elevation: Option<f64>,
}

/// Answer of `GET /api/v1/passes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassList {
    /// When the window begins.
    pub from: UtcTime,
    /// How many hours it lasts.
    pub hours: f64,
    /// The passes, in order of their beginnings.
    pub passes: Vec<PassInfo>,
    /// What to know about how good they are.
    pub warnings: Vec<String>,
}

/// A pass of a satellite over a station. What the window cuts off is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassInfo {
    /// The satellite.
    pub satellite: SatelliteName,
    /// Its catalogue number.
    pub catalogue_number: u32,
    /// The station.
    pub station: StationName,
    /// The antennas that see it so: those with the same horizon. None if the station has no antenna.
    pub antennas: Vec<AntennaName>,
    /// When it comes up; absent if it is up when the window begins.
    pub aos: Option<UtcTime>,
    /// When it is highest.
    pub tca: UtcTime,
    /// When it goes down; absent if it is up when the window ends.
    pub los: Option<UtcTime>,
    /// How long it is up within the window, in seconds.
    pub duration_s: f64,
    /// Its elevation when it is highest.
    pub elevation_deg_max: f64,
    /// Where it comes up, east of north.
    pub azimuth_deg_aos: Option<f64>,
    /// Where it is highest.
    pub azimuth_deg_tca: f64,
    /// Where it goes down.
    pub azimuth_deg_los: Option<f64>,
    /// How far it is when it is highest.
    pub range_km_tca: f64,
    /// How fast it moves away when it comes up; negative if it comes nearer.
    pub range_rate_km_s_aos: Option<f64>,
    /// How fast it moves away when it is highest.
    pub range_rate_km_s_tca: f64,
    /// How fast it moves away when it goes down.
    pub range_rate_km_s_los: Option<f64>,
    /// Why the station is not to be used during a part of it.
    #[serde(default)]
    pub maintenance: Option<String>,
}
