//! Every invariant about what is registered, broken on purpose.

use std::ops::Bound;

use tetryx_protocol::time::UtcTime;
use tetryx_state::records::{Record, StationRecord};
use tetryx_state::{ReadTables, Table, Tables, check, ground};

use crate::fixture::{START_MS, World, node, parse};
use crate::ground::{put_maintenance, world};

/// The names of what the check finds in a sound state that is broken so.
fn broken(break_it: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = world();
    break_it(&mut world);
    let names = check(&world.tables).into_iter().map(|violation| {
        let debug = format!("{violation:?}");
        debug.split([' ', '(']).next().expect("a name").to_owned()
    });
    names.collect()
}

#[test]
fn every_invariant_about_what_is_registered_is_checked() {
    let change_station = |world: &mut World, change: &dyn Fn(&mut StationRecord)| {
        let mut record = ground::station(&world.tables, &parse("north"))
            .unwrap()
            .expect("it is there");
        change(&mut record);
        world
            .tables
            .put(Table::Stations, b"north", &record.encode())
            .unwrap();
    };
    let found = broken(|world| world.tables.delete(Table::Missions, b"lander").unwrap());
    assert_eq!(found, ["BadSatellite"]);
    let found = broken(|world| world.tables.delete(Table::Satellites, b"NOAA 19").unwrap());
    assert_eq!(found, ["ElementsOfNobody"]);
    let found = broken(|world| {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let rows = world.tables.range(Table::Elements, all.0, all.1, 1).unwrap();
        world.tables.delete(Table::Elements, &rows[0].0).unwrap();
    });
    assert_eq!(found, ["BadSatellite"]);
    let found = broken(|world| change_station(world, &|record| record.node = Some(node(9))));
    assert_eq!(found, ["BadStation"]);
    let found = broken(|world| {
        change_station(world, &|record| record.antennas.push(record.antennas[0].clone()));
    });
    assert_eq!(found, ["BadStation"]);
    let found = broken(|world| {
        change_station(world, &|record| {
            record.maintenance = [2, 1]
                .map(|hour| put_maintenance("north", hour).maintenance)
                .into();
        });
    });
    assert_eq!(found, ["BadStation"]);
    let found = broken(|world| {
        change_station(world, &|record| {
            record.created = UtcTime::from_unix_ms(START_MS + 1)
        });
    });
    assert_eq!(found, ["AheadOfClock"]);
    let found = broken(|world| world.tables.put(Table::Elements, b"no end", b"\x01").unwrap());
    assert_eq!(found, ["Corrupt"]);
}
