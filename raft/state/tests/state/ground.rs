//! Missions, satellites with their elements, stations.

use std::time::Duration;

use tetryx_protocol::ground::{
    Antenna, Direction, Expected, HorizonPoint, Item, Link, Maintenance, NewElements, Place, Refreshed,
};
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{
    Body, PutMaintenance, PutMission, PutSatellite, PutStation, RefreshElements, RegisterToken,
    RemoveMaintenance, RemoveMission, RemoveSatellite, RemoveStation, SatelliteElements,
};
use tetryx_state::limits::{ELEMENTS_KEPT, Limit, MAINTENANCE_KEPT};
use tetryx_state::records::{AuditAction, SatelliteRecord};
use tetryx_state::reply::{Lacking, Part};
use tetryx_state::{Outcome, Refusal, ground, query};

use crate::fixture::{START_MS, World, node, parse, register_token, remove, upsert_member};
use crate::limits::{long, too_many};

pub(crate) fn put_mission(name: &str) -> PutMission {
    PutMission {
        mission: parse(name),
        expected: Expected::Either,
        priority: Some(300),
        note: Some("first light in March".to_owned()),
    }
}

/// The element set with an epoch of so many days.
pub(crate) fn elements(day: i64) -> NewElements {
    NewElements {
        catalogue_number: 33_591,
        epoch_ns: day * 86_400_000_000_000,
        source: format!("elements of day {day}"),
    }
}

/// A satellite of the mission `lander` with the elements of day 1.
pub(crate) fn put_satellite(name: &str) -> PutSatellite {
    let link = |name, direction, frequency_hz| Link {
        name: parse(name),
        direction,
        frequency_hz,
    };
    PutSatellite {
        satellite: parse(name),
        expected: Expected::Either,
        mission: Some(parse("lander")),
        links: Some(vec![
            link("s-band", Direction::Down, 2_200_000_000),
            link("command", Direction::Up, 2_050_000_000),
        ]),
        elements: Some(elements(1)),
    }
}

/// A change of nothing.
fn same_satellite(name: &str) -> PutSatellite {
    PutSatellite {
        satellite: parse(name),
        expected: Expected::Existing,
        mission: None,
        links: None,
        elements: None,
    }
}

pub(crate) fn put_station(name: &str) -> PutStation {
    PutStation {
        station: parse(name),
        expected: Expected::Either,
        place: Some(Place {
            latitude_ndeg: 78_229_700_000,
            longitude_ndeg: -15_407_800_000,
            altitude_mm: 458_000,
        }),
        antennas: Some(vec![Antenna {
            name: parse("dish"),
            horizon: vec![HorizonPoint {
                azimuth_mdeg: 0,
                elevation_mdeg: -500,
            }],
            azimuth_mdeg: (-90_000, 450_000),
            elevation_mdeg: (0, 90_000),
            slew_rate_mdeg_s: (6_000, 4_000),
        }]),
        node: None,
    }
}

fn same_station(name: &str) -> PutStation {
    PutStation {
        station: parse(name),
        expected: Expected::Existing,
        place: None,
        antennas: None,
        node: None,
    }
}

/// A maintenance of an hour that begins so many hours after the tests do.
pub(crate) fn put_maintenance(station: &str, hour: u64) -> PutMaintenance {
    let at = |hour: u64| UtcTime::from_unix_ms(START_MS).plus(Duration::from_secs(hour * 3_600));
    PutMaintenance {
        station: parse(station),
        maintenance: Maintenance {
            from: at(hour),
            to: at(hour + 1),
            reason: "new bearings".to_owned(),
        },
    }
}

/// Elements of a day for each satellite.
pub(crate) fn refresh<'a>(sets: impl IntoIterator<Item = (&'a str, i64)>) -> RefreshElements {
    let set = |(name, day)| SatelliteElements {
        satellite: parse(name),
        elements: elements(day),
    };
    RefreshElements {
        sets: sets.into_iter().map(set).collect(),
    }
}

pub(crate) fn station_token(number: u8) -> RegisterToken {
    let mut register = register_token(number);
    register.grants.missions = vec!["lander-*".to_owned()];
    register.grants.stations = vec!["north-*".to_owned()];
    register
}

/// A cluster with a cache, and a station whose maintenances are as many as may be.
pub(crate) fn with_full_station() -> World {
    let mut world = World::with_cache();
    world.done(put_station("north"));
    for hour in 0..Limit::StationMaintenance.bound() {
        world.done(put_maintenance("north", hour));
    }
    world
}

