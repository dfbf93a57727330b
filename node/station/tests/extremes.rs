//! Satellites that never set, never rise, come down, or are cut by the window.

use tetryx_station::elements::read_one;
use tetryx_station::frames::EarthRotation;
use tetryx_station::mask::HorizonMask;
use tetryx_station::passes::{Network, Observer, Pass, Window, passes};
use tetryx_station::propagator::{PropagationError, Propagator};
use tetryx_station::site::Site;
use tetryx_station::units::Elevation;

fn propagator(motion: f64, eccentricity: f64, inclination: f64, bstar: f64) -> Propagator {
    let text = format!(
        "{{\"NORAD_CAT_ID\": 1, \"EPOCH\": \"2026-03-01T00:00:00\", \"MEAN_MOTION\": {motion}, \"ECCENTRICITY\": \
         {eccentricity}, \"INCLINATION\": {inclination}, \"RA_OF_ASC_NODE\": 160, \"ARG_OF_PERICENTER\": 0, \
         \"MEAN_ANOMALY\": 0, \"BSTAR\": {bstar}}}"
    );
    Propagator::new(&read_one(&text).unwrap()).unwrap()
}

fn observer(latitude: f64, longitude: f64) -> Observer {
    Observer {
        site: Site::new(latitude, longitude, 0.0).unwrap(),
        mask: HorizonMask::flat(Elevation::from_degrees(5.0).unwrap()),
    }
}

fn window(propagator: &Propagator, hours: f64) -> Window {
    Window::new(propagator.epoch(), hours, EarthRotation::default()).unwrap()
}

fn is_cut(pass: &Pass) -> (bool, bool) {
    (pass.aos.is_none(), pass.los.is_none())
}

#[test]
fn a_geostationary_satellite_is_up_all_the_time_or_never() {
    let propagator = propagator(1.0027, 0.0001, 0.05, 0.0);
    let window = window(&propagator, 240.0);
    let found: Vec<_> = (0..12)
        .map(|step| {
            passes(
                &propagator,
                &observer(10.0, f64::from(step) * 30.0 - 180.0),
                &window,
            )
        })
        .collect();
    let always = found
        .iter()
        .filter(|found| found.len() == 1 && is_cut(&found[0]) == (true, true))
        .count();
    let never = found.iter().filter(|found| found.is_empty()).count();
    assert_eq!(
        (always + never, always >= 4, never >= 4),
        (12, true, true),
        "{always} {never}"
    );
}

#[test]
fn nothing_is_told_of_a_satellite_after_it_came_down() {
    let propagator = propagator(16.4, 0.001, 51.6, 0.02);
    let window = window(&propagator, 96.0);
    let at = |hours: f64| propagator.state(window.start().plus_seconds(hours * 3600.0));
    assert!(at(0.0).is_ok() && at(96.0).is_err());
    let end = (0..96 * 60)
        .map(|minute| f64::from(minute) / 60.0)
        .find(|hours| at(*hours).is_err())
        .unwrap();
    let network = Network::new(
        (0..20)
            .map(|step| observer(f64::from(step) * 5.0 - 50.0, 20.0))
            .collect(),
    );
    let found = network.passes_of(&propagator, &window);
    assert!(!found.is_empty());
    for (_, pass) in found {
        assert!(pass.tca.time.seconds_since(window.start()) <= end * 3600.0);
        assert!(
            pass.los
                .is_none_or(|sight| sight.time.seconds_since(window.start()) <= end * 3600.0)
        );
    }
}

#[test]
fn a_satellite_below_the_ground_has_no_state_and_no_passes() {
    let propagator = propagator(3.0, 0.7, 10.0, 0.0);
    assert_eq!(
        propagator.state(propagator.epoch()),
        Err(PropagationError::Decayed)
    );
    assert!(passes(&propagator, &observer(0.0, 0.0), &window(&propagator, 24.0)).is_empty());
}

#[test]
fn windows_side_by_side_have_the_passes_of_the_whole() {
    let propagator = propagator(15.2, 0.001, 97.5, 0.0001);
    let observer = observer(60.0, 10.0);
    let whole = passes(&propagator, &observer, &window(&propagator, 24.0));
    let mut seconds = 0.0;
    for part in 0..240 {
        let start = propagator.epoch().plus_seconds(f64::from(part) * 360.0);
        let part = Window::new(start, 0.1, EarthRotation::default()).unwrap();
        seconds += passes(&propagator, &observer, &part)
            .iter()
            .map(|pass| pass.seconds)
            .sum::<f64>();
    }
    let expected = whole.iter().map(|pass| pass.seconds).sum::<f64>();
    assert!(
        whole.len() > 5 && (seconds - expected).abs() < 1e-3,
        "{seconds} {expected}"
    );
}

#[test]
fn many_satellites_have_the_passes_of_each() {
    let satellites: Vec<_> = (0..9)
        .map(|step| propagator(14.0 + f64::from(step) * 0.1, 0.001, 80.0, 0.0))
        .collect();
    let network = Network::new(vec![observer(60.0, 10.0), observer(-30.0, 100.0)]);
    let window = window(&satellites[0], 12.0);
    let mut next = 0;
    network.passes(&satellites, &window, |target| {
        assert_eq!(target.satellite, next);
        for (index, observer) in network.observers().iter().enumerate() {
            let alone = passes(&satellites[next], observer, &window);
            let among: Vec<_> = target
                .passes
                .iter()
                .filter(|(at, _)| *at == index)
                .map(|(_, pass)| *pass)
                .collect();
            assert_eq!(among, alone);
        }
        next += 1;
    });
    assert_eq!(next, 9);
}
