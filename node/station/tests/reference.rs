//! Every pass of the reference set, to its tolerances. Where the set comes from: `reference/README.md`.

use serde::Deserialize;
use tetryx_station::elements;
use tetryx_station::frames::EarthRotation;
use tetryx_station::mask::HorizonMask;
use tetryx_station::passes::{Observer, Pass, Window, passes};
use tetryx_station::propagator::Propagator;
use tetryx_station::site::Site;
use tetryx_station::time::SkyTime;
use tetryx_station::units::Elevation;

#[derive(Deserialize)]
struct Reference {
    stations: Vec<Station>,
    satellites: Vec<Satellite>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Station {
    name: String,
    lat_deg: f64,
    lon_deg: f64,
    alt_m: f64,
}

#[derive(Deserialize)]
struct Satellite {
    cls: String,
    name: String,
    l1: String,
    l2: String,
    window_start: SkyTimeText,
    window_s: f64,
    dut1_s: f64,
    passes: Vec<Expected>,
}

type SkyTimeText = String;

#[derive(Deserialize)]
struct Expected {
    station: String,
    mask_deg: f64,
    aos_s: Option<f64>,
    los_s: Option<f64>,
    tca_s: f64,
    max_el_deg: f64,
    tca_interior: bool,
    n_local_maxima: u32,
    aos_az_deg: Option<f64>,
    los_az_deg: Option<f64>,
}

#[derive(Deserialize)]
struct Sample {
    sat: String,
    station: String,
    t_s: f64,
    az_deg: f64,
    el_deg: f64,
    range_km: f64,
    range_rate_km_s: f64,
    teme_r_km: [f64; 3],
    teme_v_km_s: [f64; 3],
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("reference/passes.json")).unwrap()
}

impl Reference {
    fn site(&self, name: &str) -> Site {
        let station = self.stations.iter().find(|station| station.name == name).unwrap();
        Site::new(station.lat_deg, station.lon_deg, station.alt_m).unwrap()
    }
}

impl Satellite {
    fn propagator(&self) -> Propagator {
        let text = format!("{}\n{}\n{}\n", self.name, self.l1, self.l2);
        Propagator::new(&elements::read_one(&text).unwrap()).unwrap()
    }

    fn start(&self) -> SkyTime {
        self.window_start.parse().unwrap()
    }

    fn earth(&self) -> EarthRotation {
        EarthRotation::with_dut1_s(self.dut1_s).unwrap()
    }

    fn window(&self) -> Window {
        Window::new(self.start(), self.window_s / 3600.0, self.earth()).unwrap()
    }

    fn is_low(&self) -> bool {
        self.cls.starts_with("leo")
    }
}

fn apart(a: f64, b: f64) -> f64 {
    ((a - b + 180.0).rem_euclid(360.0) - 180.0).abs()
}

struct Case<'a> {
    satellite: &'a Satellite,
    propagator: Propagator,
    site: Site,
    mask_deg: f64,
}

