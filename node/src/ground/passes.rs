//! The passes of what is registered, computed when somebody asks.

use tetryx_protocol::api::{PASS_HOURS_MAX, PassInfo, PassList, PassesQuery};
use tetryx_protocol::ground::{AntennaName, Item, Maintenance, SatelliteName, StationName};
use tetryx_protocol::time::UtcTime;
use tetryx_raft::StateView;
use tetryx_state::records::{SatelliteRecord, StationRecord};
use tetryx_state::{Refusal, ground};
use tetryx_station::elements;
use tetryx_station::frames::EarthRotation;
use tetryx_station::mask::HorizonMask;
use tetryx_station::passes::{Network, Observer, Pass, Sight, Window};
use tetryx_station::propagator::Propagator;
use tetryx_station::time::SkyTime;
use tetryx_station::units::Elevation;

use super::{age_warning, convert};
use crate::Node;
use crate::http::error::HttpError;

/// Hours that are searched when nobody says.
const HOURS: f64 = 24.0;
/// Satellites times horizons times hours of one search: about a second of one core.
const PAIR_HOURS_MAX: f64 = 500_000.0;

/// What is searched.
struct Search {
    satellites: Vec<Satellite>,
    sights: Vec<Horizon>,
    from: UtcTime,
    hours: f64,
    elevation_deg_min: f64,
    warnings: Vec<String>,
}

/// A satellite that can be propagated.
struct Satellite {
    name: SatelliteName,
    catalogue_number: u32,
    propagator: Propagator,
}

/// The antennas of a station that see the same.
struct Horizon {
    station: StationName,
    antennas: Vec<AntennaName>,
    observer: Observer,
    maintenance: Vec<Maintenance>,
}

/// Searches what is registered for passes, off the async threads.
///
/// # Errors
/// 404 for a satellite or a station that is not registered, 400 for a window that is too long or a search that is too
/// large.
pub(crate) async fn find(node: &Node, view: StateView, query: PassesQuery) -> Result<PassList, HttpError> {
    let now = node.clock().utc();
    let search = move || {
        let search = prepare(&view, &query, now)?;
        search.run()
    };
    node.io().run(search).await?
}

fn prepare(view: &StateView, query: &PassesQuery, now: UtcTime) -> Result<Search, HttpError> {
    let hours = query.hours.unwrap_or(HOURS);
    if !(hours > 0.0 && hours <= PASS_HOURS_MAX) {
        return Err(HttpError::bad_request(format!(
            "a window of {hours} hours is not searched; ask for more than 0 and at most {PASS_HOURS_MAX}"
        )));
    }
    let elevation_deg_min = query.min_elevation.unwrap_or(-90.0);
    if !elevation_deg_min.is_finite() {
        return Err(HttpError::bad_request("min_elevation is not a number of degrees"));
    }
    let mut sights = Vec::new();
    for (name, record) in stations(view, query.station.as_ref())? {
        horizons(&name, &record, &mut sights)?;
    }
    let chosen = satellites(view, query.satellite.as_ref())?;
    let pairs = chosen.len().saturating_mul(sights.len());
    let pair_hours = f64::from(u32::try_from(pairs).unwrap_or(u32::MAX)) * hours;
    if pair_hours > PAIR_HOURS_MAX {
        return Err(HttpError::bad_request(format!(
            "{} satellites over {} horizons for {hours} hours are more than is searched at once; ask for a shorter \
             window, for one satellite or for one station",
            chosen.len(),
            sights.len()
        )));
    }
    let (mut ready, mut warnings) = (Vec::new(), Vec::new());
    for (name, record) in chosen {
        let Some((_, set)) = ground::elements(view, &name, 1)?.pop() else {
            continue;
        };
        let elements = elements::read_one(&set.source).map_err(|error| HttpError::internal(&error))?;
        warnings.extend(age_warning(&name, &elements, now));
        match Propagator::new(&elements) {
            Ok(propagator) => ready.push(Satellite {
                name,
                catalogue_number: record.catalogue_number,
                propagator,
            }),
            Err(reason) => warnings.push(format!("{name} is left out: {reason}")),
        }
    }
    Ok(Search {
        satellites: ready,
        sights,
        from: query.from.unwrap_or(now),
        hours,
        elevation_deg_min,
        warnings,
    })
}

fn satellites(
    view: &StateView,
    only: Option<&SatelliteName>,
) -> Result<Vec<(SatelliteName, SatelliteRecord)>, HttpError> {
    let Some(name) = only else {
        return Ok(ground::satellites(view)?);
    };
    let record = ground::satellite(view, name)?;
    let record = record.ok_or_else(|| unknown(Item::Satellite, name.as_str()))?;
    Ok(vec![(name.clone(), record)])
}

