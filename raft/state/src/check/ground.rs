//! The rules about missions, satellites and stations.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::rules::Rules;
use crate::limits::{ELEMENTS_KEPT, Limit};
use crate::records::StationRecord;

impl Rules<'_> {
    pub(super) fn ground_records_are_not_ahead_of_the_clock(&mut self) {
        let state = self.state;
        for (name, mission) in &state.missions {
            self.not_ahead(mission.created, || format!("mission '{name}'"));
        }
        for (name, satellite) in &state.satellites {
            self.not_ahead(satellite.created, || format!("satellite '{name}'"));
        }
        for ((name, _), elements) in &state.elements {
            self.not_ahead(elements.added, || format!("an element set of '{name}'"));
        }
        for (name, station) in &state.stations {
            self.not_ahead(station.created, || format!("station '{name}'"));
        }
    }

    pub(super) fn satellites_have_a_mission_and_elements(&mut self) {
        let state = self.state;
        let missions: BTreeSet<_> = state.missions.iter().map(|(name, _)| name).collect();
        let mut sets = BTreeMap::new();
        for ((satellite, _), _) in &state.elements {
            *sets.entry(satellite).or_insert(0_usize) += 1;
        }
        for (name, satellite) in &state.satellites {
            let reason = match sets.remove(name) {
                _ if !missions.contains(&satellite.mission) => "belongs to a mission that is not registered",
                None => "has no elements",
                Some(count) if count > ELEMENTS_KEPT => "has more elements than are kept",
                Some(_) => continue,
            };
            let satellite = name.clone();
            self.violations
                .push(Violation::BadSatellite { satellite, reason });
        }
        let satellites: BTreeSet<_> = state.satellites.iter().map(|(name, _)| name).collect();
        let nobody = sets
            .into_keys()
            .filter(|name| !satellites.contains(name))
            .cloned();
        self.violations
            .extend(nobody.map(|satellite| Violation::ElementsOfNobody { satellite }));
    }

    pub(super) fn stations_are_in_order(&mut self) {
        let state = self.state;
        let members: BTreeSet<_> = state.members.iter().map(|(node, _)| *node).collect();
        for (name, station) in &state.stations {
            let reason = match station.node {
                Some(node) if !members.contains(&node) => "names a node that never was a member",
                _ if has_two_of_one_name(station) => "has two antennas of one name",
                _ if !maintenance_is_in_order(station) => "has maintenance out of order",
                _ => continue,
            };
            let station = name.clone();
            self.violations.push(Violation::BadStation { station, reason });
        }
    }
}

fn has_two_of_one_name(station: &StationRecord) -> bool {
    let mut names = BTreeSet::new();
    station
        .antennas
        .iter()
        .any(|antenna| !names.insert(&antenna.name))
}

fn maintenance_is_in_order(station: &StationRecord) -> bool {
    let all = &station.maintenance;
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
    count <= Limit::StationMaintenance.bound()
        && all.is_sorted_by(|a, b| a.from < b.from)
        && all.iter().all(|one| one.from < one.to)
}