/// What exceeds each limit of this kind by one.
pub(crate) fn exceeding(limit: Limit) -> Body {
    let antenna = || put_station("new").antennas.expect("the sample has one").remove(0);
    let station = |antennas| PutStation {
        antennas: Some(antennas),
        ..put_station("new")
    };
    match limit {
        Limit::GrantStations => {
            let mut register = register_token(1);
            register.grants.stations = vec!["north".to_owned(); too_many(limit)];
            register.into()
        }
        Limit::StationPattern => {
            let mut register = register_token(1);
            register.grants.stations = vec![long(limit)];
            register.into()
        }
        Limit::Note => PutMission {
            note: Some(long(limit)),
            ..put_mission("new")
        }
        .into(),
        Limit::SatelliteLinks => {
            let link = put_satellite("new").links.expect("the sample has some").remove(0);
            PutSatellite {
                links: Some(vec![link; too_many(limit)]),
                ..put_satellite("new")
            }
            .into()
        }
        Limit::ElementsSource => PutSatellite {
            elements: Some(NewElements {
                source: long(limit),
                ..elements(1)
            }),
            ..put_satellite("new")
        }
        .into(),
        Limit::ElementsPerCommand => refresh(vec![("new", 1); too_many(limit)]).into(),
        Limit::StationAntennas => station(vec![antenna(); too_many(limit)]).into(),
        Limit::HorizonPoints => {
            let mut antenna = antenna();
            antenna.horizon = vec![antenna.horizon[0]; too_many(limit)];
            station(vec![antenna]).into()
        }
        Limit::StationMaintenance => put_maintenance("north", 1_000).into(),
        other => panic!("{other:?} is not about what is registered"),
    }
}

/// A cluster with a mission, its satellite, and a station.
pub(crate) fn world() -> World {
    let mut world = World::initialised();
    world.done(put_mission("lander"));
    world.done(put_satellite("NOAA 19"));
    world.done(put_station("north"));
    world
}

/// The days of the epochs that a satellite has, the current one first.
fn days(world: &World, satellite: &str) -> Vec<i64> {
    let sets = ground::elements(&world.tables, &parse(satellite), usize::MAX).expect("memory never fails");
    sets.iter()
        .map(|(epoch_ns, _)| epoch_ns / 86_400_000_000_000)
        .collect()
}

#[test]
fn what_was_registered_is_found_by_its_name_and_in_order() {
    let mut world = world();
    world.done(put_satellite("AQUA"));
    let names = ground::satellites(&world.tables).unwrap();
    let names: Vec<_> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["AQUA", "NOAA 19"]);
    let mission = ground::mission(&world.tables, &parse("lander"))
        .unwrap()
        .expect("it is there");
    assert_eq!((mission.priority, mission.created_by.as_str()), (300, "alice"));
    let station = ground::station(&world.tables, &parse("north"))
        .unwrap()
        .expect("it is there");
    assert_eq!(Some(station.place), put_station("north").place);
    assert_eq!(days(&world, "NOAA 19"), [1]);
}

