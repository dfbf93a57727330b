//! The SGP4 verification set, to the metre. Where it comes from: `reference/README.md`.

use tetryx_station::elements;
use tetryx_station::propagator::Propagator;

struct Case {
    elements: String,
    states: Vec<[f64; 7]>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut lines = include_str!("reference/sgp4-ver.txt").lines();
    while let Some(line) = lines.next() {
        if line.starts_with("1 ") {
            let two = lines.next().unwrap();
            cases.push(Case {
                elements: format!("{line}\n{two}\n"),
                states: Vec::new(),
            });
        } else {
            let mut words = line.split(' ').map(|word| word.parse().unwrap());
            let state = std::array::from_fn(|_| words.next().unwrap());
            cases.last_mut().unwrap().states.push(state);
        }
    }
    cases
}

#[test]
fn every_state_of_the_verification_set_agrees_to_the_metre() {
    let (mut count, mut worst) = (0, (0.0_f64, String::new()));
    for case in cases() {
        let read = elements::read_one(&case.elements).unwrap_or_else(|error| panic!("{error}"));
        let propagator = Propagator::new(&read).unwrap();
        for [minutes, x, y, z, vx, vy, vz] in case.states {
            let at = propagator.epoch().plus_seconds(minutes * 60.0);
            let Ok(state) = propagator.state(at) else {
                panic!("{} has no state at {minutes} min", read.label());
            };
            let off = |found: [f64; 3], expected: [f64; 3]| {
                (0..3)
                    .map(|i| (found[i] - expected[i]).powi(2))
                    .sum::<f64>()
                    .sqrt()
            };
            let position = off(state.position_km, [x, y, z]);
            assert!(
                position < 1e-3,
                "{} at {minutes} min: {position} km off",
                read.label()
            );
            let velocity = off(state.velocity_km_s, [vx, vy, vz]);
            assert!(
                velocity < 1e-6,
                "{} at {minutes} min: {velocity} km/s off",
                read.label()
            );
            if position > worst.0 {
                worst = (position, format!("{} at {minutes} min", read.label()));
            }
            count += 1;
        }
    }
    assert_eq!(count, 666);
    assert!(worst.0 < 1e-4, "{worst:?}");
}

#[test]
fn the_set_s_object_without_a_state_has_none_here() {
    let cases = cases();
    let broken = cases
        .iter()
        .find(|case| case.elements.starts_with("1 33334"))
        .unwrap();
    let propagator = Propagator::new(&elements::read_one(&broken.elements).unwrap()).unwrap();
    assert!(broken.states.is_empty());
    assert!(propagator.state(propagator.epoch()).is_err());
}
