//! How large what is registered may be, and what makes no sense on any state.

use std::collections::BTreeSet;

use tetryx_protocol::ground::{Antenna, Link, Maintenance, NewElements};

use super::Limit;
use crate::command::{PutSatellite, PutStation, RefreshElements};
use crate::reply::{Part, Refusal};

pub(super) fn check_satellite(put: &PutSatellite) -> Result<(), Refusal> {
    let links: &[Link] = put.links.as_deref().unwrap_or_default();
    Limit::SatelliteLinks.check(links.len())?;
    put.elements.as_ref().map_or(Ok(()), check_elements)?;
    let mut names = BTreeSet::new();
    match links.iter().find(|link| !names.insert(&link.name)) {
        Some(link) => Err(named_twice(Part::Link, link.name.as_str())),
        None => Ok(()),
    }
}

fn check_elements(elements: &NewElements) -> Result<(), Refusal> {
    Limit::ElementsSource.check(elements.source.len())
}

pub(super) fn check_refresh(refresh: &RefreshElements) -> Result<(), Refusal> {
    Limit::ElementsPerCommand.check(refresh.sets.len())?;
    refresh
        .sets
        .iter()
        .try_for_each(|set| check_elements(&set.elements))
}

pub(super) fn check_station(put: &PutStation) -> Result<(), Refusal> {
    let antennas: &[Antenna] = put.antennas.as_deref().unwrap_or_default();
    Limit::StationAntennas.check(antennas.len())?;
    let mut points = antennas.iter().map(|antenna| antenna.horizon.len());
    points.try_for_each(|points| Limit::HorizonPoints.check(points))?;
    let mut names = BTreeSet::new();
    match antennas.iter().find(|antenna| !names.insert(&antenna.name)) {
        Some(antenna) => Err(named_twice(Part::Antenna, antenna.name.as_str())),
        None => Ok(()),
    }
}

pub(super) fn check_maintenance(maintenance: &Maintenance) -> Result<(), Refusal> {
    Limit::Note.check(maintenance.reason.len())?;
    let Maintenance { from, to, .. } = *maintenance;
    if to <= from {
        return Err(Refusal::MaintenanceNeverValid { from, to });
    }
    Ok(())
}

/// Also used when a maintenance is added to a station that has some.
pub(crate) fn check_maintenance_count(count: usize) -> Result<(), Refusal> {
    Limit::StationMaintenance.check(count)
}

fn named_twice(what: Part, name: &str) -> Refusal {
    Refusal::NamedTwice {
        what,
        name: name.to_owned(),
    }
}