impl Case<'_> {
    fn seconds(&self, time: SkyTime) -> f64 {
        time.seconds_since(self.satellite.start())
    }

    /// Degrees, as SGP4 itself has it, without interpolation.
    fn elevation(&self, at: SkyTime) -> f64 {
        let state = self.propagator.state(at).unwrap();
        self.site
            .direction(&self.satellite.earth().earth_fixed(at, &state))
            .elevation
            .degrees()
    }

    /// Every way in which a pass differs from the reference by more than is allowed.
    fn compare(&self, found: &Pass, expected: &Expected) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |what: &str, off: f64, limit: f64| {
            if off.is_nan() || off > limit {
                wrong.push(format!("{what} is off by {off:e}, more than {limit:e}"));
            }
        };
        let grazing = expected.max_el_deg < self.mask_deg + 2.0;
        // Where the elevation hardly changes, a millionth of a degree is worth many milliseconds.
        let lingers = |at: SkyTime| {
            let rise = self.elevation(at.plus_seconds(1.0)) - self.elevation(at.plus_seconds(-1.0));
            rise.abs() / 2.0 < 2e-4
        };
        let limit = if self.satellite.is_low() { 0.002 } else { 0.020 };
        for (what, found, expected, azimuth) in [
            ("AOS", found.aos, expected.aos_s, expected.aos_az_deg),
            ("LOS", found.los, expected.los_s, expected.los_az_deg),
        ] {
            let (Some(found), Some(expected)) = (found, expected) else {
                check(what, f64::from(found.is_some() != expected.is_some()), 0.0);
                continue;
            };
            if !grazing && !lingers(found.time) {
                check(what, (self.seconds(found.time) - expected).abs(), limit);
                let across = apart(found.direction.azimuth.degrees(), azimuth.unwrap());
                check(&format!("azimuth at {what}"), across, 1e-3);
            }
            let exact = self.elevation(found.time);
            check(
                &format!("elevation at {what}"),
                (exact - self.mask_deg).abs(),
                1e-4,
            );
        }
        // The reference has the highest of its own looks, which is a little low for one that stays up all the time.
        let highest = found.tca.direction.elevation.degrees();
        check("elevation at TCA", expected.max_el_deg - highest, 1e-4);
        check(
            "elevation at the reported TCA",
            (self.elevation(found.tca.time) - highest).abs(),
            1e-4,
        );
        if !(found.aos.is_none() && found.los.is_none()) {
            check("elevation at TCA", (expected.max_el_deg - highest).abs(), 1e-4);
        }
        // Twenty milliseconds around a culmination the elevation is the same to a hundred-millionth of a degree.
        if self.satellite.is_low() && expected.tca_interior {
            check(
                "TCA",
                (self.seconds(found.tca.time) - expected.tca_s).abs(),
                0.020,
            );
        }
        check(
            "culminations",
            f64::from(found.culminations.abs_diff(expected.n_local_maxima)),
            0.0,
        );
        wrong
    }
}

#[test]
fn every_pass_of_the_reference_is_found_and_none_is_invented() {
    let reference = reference();
    let mut wrong = Vec::new();
    let mut count = 0;
    for satellite in &reference.satellites {
        for station in &reference.stations {
            for mask_deg in [0.0, 5.0] {
                let case = Case {
                    satellite,
                    propagator: satellite.propagator(),
                    site: reference.site(&station.name),
                    mask_deg,
                };
                let expected: Vec<_> = satellite
                    .passes
                    .iter()
                    .filter(|pass| pass.station == station.name && pass.mask_deg == mask_deg)
                    .collect();
                let mask = HorizonMask::flat(Elevation::from_degrees(mask_deg).unwrap());
                let observer = Observer {
                    site: case.site,
                    mask,
                };
                let found = passes(&case.propagator, &observer, &satellite.window());
                let name = format!("{} over {} at {mask_deg}", satellite.name, station.name);
                if found.len() != expected.len() {
                    wrong.push(format!(
                        "{name}: {} passes instead of {}",
                        found.len(),
                        expected.len()
                    ));
                    continue;
                }
                count += found.len();
                for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let problems = case.compare(found, expected);
                    wrong.extend(
                        problems
                            .into_iter()
                            .map(|what| format!("{name}, pass {index}: {what}")),
                    );
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(count, 901);
}

#[test]
fn every_sample_of_the_reference_agrees() {
    let reference = reference();
    for sample in &reference.samples {
        let satellite = reference
            .satellites
            .iter()
            .find(|satellite| {
                satellite.l1[2..7].trim().trim_start_matches('0') == sample.sat.trim_start_matches('0')
            })
            .unwrap_or_else(|| panic!("{} is in the reference", sample.sat));
        let at = satellite.start().plus_seconds(sample.t_s);
        let teme = satellite.propagator().state(at).unwrap();
        for axis in 0..3 {
            assert!((teme.position_km[axis] - sample.teme_r_km[axis]).abs() < 1e-5);
            assert!((teme.velocity_km_s[axis] - sample.teme_v_km_s[axis]).abs() < 1e-8);
        }
        let found = reference
            .site(&sample.station)
            .direction(&satellite.earth().earth_fixed(at, &teme));
        let across = apart(found.azimuth.degrees(), sample.az_deg) * sample.el_deg.to_radians().cos();
        assert!(across < 1e-5, "azimuth off by {across} degrees");
        assert!((found.elevation.degrees() - sample.el_deg).abs() < 1e-5);
        assert!((found.range.get() - sample.range_km).abs() < 1e-3);
        assert!((found.range_rate.get() - sample.range_rate_km_s).abs() < 1e-6);
    }
    assert_eq!(reference.samples.len(), 10);
}
