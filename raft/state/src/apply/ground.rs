//! Missions, satellites and stations: adding, changing, removing them, and what is newer of elements.

use tetryx_protocol::ground::{Expected, Item, NewElements, Refreshed, SatelliteName, StationName};
use tetryx_protocol::time::UtcTime;

use super::{Context, Step};
use crate::access::{Access, contains, delete, delete_prefix, get, put};
use crate::command::{
    PutMaintenance, PutMission, PutSatellite, PutStation, RefreshElements, RemoveMaintenance, RemoveMission,
    RemoveSatellite, RemoveStation,
};
use crate::ground;
use crate::key;
use crate::limits::{ELEMENTS_KEPT, LISTED_MAX, MAINTENANCE_KEPT, check_maintenance_count};
use crate::records::{ElementsRecord, MemberRecord, MissionRecord, Record, SatelliteRecord, StationRecord};
use crate::reply::{Lacking, Outcome, Refusal};
use crate::tables::{Table, Tables};

pub(super) fn put_mission<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &PutMission,
) -> Step<T, Outcome> {
    let key = key::mission(&body.mission);
    let before: Option<MissionRecord> = get(tables, &key)?;
    let mut after = before.clone().unwrap_or_else(|| MissionRecord {
        priority: 0,
        note: String::new(),
        created: context.now,
        created_by: context.by.to_owned(),
    });
    if let Some(priority) = body.priority {
        after.priority = priority;
    }
    if let Some(note) = &body.note {
        after.note.clone_from(note);
    }
    settle(
        tables,
        &key,
        before.as_ref(),
        &after,
        body.expected,
        Item::Mission,
        body.mission.as_str(),
    )
}

pub(super) fn remove_mission<T: Tables>(tables: &mut T, body: &RemoveMission) -> Step<T, Outcome> {
    let key = key::mission(&body.mission);
    if !contains(tables, Table::Missions, &key)? {
        return Err(unknown(Item::Mission, body.mission.as_str()).into());
    }
    let mut satellites = ground::satellites_of(tables, &body.mission)?;
    if !satellites.is_empty() {
        let more = satellites.len().saturating_sub(LISTED_MAX);
        satellites.truncate(LISTED_MAX);
        return Err(Refusal::MissionInUse {
            mission: body.mission.clone(),
            satellites,
            more: u64::try_from(more).unwrap_or(u64::MAX),
        }
        .into());
    }
    delete(tables, Table::Missions, &key)?;
    Ok(Outcome::ItemRemoved { item: Item::Mission })
}

pub(super) fn put_satellite<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &PutSatellite,
) -> Step<T, Outcome> {
    let key = key::satellite(&body.satellite);
    let name = body.satellite.as_str();
    let before: Option<SatelliteRecord> = get(tables, &key)?;
    if before.is_none() && body.expected == Expected::Existing {
        return Err(unknown(Item::Satellite, name).into());
    }
    let lacks = |lacking| Refusal::ItemIncomplete {
        item: Item::Satellite,
        name: name.to_owned(),
        lacking,
    };
    let mission = body
        .mission
        .as_ref()
        .or(before.as_ref().map(|record| &record.mission));
    let mission = mission.ok_or_else(|| lacks(Lacking::Mission))?.clone();
    let number = body.elements.as_ref().map(|elements| elements.catalogue_number);
    let number = number.or(before.as_ref().map(|record| record.catalogue_number));
    let catalogue_number = number.ok_or_else(|| lacks(Lacking::Elements))?;
    if !contains(tables, Table::Missions, &key::mission(&mission))? {
        return Err(unknown(Item::Mission, mission.as_str()).into());
    }
    let after = SatelliteRecord {
        mission,
        catalogue_number,
        links: match (&body.links, &before) {
            (Some(links), _) => links.clone(),
            (None, Some(before)) => before.links.clone(),
            (None, None) => Vec::new(),
        },
        created: before.as_ref().map_or(context.now, |record| record.created),
        created_by: before
            .as_ref()
            .map_or_else(|| context.by.to_owned(), |record| record.created_by.clone()),
    };
    let current = ground::elements(tables, &body.satellite, 1)?.pop();
    let is_current = |elements: &NewElements| {
        current.as_ref().is_some_and(|(epoch_ns, record)| {
            *epoch_ns == elements.epoch_ns && record.source == elements.source
        })
    };
    let renumbered = before
        .as_ref()
        .is_some_and(|record| record.catalogue_number != catalogue_number);
    let replaced = body
        .elements
        .as_ref()
        .filter(|elements| renumbered || !is_current(elements));
    let has_changed = before.as_ref() != Some(&after) || replaced.is_some();
    if before.is_some() && has_changed && body.expected == Expected::New {
        return Err(exists(Item::Satellite, name).into());
    }
    if !has_changed {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key, &after)?;
    if renumbered {
        delete_prefix(tables, Table::Elements, &key::elements(&body.satellite))?;
    }
    if let Some(elements) = replaced {
        for (epoch_ns, _) in ground::elements(tables, &body.satellite, usize::MAX)? {
            if epoch_ns >= elements.epoch_ns {
                delete(
                    tables,
                    Table::Elements,
                    &key::element_set(&body.satellite, epoch_ns),
                )?;
            }
        }
        keep(tables, context, &body.satellite, elements)?;
    }
    Ok(added_or_updated(Item::Satellite, before.is_none()))
}