#[test]
fn a_put_changes_what_it_names_and_nothing_else() {
    let mut world = world();
    let item = Item::Satellite;
    let before = ground::satellite(&world.tables, &parse("NOAA 19"))
        .unwrap()
        .expect("it is there");
    world.by = "bob".to_owned();
    let links = PutSatellite {
        links: Some(Vec::new()),
        ..same_satellite("NOAA 19")
    };
    assert_eq!(world.done(links.clone()), Outcome::ItemUpdated { item });
    assert_eq!(world.done(links), Outcome::Unchanged);
    let after = ground::satellite(&world.tables, &parse("NOAA 19"))
        .unwrap()
        .expect("it is there");
    let expected = SatelliteRecord {
        links: Vec::new(),
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(days(&world, "NOAA 19"), [1]);
}

#[test]
fn what_should_be_new_is_not_changed_and_what_should_be_there_is_not_added() {
    let mut world = world();
    let new = PutMission {
        expected: Expected::New,
        ..put_mission("lander")
    };
    assert_eq!(world.done(new.clone()), Outcome::Unchanged);
    let other = PutMission {
        priority: Some(1),
        ..new
    };
    let refusal = world.refused(other);
    assert_eq!(
        refusal.to_string(),
        "mission 'lander' exists already; choose another name, or change it with 'tetryx-cli mission update'"
    );
    let new = |put: PutSatellite| PutSatellite {
        expected: Expected::New,
        ..put
    };
    assert_eq!(world.done(new(put_satellite("NOAA 19"))), Outcome::Unchanged);
    let other = PutSatellite {
        elements: Some(elements(2)),
        ..put_satellite("NOAA 19")
    };
    assert!(matches!(world.refused(new(other)), Refusal::ItemExists { .. }));
    for body in [
        same_satellite("AQUA").into(),
        Body::from(same_station("south")),
        PutMission {
            expected: Expected::Existing,
            ..put_mission("x")
        }
        .into(),
    ] {
        assert!(matches!(world.refused(body), Refusal::NoSuchItem { .. }));
    }
}

#[test]
fn a_new_satellite_needs_a_registered_mission_and_elements_and_a_new_station_a_site() {
    let mut world = world();
    let without = |change: &dyn Fn(&mut PutSatellite)| {
        let mut put = put_satellite("AQUA");
        change(&mut put);
        put
    };
    let cases = [
        (without(&|put| put.mission = None), Lacking::Mission),
        (without(&|put| put.elements = None), Lacking::Elements),
    ];
    for (put, lacking) in cases {
        let refusal = world.refused(put);
        assert!(matches!(&refusal, Refusal::ItemIncomplete { lacking: found, .. } if *found == lacking));
    }
    let refusal = world.refused(without(&|put| put.mission = Some(parse("mars"))));
    assert_eq!(
        refusal.to_string(),
        "there is no mission 'mars'; 'tetryx-cli mission list' shows what is registered"
    );
    let refusal = world.refused(PutStation {
        place: None,
        ..put_station("south")
    });
    assert_eq!(
        refusal.to_string(),
        "station 'south' is new and needs a site; give it with --site"
    );
}

#[test]
fn a_mission_that_satellites_name_is_not_removed() {
    let mut world = world();
    world.done(put_satellite("AQUA"));
    let removal = RemoveMission {
        mission: parse("lander"),
    };
    let refusal = world.refused(removal.clone());
    assert_eq!(
        refusal.to_string(),
        "mission 'lander' has the satellites AQUA, NOAA 19; give them another one with 'tetryx-cli satellite \
         update', or remove them"
    );
    for name in ["AQUA", "NOAA 19"] {
        world.done(RemoveSatellite {
            satellite: parse(name),
        });
        assert!(days(&world, name).is_empty(), "its elements go with it");
    }
    let item = Item::Mission;
    assert_eq!(world.done(removal.clone()), Outcome::ItemRemoved { item });
    assert!(matches!(world.refused(removal), Refusal::NoSuchItem { .. }));
}

#[test]
fn a_refresh_judges_each_set_by_its_epoch() {
    let mut world = world();
    world.done(put_satellite("AQUA"));
    world.done(refresh([("AQUA", 5)]));
    let outcome = world.done(refresh([
        ("NOAA 19", 3),
        ("AQUA", 4),
        ("AQUA", 5),
        ("TERRA", 3),
        ("NOAA 19", 2),
    ]));
    let outcomes = vec![
        Refreshed::Added,
        Refreshed::Older,
        Refreshed::Unchanged,
        Refreshed::Unknown,
        Refreshed::Older,
    ];
    assert_eq!(outcome, Outcome::ElementsRefreshed { outcomes });
    assert_eq!(days(&world, "NOAA 19"), [3, 1]);
    assert_eq!(days(&world, "AQUA"), [5, 1]);
}

#[test]
fn elements_of_another_object_are_not_taken() {
    let mut world = world();
    let mut other = refresh([("NOAA 19", 3)]);
    other.sets[0].elements.catalogue_number = 25_544;
    let outcomes = vec![Refreshed::Unknown];
    assert_eq!(world.done(other), Outcome::ElementsRefreshed { outcomes });
    assert_eq!(days(&world, "NOAA 19"), [1]);
}

#[test]
fn a_set_of_the_same_epoch_with_another_text_replaces_it() {
    let mut world = world();
    let mut corrected = refresh([("NOAA 19", 1)]);
    corrected.sets[0].elements.source = "corrected".to_owned();
    let outcomes = vec![Refreshed::Added];
    assert_eq!(world.done(corrected), Outcome::ElementsRefreshed { outcomes });
    let sets = ground::elements(&world.tables, &parse("NOAA 19"), usize::MAX).unwrap();
    assert_eq!((sets.len(), sets[0].1.source.as_str()), (1, "corrected"));
}

#[test]
fn only_the_latest_elements_of_a_satellite_are_kept() {
    let mut world = world();
    for day in 2..50 {
        world.done(refresh([("NOAA 19", day)]));
    }
    let kept = days(&world, "NOAA 19");
    assert_eq!(
        (kept.len(), kept[0], kept[ELEMENTS_KEPT - 1]),
        (ELEMENTS_KEPT, 49, 18)
    );
    // Before 1970 as well: the order is that of the numbers.
    world.done(PutSatellite {
        elements: Some(elements(-2)),
        ..put_satellite("EXPLORER 1")
    });
    world.done(refresh([("EXPLORER 1", -1), ("EXPLORER 1", 1)]));
    assert_eq!(days(&world, "EXPLORER 1"), [1, -1, -2]);
}

#[test]
fn elements_given_by_hand_become_current_whatever_their_epoch() {
    let mut world = world();
    world.done(refresh([("NOAA 19", 3), ("NOAA 19", 9)]));
    let by_hand = |elements| PutSatellite {
        elements: Some(elements),
        ..same_satellite("NOAA 19")
    };
    world.done(by_hand(elements(2)));
    assert_eq!(days(&world, "NOAA 19"), [2, 1]);
    let renumbered = NewElements {
        catalogue_number: 5,
        ..elements(2)
    };
    world.done(by_hand(renumbered));
    assert_eq!(days(&world, "NOAA 19"), [2], "elements of another object leave");
}

#[test]
fn a_station_is_bound_to_members_only() {
    let mut world = world();
    let bound = |number| PutStation {
        node: Some(Some(node(number))),
        ..same_station("north")
    };
    assert_eq!(world.refused(bound(1)), Refusal::NoSuchMember { node: node(1) });
    world.done(upsert_member(1, "a"));
    world.done(upsert_member(2, "b"));
    world.done(bound(1));
    world.done(remove(1));
    assert!(matches!(world.refused(bound(1)), Refusal::NoSuchMember { .. }));
    let unbound = PutStation {
        node: Some(None),
        ..same_station("north")
    };
    world.done(unbound);
    let station = ground::station(&world.tables, &parse("north"))
        .unwrap()
        .expect("it is there");
    assert_eq!(station.node, None);
}

#[test]
fn maintenance_is_in_order_replaced_by_its_beginning_and_forgotten_long_after() {
    let mut world = world();
    for hour in [5, 1, 3, 3] {
        world.done(put_maintenance("north", hour));
    }
    let hours = |world: &World| -> Vec<i64> {
        let station = ground::station(&world.tables, &parse("north"))
            .unwrap()
            .expect("it is there");
        let from = station
            .maintenance
            .iter()
            .map(|one| one.from.unix_ms() - START_MS);
        from.map(|ms| ms / 3_600_000).collect()
    };
    assert_eq!(hours(&world), [1, 3, 5]);
    let removal = RemoveMaintenance {
        station: parse("north"),
        from: put_maintenance("north", 3).maintenance.from,
    };
    world.done(removal.clone());
    assert!(matches!(
        world.refused(removal),
        Refusal::NoSuchMaintenance { .. }
    ));
    world.now = world.now.plus(MAINTENANCE_KEPT + Duration::from_secs(3 * 3_600));
    world.done(put_maintenance("north", 1_000));
    assert_eq!(hours(&world), [5, 1_000]);
    world.done(RemoveStation {
        station: parse("north"),
    });
    assert!(matches!(
        world.refused(put_maintenance("north", 1)),
        Refusal::NoSuchItem {
            item: Item::Station,
            ..
        }
    ));
}

#[test]
fn a_maintenance_that_ends_before_it_begins_is_refused() {
    let mut put = put_maintenance("north", 1);
    put.maintenance.to = put.maintenance.from;
    assert!(matches!(
        world().refused(put),
        Refusal::MaintenanceNeverValid { .. }
    ));
}

#[test]
fn antennas_and_links_have_names_of_their_own() {
    let mut station = put_station("north");
    let antennas = station.antennas.as_mut().expect("the sample has one");
    antennas.push(antennas[0].clone());
    let refusal = world().refused(station);
    assert_eq!(
        refusal.to_string(),
        "the antenna 'dish' is given twice; give each a name of its own"
    );
    let mut satellite = put_satellite("NOAA 19");
    let links = satellite.links.as_mut().expect("the sample has some");
    links.push(links[0].clone());
    assert!(matches!(
        world().refused(satellite),
        Refusal::NamedTwice { what: Part::Link, .. }
    ));
}

#[test]
fn what_is_done_is_audited_and_a_refresh_that_brings_nothing_is_not() {
    let mut world = world();
    world.done(refresh([("NOAA 19", 2)]));
    world.done(refresh([("NOAA 19", 2), ("TERRA", 2)]));
    let actions: Vec<_> = query::audit(&world.tables, None, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|(_, record)| record.action)
        .collect();
    assert_eq!(
        actions[1..],
        [
            AuditAction::PutMission,
            AuditAction::PutSatellite,
            AuditAction::PutStation,
            AuditAction::RefreshElements
        ]
    );
}
