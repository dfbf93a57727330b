//! `docs/operations.md` is true as far as a machine can tell.

use std::collections::BTreeSet;

use tetryx_node::config;

const OPERATIONS: &str = include_str!("../../docs/operations.md");

#[test]
fn the_operations_guide_lists_every_key_with_its_default() {
    // Given the keys of the generated file, section by section
    let mut section = String::new();
    for line in config::generated().lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let Some((key, value)) = line.trim_start_matches("# ").split_once(" = ") else {
            continue;
        };
        // Then each has its line in the guide
        let row = format!("| `{section}{key}` |");
        let row = OPERATIONS
            .lines()
            .find(|line| line.starts_with(&row))
            .unwrap_or_else(|| panic!("{row} is missing"));
        if !line.starts_with('#') {
            let default = value.trim_matches('"');
            assert!(row.contains(default), "{row} does not say {default}");
        }
    }
}

#[test]
fn the_operations_guide_lists_no_key_that_is_not() {
    let generated = config::generated();
    let listed = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(key, _)| key));
    let sections = BTreeSet::from([
        "http",
        "limits",
        "uploads",
        "store",
        "gc",
        "p2p",
        "replication",
        "raft",
        "log",
    ]);
    for key in listed.filter(|key| {
        key.split_once('.')
            .is_some_and(|(section, _)| sections.contains(section))
    }) {
        let name = key.rsplit('.').next().unwrap();
        assert!(
            generated
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = "))),
            "{key}"
        );
    }
}
