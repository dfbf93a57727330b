//! The registered ground segment: missions, satellites and stations, as they stand in commands and in the state.
//!
//! Quantities are whole numbers with their unit in the name: replicas compare them, and no replica computes with them.
//!
//! # Invariants
//! - A name is a name wherever it comes in: no value of these types breaks its grammar.
//!
//! # Non-goals
//! - Whether elements can be propagated and a site is on Earth: whoever proposes them has checked
//!   (`tetryx-station`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ProtocolError;
use crate::text::{quote, serde_as_text};
use crate::time::UtcTime;

/// The most characters of a name of a mission, satellite, station, antenna or link.
pub const NAME_LEN_MAX: usize = 64;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {
        $(
            $(#[$doc])*
            ///
            /// 1 to 64 characters of `A-Z a-z 0-9 . _ + ( ) -` and, inside, blanks; the first a letter or digit. ASCII.
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(String);

            impl $name {
                /// The name as text.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str(&self.0)
                }
            }

            impl FromStr for $name {
                type Err = ProtocolError;

                fn from_str(text: &str) -> Result<Self, ProtocolError> {
                    if is_name(text) {
                        return Ok(Self(text.to_owned()));
                    }
                    Err(ProtocolError::InvalidName {
                        what: $what,
                        value: quote(text),
                        reason: format!(
                            "expected 1 to {NAME_LEN_MAX} characters of A-Z a-z 0-9 . _ + ( ) - and blanks inside, \
                             the first a letter or digit"
                        ),
                    })
                }
            }

            serde_as_text!($name, $what);
        )*
    };
}

names! {
    /// The name of a mission.
    MissionName, "mission name";
    /// The name of a satellite, such as `NOAA 19` or `ISS (ZARYA)`.
    SatelliteName, "satellite name";
    /// The name of a station.
    StationName, "station name";
    /// The name of an antenna, unique at its station.
    AntennaName, "antenna name";
    /// The name of a link, unique for its satellite.
    LinkName, "link name";
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._+()- ".contains(&byte);
    text.len() <= NAME_LEN_MAX
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && !text.ends_with(' ')
        && text.bytes().all(inner)
}

/// What can be registered. Append-only: the position is in stored replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Item {
    /// A mission.
    Mission,
    /// A satellite.
    Satellite,
    /// A station.
    Station,
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Mission => "mission",
            Self::Satellite => "satellite",
            Self::Station => "station",
        })
    }
}

/// Whether what is registered should be there already. Append-only: the position is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It is added or changed.
    #[default]
    Either,
    /// It is added; one of that name that is there is left alone.
    New,
    /// It is changed; it must be there.
    Existing,
}

/// Which way a link goes. Append-only: the position is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the satellite to the station.
    Down,
    /// From the station to the satellite.
    Up,
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Down => "down",
            Self::Up => "up",
        })
    }
}

/// A radio link of a satellite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What people call it; unique for the satellite.
    pub name: LinkName,
    /// Which way it goes.
    pub direction: Direction,
    /// Its carrier in hertz, as the satellite knows it.
    pub frequency_hz: u64,
}

/// Elements of a satellite, as they were published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewElements {
    /// The catalogue number in them, of one to nine digits.
    pub catalogue_number: u32,
    /// Their epoch, in nanoseconds since the Unix epoch, UTC.
    pub epoch_ns: i64,
    /// The text of this element set alone: an OMM in any form, or a TLE.
    pub source: String,
}

/// Where a station is, on the WGS84 ellipsoid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Degrees north, in billionths.
    pub latitude_ndeg: i64,
    /// Degrees east, in billionths.
    pub longitude_ndeg: i64,
    /// Millimetres above the ellipsoid.
    pub altitude_mm: i64,
}

/// One point of a horizon mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HorizonPoint {
    /// East of north, in thousandths of a degree.
    pub azimuth_mdeg: i32,
    /// The lowest usable elevation there, in thousandths of a degree.
    pub elevation_mdeg: i32,
}

/// An antenna of a station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Antenna {
    /// What people call it; unique at the station.
    pub name: AntennaName,
    /// What hides the sky from it: at least one point, in ascending azimuth.
    pub horizon: Vec<HorizonPoint>,
    /// Lowest and highest azimuth of the rotator, in thousandths of a degree; it may go beyond a turn.
    pub azimuth_mdeg: (i32, i32),
    /// Lowest and highest elevation of the rotator, in thousandths of a degree.
    pub elevation_mdeg: (i32, i32),
    /// How fast it turns in azimuth and in elevation, in thousandths of a degree a second.
    pub slew_rate_mdeg_s: (i32, i32),
}

/// A time in which a station is not to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// When it begins.
    pub from: UtcTime,
    /// When it ends.
    pub to: UtcTime,
    /// Why.
    pub reason: String,
}

/// What became of one element set of a refresh. Append-only: the position is in stored replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refreshed {
    /// It is the satellite's current one now.
    Added,
    /// The satellite has it already.
    Unchanged,
    /// The satellite has one with a later epoch.
    Older,
    /// No satellite is meant by it.
    Unknown,
}
