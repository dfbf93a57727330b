//! What every implementation of [`Tables`] must do, as one suite that each of them runs in its tests.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::{MemoryTables, ReadTables, Row, Table, Tables};

/// Runs the suite. `make` gives empty tables each time it is called.
///
/// # Panics
/// When the implementation breaks the contract; the message names the rule.
pub fn check_contract<T: Tables>(make: impl Fn() -> T) {
    what_was_put_is_read_back(make());
    what_was_deleted_is_gone(make());
    tables_do_not_share_keys(make());
    ranges_are_ordered_by_bytes(make());
    ranges_respect_their_bounds_and_limit(make());
    bounds_that_exclude_everything_give_nothing(make());
    any_sequence_of_operations_agrees_with_memory(make());
}

fn put<T: Tables>(tables: &mut T, table: Table, key: &[u8], value: &[u8]) {
    tables.put(table, key, value).expect("put works");
}

fn get<T: ReadTables>(tables: &T, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    tables.get(table, key).expect("get works")
}

fn keys(rows: Vec<Row>) -> Vec<Vec<u8>> {
    rows.into_iter().map(|(key, _)| key).collect()
}

fn what_was_put_is_read_back<T: Tables>(mut tables: T) {
    assert_eq!(
        get(&tables, Table::Caches, b"main"),
        None,
        "empty tables have no rows"
    );
    put(&mut tables, Table::Caches, b"main", b"one");
    assert_eq!(
        get(&tables, Table::Caches, b"main").as_deref(),
        Some(&b"one"[..]),
        "a put is visible at once"
    );
    put(&mut tables, Table::Caches, b"main", b"two, longer");
    assert_eq!(
        get(&tables, Table::Caches, b"main").as_deref(),
        Some(&b"two, longer"[..]),
        "a put replaces"
    );
    put(&mut tables, Table::Caches, b"main", b"");
    assert_eq!(
        get(&tables, Table::Caches, b"main").as_deref(),
        Some(&b""[..]),
        "an empty value is a value"
    );
    let large = vec![7; 100_000];
    put(&mut tables, Table::Caches, b"large", &large);
    assert_eq!(
        get(&tables, Table::Caches, b"large"),
        Some(large),
        "values of 100 kB are kept whole"
    );
}

fn what_was_deleted_is_gone<T: Tables>(mut tables: T) {
    put(&mut tables, Table::Nars, b"a", b"1");
    put(&mut tables, Table::Nars, b"ab", b"2");
    tables.delete(Table::Nars, b"a").expect("delete works");
    assert_eq!(get(&tables, Table::Nars, b"a"), None, "a deleted row is gone");
    assert_eq!(
        get(&tables, Table::Nars, b"ab").as_deref(),
        Some(&b"2"[..]),
        "a delete is not a prefix delete"
    );
    tables
        .delete(Table::Nars, b"a")
        .expect("deleting an absent key is no error");
    put(&mut tables, Table::Nars, b"a", b"3");
    assert_eq!(
        get(&tables, Table::Nars, b"a").as_deref(),
        Some(&b"3"[..]),
        "a deleted key can be put again"
    );
}

fn tables_do_not_share_keys<T: Tables>(mut tables: T) {
    for table in Table::ALL {
        put(&mut tables, table, b"key", &[table.number()]);
    }
    for table in Table::ALL {
        assert_eq!(
            get(&tables, table, b"key"),
            Some(vec![table.number()]),
            "{table} has a row of its own"
        );
        let rows = tables
            .range(table, Unbounded, Unbounded, 10)
            .expect("range works");
        assert_eq!(
            rows,
            [(b"key".to_vec(), vec![table.number()])],
            "{table} has no row of another table"
        );
    }
}

