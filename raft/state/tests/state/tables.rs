//! The tables in memory, against the contract of all tables.

use tetryx_state::tables::contract::check_contract;
use tetryx_state::{MemoryTables, Table};

#[test]
fn tables_in_memory_keep_the_contract() {
    check_contract(MemoryTables::new);
}

#[test]
fn the_number_of_a_table_stands_for_it_alone() {
    for table in Table::ALL {
        assert_eq!(Table::from_number(table.number()), Some(table));
        assert_eq!(
            Table::ALL
                .iter()
                .filter(|other| other.name() == table.name())
                .count(),
            1
        );
    }
    assert_eq!(Table::from_number(0), None);
    assert!(
        Table::ALL.is_sorted_by_key(|table| table.number()),
        "snapshots are in the order of the numbers"
    );
}
