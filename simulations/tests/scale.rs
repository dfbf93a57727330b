//! The measurement of many stations, with a few: everything reaches everybody, also those who were away.

use std::process::Command;

#[test]
fn presences_commits_and_copies_reach_all_of_twelve_stations() {
    // Given a cluster of which a third is by satellite
    let folder = tempfile::tempdir().expect("a folder");

    // When it is measured, in a process of its own: its wall clock stands still
    let measured = Command::new(env!("CARGO_BIN_EXE_tetryx-simulations"))
        .args(["scale", "--stations", "12", "--seed", "1", "--out"])
        .arg(folder.path())
        .output()
        .expect("the program runs");

    // Then every curve comes to one, and is drawn
    assert!(measured.status.success(), "{measured:?}");
    for file in ["scale-gossip.svg", "scale-log.svg", "scale-data.svg"] {
        let picture = std::fs::read_to_string(folder.path().join(file)).expect("a picture");
        assert!(picture.contains("after a third was away"), "{file}: {picture}");
    }
}
