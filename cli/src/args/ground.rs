//! What is typed about missions, satellites, stations, elements and passes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tetryx_protocol::ground::{MissionName, SatelliteName, StationName};
use tetryx_protocol::time::UtcTime;
use tetryx_station::site::Site;
use tetryx_station::time::SkyTime;

use crate::frequency;
use crate::reference::NodeRef;
use crate::specs::{AntennaSpec, LinkSpec};

#[derive(Debug, Subcommand)]
pub(crate) enum MissionCommand {
    /// Register a mission
    Add(MissionPut),
    /// Change a mission; what is not named stays as it is
    Update(MissionPut),
    /// List the missions
    List,
    /// Show a mission and its satellites
    Show {
        /// The name of the mission
        name: MissionName,
    },
    /// Remove a mission that has no satellites
    Remove {
        /// The name of the mission
        name: MissionName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MissionPut {
    /// The name of the mission
    pub(crate) name: MissionName,
    /// Missions with a larger number go first [default for a new one: 0]
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u32>,
    /// What people should know about it
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SatelliteCommand {
    /// Register a satellite
    Add {
        /// The name of the satellite, for example 'NOAA 19'
        name: SatelliteName,
        /// Its elements: an OMM (JSON, CSV, KVN or XML) or a TLE; '-' reads them from stdin
        #[arg(long, value_name = "FILE")]
        elements: PathBuf,
        /// The mission it belongs to
        #[arg(long, value_name = "MISSION")]
        mission: MissionName,
        /// A radio link, for example 'down:137.1MHz' or 'command=up:2.05GHz'; may be repeated
        #[arg(long = "link", value_name = "[NAME=]down|up:FREQUENCY")]
        links: Vec<LinkSpec>,
    },
    /// Change a satellite; what is not named stays as it is
    Update {
        /// The name of the satellite
        name: SatelliteName,
        /// Elements that become the current ones, whatever their epoch; '-' reads them from stdin
        #[arg(long, value_name = "FILE")]
        elements: Option<PathBuf>,
        /// The mission it belongs to
        #[arg(long, value_name = "MISSION")]
        mission: Option<MissionName>,
        /// A radio link; those given replace all it has
        #[arg(long = "link", value_name = "[NAME=]down|up:FREQUENCY")]
        links: Vec<LinkSpec>,
        /// Take all its links away
        #[arg(long, conflicts_with = "links")]
        no_links: bool,
    },
    /// List the satellites
    List,
    /// Show a satellite, the age of its elements and its next passes
    Show {
        /// The name of the satellite
        name: SatelliteName,
    },
    /// Remove a satellite with all its elements
    Remove {
        /// The name of the satellite
        name: SatelliteName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StationCommand {
    /// Register a station
    Add {
        /// The name of the station
        name: StationName,
        /// Where it is: degrees north, degrees east, metres above the WGS84 ellipsoid
        #[arg(long, value_name = "LAT,LON,ALT_M", allow_hyphen_values = true)]
        site: Site,
        #[command(flatten)]
        equipment: Equipment,
    },
    /// Change a station; what is not named stays as it is
    Update {
        /// The name of the station
        name: StationName,
        /// Where it is: degrees north, degrees east, metres above the WGS84 ellipsoid
        #[arg(long, value_name = "LAT,LON,ALT_M", allow_hyphen_values = true)]
        site: Option<Site>,
        #[command(flatten)]
        equipment: Equipment,
        /// No node runs there any more
        #[arg(long, conflicts_with = "node")]
        no_node: bool,
    },
    /// List the stations
    List,
    /// Show a station, its antennas and its maintenance
    Show {
        /// The name of the station
        name: StationName,
    },
    /// Remove a station
    Remove {
        /// The name of the station
        name: StationName,
    },
    /// Say when a station is not to be used, or take that back
    Maintenance {
        /// The name of the station
        name: StationName,
        /// When it begins, for example 2026-03-02T12:00:00Z
        #[arg(long, value_name = "T")]
        from: UtcTime,
        /// When it ends
        #[arg(long, value_name = "T", required_unless_present = "remove")]
        to: Option<UtcTime>,
        /// Why
        #[arg(long, value_name = "TEXT", required_unless_present = "remove")]
        reason: Option<String>,
        /// Take back the maintenance that begins then
        #[arg(long, conflicts_with_all = ["to", "reason"])]
        remove: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Equipment {
    /// An antenna, for example 'dish,az=-90..450,el=0..90,rate=6/4,mask=5'; only the name is needed; may be repeated
    #[arg(
        long = "antenna",
        value_name = "NAME[,az=LOW..HIGH][,el=LOW..HIGH][,rate=AZ/EL][,mask=DEG|FILE]"
    )]
    pub(crate) antennas: Vec<AntennaSpec>,
    /// The horizon mask of antennas that name none: a number of degrees, or a file with an azimuth and an elevation on
    /// each line; without --antenna, that of one antenna 'main'
    #[arg(long, value_name = "DEG|FILE", allow_hyphen_values = true)]
    pub(crate) mask: Option<String>,
    /// The node that runs there: its name, or the beginning of its id
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeRef>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ElementsCommand {
    /// Give the registered satellites newer elements, from a file or an address
    Refresh {
        /// OMMs or TLEs as CelesTrak and Space-Track publish them: a file, '-' for stdin, or an http, https or file URL
        #[arg(value_name = "FILE|URL")]
        source: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PassCommand {
    /// List the passes of the registered satellites over the registered stations
    List(PassList),
    /// Predict every pass of the satellites in a file over a site; needs no server
    Predict(PassPredict),
}

#[derive(Debug, Args)]
pub(crate) struct PassList {
    /// Only this satellite
    #[arg(long, value_name = "SATELLITE")]
    pub(crate) satellite: Option<SatelliteName>,
    /// Only this station
    #[arg(long, value_name = "STATION")]
    pub(crate) station: Option<StationName>,
    /// When the window begins, for example 2026-03-02T12:00:00Z [default: now]
    #[arg(long, value_name = "T")]
    pub(crate) from: Option<UtcTime>,
    /// How many hours it lasts, at most 240
    #[arg(long, value_name = "H", default_value_t = 24.0)]
    pub(crate) hours: f64,
    /// Only passes that get so high, in degrees
    #[arg(long, value_name = "DEG", allow_hyphen_values = true)]
    pub(crate) min_elevation: Option<f64>,
    /// Print a table of comma-separated values
    #[arg(long, conflicts_with_all = ["ical", "json"])]
    pub(crate) csv: bool,
    /// Print a calendar (iCalendar, RFC 5545)
    #[arg(long, conflicts_with = "json")]
    pub(crate) ical: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PassPredict {
    /// Elements: an OMM (JSON, CSV, KVN or XML) or a TLE, of one satellite or many; '-' reads them from stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) elements: PathBuf,
    /// Where the antenna is: degrees north, degrees east, metres above the WGS84 ellipsoid
    #[arg(long, value_name = "LAT,LON,ALT_M", allow_hyphen_values = true)]
    pub(crate) site: Site,
    /// The lowest usable elevation in degrees, or a file with an azimuth and an elevation on each line
    #[arg(
        long,
        value_name = "DEG|FILE",
        default_value = "0",
        allow_hyphen_values = true
    )]
    pub(crate) mask: String,
    /// UT1 - UTC in seconds, from an IERS bulletin
    #[arg(long, value_name = "S", default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) dut1: f64,
    /// When the window begins, for example 2026-03-02T12:00:00Z
    #[arg(long, value_name = "T")]
    pub(crate) from: SkyTime,
    /// How many hours it lasts
    #[arg(long, value_name = "H")]
    pub(crate) hours: f64,
    /// Add the Doppler shift of a downlink of this frequency, for example 137.1MHz
    #[arg(long, value_name = "HZ", value_parser = frequency::parse)]
    pub(crate) frequency: Option<u64>,
}