pub(super) fn remove_satellite<T: Tables>(tables: &mut T, body: &RemoveSatellite) -> Step<T, Outcome> {
    let key = key::satellite(&body.satellite);
    if !contains(tables, Table::Satellites, &key)? {
        return Err(unknown(Item::Satellite, body.satellite.as_str()).into());
    }
    delete_prefix(tables, Table::Elements, &key::elements(&body.satellite))?;
    delete(tables, Table::Satellites, &key)?;
    Ok(Outcome::ItemRemoved {
        item: Item::Satellite,
    })
}

/// Each set is judged here, against what the satellite has by then.
pub(super) fn refresh<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &RefreshElements,
) -> Step<T, Outcome> {
    let mut outcomes = Vec::with_capacity(body.sets.len());
    for set in &body.sets {
        let satellite: Option<SatelliteRecord> = get(tables, &key::satellite(&set.satellite))?;
        let number = set.elements.catalogue_number;
        if satellite.is_none_or(|satellite| satellite.catalogue_number != number) {
            outcomes.push(Refreshed::Unknown);
            continue;
        }
        let current = ground::elements(tables, &set.satellite, 1)?.pop();
        outcomes.push(match current {
            Some((epoch_ns, _)) if epoch_ns > set.elements.epoch_ns => Refreshed::Older,
            Some((epoch_ns, current))
                if epoch_ns == set.elements.epoch_ns && current.source == set.elements.source =>
            {
                Refreshed::Unchanged
            }
            _ => {
                keep(tables, context, &set.satellite, &set.elements)?;
                Refreshed::Added
            }
        });
    }
    Ok(Outcome::ElementsRefreshed { outcomes })
}

/// Puts an element set, and forgets the earliest ones beyond those that are kept.
fn keep<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    satellite: &SatelliteName,
    elements: &NewElements,
) -> Access<T, ()> {
    let record = ElementsRecord {
        source: elements.source.clone(),
        added: context.now,
        added_by: context.by.to_owned(),
    };
    put(tables, &key::element_set(satellite, elements.epoch_ns), &record)?;
    let all = ground::elements(tables, satellite, usize::MAX)?;
    for (epoch_ns, _) in all.iter().skip(ELEMENTS_KEPT) {
        delete(tables, Table::Elements, &key::element_set(satellite, *epoch_ns))?;
    }
    Ok(())
}

