//! The measurement of many stations, with a few: everything reaches everybody, also those who were away.

use rand::SeedableRng;
use rand::rngs::StdRng;
use tetryx_simulations::scale::{Scale, measure};

fn seed_process(seed: u64) {
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(seed));
}

#[test]
fn presences_commits_and_copies_reach_all_of_twelve_stations() {
    // Given a cluster of which a third is by satellite
    let scale = Scale::new(12, 1);

    // When it is measured
    let mut told = Vec::new();
    let findings = measure(scale, &mut |what| told.push(what.to_owned()), seed_process);
    let findings = findings.unwrap_or_else(|why| panic!("{why}\n{told:#?}"));

    // Then every curve comes to one, and is drawn
    let table = findings.table();
    assert!(findings.is_whole(), "{table}\n{told:#?}");
    let folder = tempfile::tempdir().expect("a folder");
    findings.draw(folder.path()).expect("pictures");
    for file in ["scale-gossip.svg", "scale-log.svg", "scale-data.svg"] {
        let picture = std::fs::read_to_string(folder.path().join(file)).expect("a picture");
        assert!(picture.contains("after a third was away"), "{file}: {picture}");
    }
    println!("{table}");
}
