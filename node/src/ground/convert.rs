//! Degrees and metres of people to the whole numbers of the state, and back.

use tetryx_protocol::api::{AntennaInfo, SiteInfo, StationInfo};
use tetryx_protocol::ground::{Antenna, HorizonPoint, Place, StationName};
use tetryx_state::records::StationRecord;
use tetryx_station::StationError;
use tetryx_station::antenna::RotatorLimits;
use tetryx_station::mask::HorizonMask;
use tetryx_station::site::Site;
use tetryx_station::units::{Azimuth, Elevation};

/// The state's own form of a site.
///
/// # Errors
/// When it is not on Earth.
pub(crate) fn place(site: &SiteInfo) -> Result<Place, StationError> {
    let site = Site::new(site.latitude_deg, site.longitude_deg, site.altitude_m)?;
    Ok(Place {
        latitude_ndeg: whole(site.latitude_deg() * 1e9),
        longitude_ndeg: whole(site.longitude_deg() * 1e9),
        altitude_mm: whole(site.altitude_m() * 1e3),
    })
}

/// The site of a station.
///
/// # Errors
/// Never for what [`place`] made.
pub(crate) fn site(place: &Place) -> Result<Site, StationError> {
    let site = site_info(place);
    Site::new(site.latitude_deg, site.longitude_deg, site.altitude_m)
}

fn site_info(place: &Place) -> SiteInfo {
    SiteInfo {
        latitude_deg: real(place.latitude_ndeg) / 1e9,
        longitude_deg: real(place.longitude_ndeg) / 1e9,
        altitude_m: real(place.altitude_mm) / 1e3,
    }
}

/// The state's own form of an antenna.
///
/// # Errors
/// When its mask or its limits make no sense.
pub(crate) fn antenna(info: &AntennaInfo) -> Result<Antenna, StationError> {
    let mask = mask(info.horizon_deg.iter().map(|point| (point[0], point[1])))?;
    let pair = |pair: [f64; 2]| (pair[0], pair[1]);
    let limits = RotatorLimits::new(
        pair(info.azimuth_deg),
        pair(info.elevation_deg),
        pair(info.slew_rate_deg_s),
    )?;
    let thousandths = |(a, b): (f64, f64)| (thousandth(a), thousandth(b));
    let points = mask.points().iter().map(|(azimuth, elevation)| HorizonPoint {
        azimuth_mdeg: thousandth(*azimuth),
        elevation_mdeg: thousandth(*elevation),
    });
    let antenna = Antenna {
        name: info.name.clone(),
        horizon: points.collect(),
        azimuth_mdeg: thousandths(limits.azimuth_deg()),
        elevation_mdeg: thousandths(limits.elevation_deg()),
        slew_rate_mdeg_s: thousandths(limits.slew_rate_deg_s()),
    };
    // In thousandths, two points may have become one azimuth, and a slow rate none.
    usable_mask(&antenna)?;
    Ok(antenna)
}

fn antenna_info(antenna: &Antenna) -> AntennaInfo {
    let pair = |(a, b): (i32, i32)| [degrees(a), degrees(b)];
    let points = antenna.horizon.iter();
    AntennaInfo {
        name: antenna.name.clone(),
        horizon_deg: points
            .map(|point| [degrees(point.azimuth_mdeg), degrees(point.elevation_mdeg)])
            .collect(),
        azimuth_deg: pair(antenna.azimuth_mdeg),
        elevation_deg: pair(antenna.elevation_mdeg),
        slew_rate_deg_s: pair(antenna.slew_rate_mdeg_s),
    }
}

/// What an antenna sees: its horizon mask, and no lower than its rotator goes.
///
/// # Errors
/// Never for what [`antenna`] made.
pub(crate) fn usable_mask(info: &Antenna) -> Result<HorizonMask, StationError> {
    let pair = |(a, b): (i32, i32)| (degrees(a), degrees(b));
    let points = info.horizon.iter();
    tetryx_station::antenna::Antenna {
        name: info.name.to_string(),
        mask: mask(points.map(|point| (degrees(point.azimuth_mdeg), degrees(point.elevation_mdeg))))?,
        limits: RotatorLimits::new(
            pair(info.azimuth_mdeg),
            pair(info.elevation_mdeg),
            pair(info.slew_rate_mdeg_s),
        )?,
        receives: Vec::new(),
        sends: Vec::new(),
    }
    .usable_mask()
}

fn mask(points: impl Iterator<Item = (f64, f64)>) -> Result<HorizonMask, StationError> {
    let points = points.map(|(azimuth, elevation)| {
        Ok((
            Azimuth::from_degrees(azimuth)?,
            Elevation::from_degrees(elevation)?,
        ))
    });
    HorizonMask::new(points.collect::<Result<Vec<_>, StationError>>()?)
}

/// A station as the API shows it.
pub(crate) fn station_info(name: StationName, record: StationRecord) -> StationInfo {
    StationInfo {
        name,
        site: site_info(&record.place),
        antennas: record.antennas.iter().map(antenna_info).collect(),
        node: record.node,
        maintenance: record.maintenance,
        created: record.created,
    }
}

fn degrees(thousandths: i32) -> f64 {
    f64::from(thousandths) / 1e3
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "angles were checked to be a few turns at most"
)]
fn thousandth(value: f64) -> i32 {
    (value * 1e3).round() as i32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "angles and altitudes were checked to be small"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "angles and altitudes are below 2^53")]
fn real(value: i64) -> f64 {
    value as f64
}
