//! The state as rows.

use tetryx_state::snapshot::{TableRow, clear, dump, restore};
use tetryx_state::{MemoryTables, Table, Tables, query};

use crate::fixture::{World, create_cache, new_path, register_token};

fn world() -> World {
    let mut world = World::with_cache();
    world.publish((0..300).map(|number| new_path(&format!("path-{number}"), &[])));
    world.done(register_token(1));
    world
}

fn rows(tables: &MemoryTables) -> Vec<TableRow> {
    dump(tables).collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_restored_state_is_the_state_that_was_dumped() {
    let world = world();
    let mut other = World::with_cache();
    other.publish([new_path("of-no-importance", &[])]);
    let rows = rows(&world.tables);
    assert_eq!(
        restore(&mut other.tables, rows.clone()).unwrap(),
        u64::try_from(rows.len()).unwrap()
    );
    assert_eq!(other.tables, world.tables);
}

#[test]
fn a_dump_is_in_the_order_of_tables_and_keys() {
    let rows = rows(&world().tables);
    let keys: Vec<_> = rows.iter().map(|(table, key, _)| (table.number(), key)).collect();
    assert!(keys.is_sorted_by(|one, next| one < next));
}

#[test]
fn a_cleared_state_is_empty() {
    let mut world = world();
    clear(&mut world.tables).unwrap();
    assert_eq!(world.tables, MemoryTables::new());
}

#[test]
fn equal_states_have_equal_hashes_and_other_states_others() {
    let (one, mut two) = (world(), world());
    let hash = query::state_hash(&one.tables).unwrap();
    assert_eq!(query::state_hash(&two.tables).unwrap(), hash);
    two.done(create_cache("another"));
    assert_ne!(query::state_hash(&two.tables).unwrap(), hash);
}

#[test]
fn the_hash_tells_apart_where_a_byte_is() {
    let hash_of = |table, key: &[u8], value: &[u8]| {
        let mut tables = MemoryTables::new();
        tables.put(table, key, value).unwrap();
        query::state_hash(&tables).unwrap()
    };
    let hash = hash_of(Table::Caches, b"ab", b"c");
    assert_ne!(hash_of(Table::Caches, b"a", b"bc"), hash);
    assert_ne!(hash_of(Table::Nars, b"ab", b"c"), hash);
}