pub(super) fn put_station<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &PutStation,
) -> Step<T, Outcome> {
    let key = key::station(&body.station);
    let name = body.station.as_str();
    let before: Option<StationRecord> = get(tables, &key)?;
    if before.is_none() && body.expected == Expected::Existing {
        return Err(unknown(Item::Station, name).into());
    }
    let place = body.place.or(before.as_ref().map(|record| record.place));
    let place = place.ok_or_else(|| Refusal::ItemIncomplete {
        item: Item::Station,
        name: name.to_owned(),
        lacking: Lacking::Site,
    })?;
    let mut after = before.clone().unwrap_or_else(|| StationRecord {
        place,
        antennas: Vec::new(),
        node: None,
        maintenance: Vec::new(),
        created: context.now,
        created_by: context.by.to_owned(),
    });
    after.place = place;
    if let Some(antennas) = &body.antennas {
        after.antennas.clone_from(antennas);
    }
    if let Some(node) = body.node {
        if let Some(node) = node {
            let member: Option<MemberRecord> = get(tables, &key::member(&node))?;
            if member.is_none_or(|member| member.state.is_removed()) {
                return Err(Refusal::NoSuchMember { node }.into());
            }
        }
        after.node = node;
    }
    settle(
        tables,
        &key,
        before.as_ref(),
        &after,
        body.expected,
        Item::Station,
        name,
    )
}

pub(super) fn remove_station<T: Tables>(tables: &mut T, body: &RemoveStation) -> Step<T, Outcome> {
    let key = key::station(&body.station);
    if !contains(tables, Table::Stations, &key)? {
        return Err(unknown(Item::Station, body.station.as_str()).into());
    }
    delete(tables, Table::Stations, &key)?;
    Ok(Outcome::ItemRemoved { item: Item::Station })
}

pub(super) fn put_maintenance<T: Tables>(
    tables: &mut T,
    context: &Context<'_>,
    body: &PutMaintenance,
) -> Step<T, Outcome> {
    change_maintenance(tables, &body.station, |record| {
        let new = &body.maintenance;
        record
            .maintenance
            .retain(|other| other.from != new.from && !is_long_over(other.to, context.now));
        let place = record.maintenance.partition_point(|other| other.from < new.from);
        record.maintenance.insert(place, new.clone());
        check_maintenance_count(record.maintenance.len())
    })
}

pub(super) fn remove_maintenance<T: Tables>(tables: &mut T, body: &RemoveMaintenance) -> Step<T, Outcome> {
    change_maintenance(tables, &body.station, |record| {
        let before = record.maintenance.len();
        record.maintenance.retain(|other| other.from != body.from);
        if record.maintenance.len() == before {
            return Err(Refusal::NoSuchMaintenance {
                station: body.station.clone(),
                from: body.from,
            });
        }
        Ok(())
    })
}

fn is_long_over(end: UtcTime, now: UtcTime) -> bool {
    end < now && now.since(end) > MAINTENANCE_KEPT
}

fn change_maintenance<T: Tables>(
    tables: &mut T,
    station: &StationName,
    change: impl FnOnce(&mut StationRecord) -> Result<(), Refusal>,
) -> Step<T, Outcome> {
    let key = key::station(station);
    let before: Option<StationRecord> = get(tables, &key)?;
    let before = before.ok_or_else(|| unknown(Item::Station, station.as_str()))?;
    let mut after = before.clone();
    change(&mut after)?;
    if after == before {
        return Ok(Outcome::Unchanged);
    }
    put(tables, &key, &after)?;
    Ok(Outcome::ItemUpdated { item: Item::Station })
}

/// Writes what is registered if it may be there, or may not, as was expected.
fn settle<T: Tables, R: Record + PartialEq>(
    tables: &mut T,
    key: &[u8],
    before: Option<&R>,
    after: &R,
    expected: Expected,
    item: Item,
    name: &str,
) -> Step<T, Outcome> {
    match before {
        None if expected == Expected::Existing => return Err(unknown(item, name).into()),
        Some(before) if before == after => return Ok(Outcome::Unchanged),
        Some(_) if expected == Expected::New => return Err(exists(item, name).into()),
        _ => {}
    }
    put(tables, key, after)?;
    Ok(added_or_updated(item, before.is_none()))
}

const fn added_or_updated(item: Item, is_new: bool) -> Outcome {
    if is_new {
        Outcome::ItemAdded { item }
    } else {
        Outcome::ItemUpdated { item }
    }
}

fn unknown(item: Item, name: &str) -> Refusal {
    Refusal::NoSuchItem {
        item,
        name: name.to_owned(),
    }
}

fn exists(item: Item, name: &str) -> Refusal {
    Refusal::ItemExists {
        item,
        name: name.to_owned(),
    }
}
