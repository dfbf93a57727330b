//! From SGP4's frame to the rotating Earth.
//!
//! SGP4 answers in TEME (true equator, mean equinox of date). The Earth-fixed frame here is TEME turned about its z axis
//! by Greenwich mean sidereal time of 1982 (Aoki et al., Astronomy and Astrophysics 105, 1982; as in Vallado et al.,
//! "Revisiting Spacetrack Report #3", AIAA 2006-6753, appendix C), of UT1 = UTC + dUT1.
//!
//! # Non-goals
//! - Polar motion (at most 15 m on the ground, 5 ms of a pass): element sets are no better than a kilometre.

use std::f64::consts::TAU;

use crate::time::SkyTime;
use crate::vector::Vector;

/// How the Earth stands: the difference between its rotation and UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EarthRotation {
    dut1_s: f64,
}

impl EarthRotation {
    /// With UT1 - UTC of `dut1_s` seconds, from the IERS bulletins. Without a bulletin, zero: UTC is kept within 0.9 s
    /// of UT1, which moves a pass in low orbit by at most a fifth of a second, mostly far less.
    ///
    /// # Errors
    /// When it is not within -1 to 1.
    pub fn with_dut1_s(dut1_s: f64) -> Result<Self, crate::StationError> {
        if (-1.0..=1.0).contains(&dut1_s) {
            Ok(Self { dut1_s })
        } else {
            Err(crate::StationError::Range {
                what: "dUT1 in seconds",
                value: dut1_s,
                range: "-1 to 1",
            })
        }
    }

    /// UT1 - UTC in seconds.
    pub const fn dut1_s(self) -> f64 {
        self.dut1_s
    }

    /// Greenwich mean sidereal time of 1982 in radians, in [0, 2π).
    pub fn sidereal_angle(self, at: SkyTime) -> f64 {
        let (days, fraction) = at.ut1_days_since_j2000(self.dut1_s);
        let centuries = (days + fraction) / 36_525.0;
        // 876,600 hours a Julian century are whole turns but for the fraction of the day.
        let seconds = 67_310.548_41
            + 86_400.0 * fraction
            + centuries * (8_640_184.812_866 + centuries * (0.093_104 - centuries * 6.2e-6));
        (seconds / 86_400.0 * TAU).rem_euclid(TAU)
    }

    /// How fast that angle grows, in radians a second.
    pub fn sidereal_rate(self, at: SkyTime) -> f64 {
        let (days, fraction) = at.ut1_days_since_j2000(self.dut1_s);
        let centuries = (days + fraction) / 36_525.0;
        let seconds_a_day =
            86_400.0 + (8_640_184.812_866 + centuries * (0.186_208 - centuries * 1.86e-5)) / 36_525.0;
        seconds_a_day / 86_400.0 * TAU / 86_400.0
    }

    /// A state in TEME as the turning Earth sees it.
    pub fn earth_fixed(self, at: SkyTime, teme: &Teme) -> EarthFixed {
        let (sin, cos) = self.sidereal_angle(at).sin_cos();
        let rate = self.sidereal_rate(at);
        let turn = |v: Vector| [cos * v[0] + sin * v[1], cos * v[1] - sin * v[0], v[2]];
        let position = turn(teme.position_km);
        let inertial = turn(teme.velocity_km_s);
        EarthFixed {
            position_km: position,
            velocity_km_s: [
                inertial[0] + rate * position[1],
                inertial[1] - rate * position[0],
                inertial[2],
            ],
        }
    }
}

/// Position and velocity in the true equator, mean equinox frame of date.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Teme {
    /// Along x, y, z, in km.
    pub position_km: [f64; 3],
    /// Along x, y, z, in km/s, as SGP4 gives it: its theory's velocity, which differs from the slope of its positions
    /// by centimetres a second in low orbits and up to metres a second in eccentric ones.
    pub velocity_km_s: [f64; 3],
}

/// Position and velocity in the frame that turns with the Earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarthFixed {
    /// Along x (Greenwich), y, z (north), in km.
    pub position_km: [f64; 3],
    /// As seen from the turning Earth, in km/s.
    pub velocity_km_s: [f64; 3],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidereal_time_agrees_with_the_almanac() {
        // Meeus, Astronomical Algorithms, example 12.a: 1987-04-10 0h UT, 13h 10m 46.3668s.
        let at: SkyTime = "1987-04-10T00:00:00Z".parse().unwrap();
        let expected = (13.0 * 3600.0 + 10.0 * 60.0 + 46.3668) / 86_400.0 * TAU;
        let angle = EarthRotation::default().sidereal_angle(at);
        assert!((angle - expected).abs() < 1e-8, "{angle} {expected}");
    }

    #[test]
    fn the_rate_is_the_slope_of_the_angle() {
        let earth = EarthRotation::with_dut1_s(-0.17).unwrap();
        let at: SkyTime = "2026-03-02T12:00:00Z".parse().unwrap();
        let slope = (earth.sidereal_angle(at.plus_seconds(100.0)) - earth.sidereal_angle(at)) / 100.0;
        assert!((slope - earth.sidereal_rate(at)).abs() < 1e-14);
    }

    #[test]
    fn a_difference_of_more_than_a_second_is_refused() {
        assert!(EarthRotation::with_dut1_s(1.5).is_err());
        assert!(EarthRotation::with_dut1_s(f64::NAN).is_err());
    }
}