fn ranges_are_ordered_by_bytes<T: Tables>(mut tables: T) {
    let ordered: [&[u8]; 7] = [b"\x00", b"\x00\x00", b"\x01", b"A", b"a", b"aa", b"\xff"];
    for key in ordered.iter().rev() {
        put(&mut tables, Table::Paths, key, b"");
    }
    let rows = tables
        .range(Table::Paths, Unbounded, Unbounded, 100)
        .expect("range works");
    assert_eq!(keys(rows), ordered, "keys are ordered as bytes, shorter first");
}

fn ranges_respect_their_bounds_and_limit<T: Tables>(mut tables: T) {
    for key in [b"b", b"d", b"f"] {
        put(&mut tables, Table::Tokens, key, key);
    }
    let range = |start, end, limit| {
        keys(
            tables
                .range(Table::Tokens, start, end, limit)
                .expect("range works"),
        )
    };
    assert_eq!(
        range(Included(b"b"), Included(b"f"), 10),
        [b"b", b"d", b"f"],
        "included bounds are in"
    );
    assert_eq!(
        range(Excluded(b"b"), Excluded(b"f"), 10),
        [b"d"],
        "excluded bounds are out"
    );
    assert_eq!(
        range(Included(b"c"), Unbounded, 10),
        [b"d", b"f"],
        "a bound need not be a key"
    );
    assert_eq!(
        range(Unbounded, Excluded(b"d"), 10),
        [b"b"],
        "an open start begins at the first key"
    );
    assert_eq!(
        range(Included(b"d"), Included(b"d"), 10),
        [b"d"],
        "a range may hold one key"
    );
    assert_eq!(
        range(Unbounded, Unbounded, 2),
        [b"b", b"d"],
        "the limit keeps the first rows"
    );
    assert!(
        range(Unbounded, Unbounded, 0).is_empty(),
        "a limit of zero gives nothing"
    );
    assert_eq!(
        range(Unbounded, Unbounded, usize::MAX).len(),
        3,
        "there need not be a limit"
    );
}

fn bounds_that_exclude_everything_give_nothing<T: Tables>(mut tables: T) {
    for key in [b"b", b"d"] {
        put(&mut tables, Table::Audit, key, key);
    }
    let range = |start, end| tables.range(Table::Audit, start, end, 10).expect("range works");
    assert!(
        range(Included(b"d"), Included(b"b")).is_empty(),
        "an end before the start leaves nothing"
    );
    assert!(
        range(Excluded(b"b"), Excluded(b"b")).is_empty(),
        "no key lies between a key and itself"
    );
    assert!(
        range(Included(b"b"), Excluded(b"b")).is_empty(),
        "an excluded end wins over an included start"
    );
    assert!(
        range(Excluded(b"b"), Included(b"b")).is_empty(),
        "an excluded start wins over an included end"
    );
    assert!(
        range(Excluded(b"d"), Unbounded).is_empty(),
        "nothing follows the last key"
    );
}

fn any_sequence_of_operations_agrees_with_memory<T: Tables>(mut tables: T) {
    // A fixed xorshift sequence: the suite must say the same wherever it runs.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let mut model = MemoryTables::new();
    for step in 0..2_000_u64 {
        let table = Table::ALL[usize::try_from(draw(3)).expect("a number below three is a usize")];
        let key = (draw(40) * 7).to_be_bytes();
        let key = &key[usize::try_from(draw(8)).expect("a number below eight is a usize")..];
        if draw(3) == 0 {
            model.delete(table, key).expect("memory never fails");
            tables.delete(table, key).expect("delete works");
        } else {
            model
                .put(table, key, &step.to_le_bytes())
                .expect("memory never fails");
            put(&mut tables, table, key, &step.to_le_bytes());
        }
    }
    for table in Table::ALL {
        let expected = model
            .range(table, Unbounded, Unbounded, usize::MAX)
            .expect("memory never fails");
        let found = tables
            .range(table, Unbounded, Unbounded, usize::MAX)
            .expect("range works");
        assert_eq!(
            found, expected,
            "after 2,000 operations {table} holds what memory holds"
        );
    }
}
