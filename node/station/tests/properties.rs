//! No pass is missed and none is invented, on random elements and sites, beside SGP4 itself looked at every few seconds.

use proptest::prelude::*;
use tetryx_station::elements::{Elements, read_one};
use tetryx_station::frames::EarthRotation;
use tetryx_station::mask::HorizonMask;
use tetryx_station::passes::{Observer, Pass, Window, passes};
use tetryx_station::propagator::Propagator;
use tetryx_station::site::Site;
use tetryx_station::units::{Azimuth, Elevation};

/// Seconds between looks.
const STEP_S: f64 = 5.0;
/// So close to the mask, in degrees, a look at intervals cannot tell a pass from none.
const GRAZING_DEG: f64 = 0.05;

fn orbit() -> impl Strategy<Value = Elements> {
    // Revolutions a day and eccentricity: low and round, low and not so round, navigation, synchronous, transfer,
    // Molniya. All stay above the ground.
    let shapes = prop_oneof![
        (12.0..15.5, 0.0..0.01),
        (8.0..12.0, 0.0..0.15),
        (1.8..2.4, 0.0..0.05),
        (0.9..1.1, 0.0..0.1),
        (2.1..4.0, 0.5..0.7),
        (1.9..2.1, 0.6..0.73),
    ];
    let angle = || 0.0..360.0_f64;
    (shapes, 0.0..180.0_f64, angle(), angle(), angle()).prop_map(
        |((motion, eccentricity), inclination, node, pericenter, anomaly)| {
            read_one(&format!(
                "{{\"NORAD_CAT_ID\": 100001, \"EPOCH\": \"2026-03-01T00:00:00\", \"MEAN_MOTION\": {motion}, \
                 \"ECCENTRICITY\": {eccentricity}, \"INCLINATION\": {inclination}, \"RA_OF_ASC_NODE\": {node}, \
                 \"ARG_OF_PERICENTER\": {pericenter}, \"MEAN_ANOMALY\": {anomaly}, \"BSTAR\": 0.00001}}"
            ))
            .expect("a valid orbit")
        },
    )
}

fn site() -> impl Strategy<Value = Site> {
    (-90.0..90.0_f64, -180.0..180.0_f64, -400.0..5_000.0_f64).prop_map(|(latitude, longitude, altitude)| {
        Site::new(latitude, longitude, altitude).expect("on the Earth")
    })
}

fn hilly() -> impl Strategy<Value = HorizonMask> {
    prop::collection::btree_map(0_u32..360, 0.0..30.0_f64, 2..8).prop_map(|points| {
        let points = points.into_iter().map(|(azimuth, elevation)| {
            (
                Azimuth::from_degrees(f64::from(azimuth)).expect("finite"),
                Elevation::from_degrees(elevation).expect("in range"),
            )
        });
        HorizonMask::new(points).expect("azimuths differ")
    })
}

struct Sky {
    propagator: Propagator,
    observer: Observer,
    window: Window,
}

impl Sky {
    /// Degrees over the mask, as SGP4 has it.
    fn over(&self, seconds: f64) -> Option<f64> {
        let at = self.window.start().plus_seconds(seconds);
        let state = self.propagator.state(at).ok()?;
        let seen = self
            .observer
            .site
            .direction(&self.window.earth().earth_fixed(at, &state));
        Some(seen.elevation.degrees() - self.observer.mask.elevation_deg_min(seen.azimuth.degrees()))
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let found = passes(&self.propagator, &self.observer, &self.window);
        let since = |pass: &Pass| {
            let aos = pass
                .aos
                .map_or(0.0, |sight| sight.time.seconds_since(self.window.start()));
            (aos, aos + pass.seconds)
        };
        for pair in found.windows(2) {
            prop_assert!(since(&pair[0]).1 <= since(&pair[1]).0, "passes overlap");
        }
        for pass in &found {
            for edge in [pass.aos, pass.los].into_iter().flatten() {
                let over = self.over(edge.time.seconds_since(self.window.start()));
                prop_assert!(
                    over.is_some_and(|over| over.abs() < 1e-4),
                    "an edge is {over:?} over the mask"
                );
            }
        }
        let mut seconds = 0.0;
        while seconds <= self.window.seconds() {
            let Some(over) = self.over(seconds) else { break };
            let inside = found.iter().any(|pass| {
                let (begin, end) = since(pass);
                (begin..=end).contains(&seconds)
            });
            prop_assert!(
                inside == (over >= 0.0) || over.abs() < GRAZING_DEG,
                "{seconds} s: {over} degrees over the mask, but inside a pass: {inside}"
            );
            seconds += STEP_S;
        }
        Ok(())
    }
}

fn sky(elements: &Elements, site: Site, mask: HorizonMask, hours: f64) -> Sky {
    Sky {
        propagator: Propagator::new(elements).expect("valid elements"),
        observer: Observer { site, mask },
        window: Window::new(
            elements.epoch.plus_seconds(3_000.0),
            hours,
            EarthRotation::default(),
        )
        .expect("a window"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_pass_is_missed_and_none_is_invented(
        elements in orbit(), site in site(), mask in -2.0..40.0_f64, hours in 0.5..30.0_f64,
    ) {
        let mask = HorizonMask::flat(Elevation::from_degrees(mask).expect("in range"));
        sky(&elements, site, mask, hours).check()?;
    }

    #[test]
    fn no_pass_over_hills_is_missed_and_none_is_invented(
        elements in orbit(), site in site(), mask in hilly(), hours in 0.5..30.0_f64,
    ) {
        sky(&elements, site, mask, hours).check()?;
    }
}