fn stations(
    view: &StateView,
    only: Option<&StationName>,
) -> Result<Vec<(StationName, StationRecord)>, HttpError> {
    let Some(name) = only else {
        return Ok(ground::stations(view)?);
    };
    let record = ground::station(view, name)?;
    let record = record.ok_or_else(|| unknown(Item::Station, name.as_str()))?;
    Ok(vec![(name.clone(), record)])
}

/// What somebody asked for and is not registered.
pub(crate) fn unknown(item: Item, name: &str) -> HttpError {
    Refusal::NoSuchItem {
        item,
        name: name.to_owned(),
    }
    .into()
}

/// The different horizons of a station; a flat one if it has no antenna.
fn horizons(
    station: &StationName,
    record: &StationRecord,
    found: &mut Vec<Horizon>,
) -> Result<(), HttpError> {
    let internal = |error: tetryx_station::StationError| HttpError::internal(&error);
    let site = convert::site(&record.place).map_err(internal)?;
    let first = found.len();
    let horizon = |mask: HorizonMask, antennas: Vec<AntennaName>| Horizon {
        station: station.clone(),
        antennas,
        observer: Observer { site, mask },
        maintenance: record.maintenance.clone(),
    };
    if record.antennas.is_empty() {
        let flat = Elevation::from_degrees(0.0).map_err(internal)?;
        found.push(horizon(HorizonMask::flat(flat), Vec::new()));
        return Ok(());
    }
    for antenna in &record.antennas {
        let mask = convert::usable_mask(antenna).map_err(internal)?;
        match found[first..]
            .iter_mut()
            .find(|other| other.observer.mask == mask)
        {
            Some(same) => same.antennas.push(antenna.name.clone()),
            None => found.push(horizon(mask, vec![antenna.name.clone()])),
        }
    }
    Ok(())
}

impl Search {
    fn run(self) -> Result<PassList, HttpError> {
        let refused = |error: tetryx_station::StationError| HttpError::bad_request(error.to_string());
        let earth = EarthRotation::with_dut1_s(0.0).map_err(refused)?;
        let start = SkyTime::from(self.from);
        let window = Window::new(start, self.hours, earth).map_err(refused)?;
        let observers = self.sights.iter().map(|sight| sight.observer.clone()).collect();
        let network = Network::new(observers);
        let mut found = Vec::new();
        for satellite in &self.satellites {
            for (observer, pass) in network.passes_of(&satellite.propagator, &window) {
                if pass.tca.direction.elevation.degrees() >= self.elevation_deg_min {
                    found.push(describe(satellite, &self.sights[observer], &pass, &window));
                }
            }
        }
        found.sort_by(|a, b| order(a, self.from).cmp(&order(b, self.from)));
        Ok(PassList {
            from: self.from,
            hours: self.hours,
            passes: found,
            warnings: self.warnings,
        })
    }
}

/// In the order in which an operator meets them.
fn order(pass: &PassInfo, from: UtcTime) -> (UtcTime, &SatelliteName, &StationName) {
    (pass.aos.unwrap_or(from), &pass.satellite, &pass.station)
}

fn describe(satellite: &Satellite, horizon: &Horizon, pass: &Pass, window: &Window) -> PassInfo {
    let azimuth = |sight: Sight| rounded(sight.direction.azimuth.degrees(), 1e6);
    let rate = |sight: Sight| rounded(sight.direction.range_rate.get(), 1e9);
    let utc = |sight: Sight| sight.time.to_utc();
    let begin = pass.aos.map_or(window.start(), |sight| sight.time).to_utc();
    let end = pass.los.map_or_else(
        || window.start().plus_seconds(window.seconds()).to_utc(),
        |sight| sight.time.to_utc(),
    );
    let mut during = horizon.maintenance.iter();
    let during = during.find(|maintenance| maintenance.from < end && begin < maintenance.to);
    PassInfo {
        satellite: satellite.name.clone(),
        catalogue_number: satellite.catalogue_number,
        station: horizon.station.clone(),
        antennas: horizon.antennas.clone(),
        aos: pass.aos.map(utc),
        tca: utc(pass.tca),
        los: pass.los.map(utc),
        duration_s: rounded(pass.seconds, 1e3),
        elevation_deg_max: rounded(pass.tca.direction.elevation.degrees(), 1e6),
        azimuth_deg_aos: pass.aos.map(azimuth),
        azimuth_deg_tca: azimuth(pass.tca),
        azimuth_deg_los: pass.los.map(azimuth),
        range_km_tca: rounded(pass.tca.direction.range.get(), 1e6),
        range_rate_km_s_aos: pass.aos.map(rate),
        range_rate_km_s_tca: rate(pass.tca),
        range_rate_km_s_los: pass.los.map(rate),
        maintenance: during.map(|maintenance| maintenance.reason.clone()),
    }
}

/// Digits beyond those of the computation are noise.
fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}
