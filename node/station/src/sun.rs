//! Where the Sun is, to a hundredth of a degree: whether a satellite is lit, and whether it is night at a site.
//!
//! Low-precision solar coordinates of the Astronomical Almanac (page C5), valid from 1950 to 2050.

use crate::frames::{EarthFixed, EarthRotation, Teme};
use crate::site::Site;
use crate::time::SkyTime;
use crate::vector::{Vector, dot, norm, scaled};

/// Astronomical unit in km (IAU 2012).
const AU_KM: f64 = 149_597_870.7;
/// Equatorial radius in km; the atmosphere's shadow is taken to end there.
const EARTH_KM: f64 = 6_378.137;

/// The Sun's position in km in the true equator, mean equinox frame.
fn sun_km(at: SkyTime) -> Vector {
    let (days, fraction) = at.ut1_days_since_j2000(0.0);
    let n = days + fraction;
    let longitude = 280.460 + 0.985_647_4 * n;
    let anomaly = (357.528 + 0.985_600_3 * n).to_radians();
    let ecliptic = (longitude + 1.915 * anomaly.sin() + 0.020 * (2.0 * anomaly).sin()).to_radians();
    let tilt = (23.439 - 0.000_000_4 * n).to_radians();
    let distance = AU_KM * (1.000_14 - 0.016_71 * anomaly.cos() - 0.000_14 * (2.0 * anomaly).cos());
    scaled(
        [
            ecliptic.cos(),
            tilt.cos() * ecliptic.sin(),
            tilt.sin() * ecliptic.sin(),
        ],
        distance,
    )
}

/// Whether the Sun shines on an object: it does not stand in the cylinder of the Earth's shadow.
pub fn is_sunlit(at: SkyTime, teme: &Teme) -> bool {
    let sun = sun_km(at);
    let along = dot(teme.position_km, sun) / norm(sun);
    let across_squared = dot(teme.position_km, teme.position_km) - along * along;
    along > 0.0 || across_squared > EARTH_KM * EARTH_KM
}

/// How high the Sun is over a site, in degrees, without refraction; below -6 it is dark enough to see satellites.
pub fn elevation_deg(at: SkyTime, site: &Site, earth: EarthRotation) -> f64 {
    let still = Teme {
        position_km: sun_km(at),
        velocity_km_s: [0.0; 3],
    };
    let fixed: EarthFixed = earth.earth_fixed(at, &still);
    site.direction(&fixed).elevation.degrees()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sun_stands_where_the_almanac_has_it() {
        // Meeus, Astronomical Algorithms, example 25.a: 1992-10-13 0h TD, right ascension 198.38083, declination -7.78507.
        let [x, y, z] = sun_km("1992-10-13T00:00:00Z".parse().unwrap());
        let right_ascension = y.atan2(x).to_degrees().rem_euclid(360.0);
        let declination = (z / norm([x, y, z])).asin().to_degrees();
        assert!((right_ascension - 198.380_83).abs() < 0.01, "{right_ascension}");
        assert!((declination + 7.785_07).abs() < 0.01, "{declination}");
    }

    #[test]
    fn at_the_equinox_noon_is_high_on_the_equator_and_midnight_deep() {
        let site = Site::new(0.0, 0.0, 0.0).unwrap();
        let height = |text: &str| elevation_deg(text.parse().unwrap(), &site, EarthRotation::default());
        assert!(height("2026-03-20T12:07:00Z") > 89.0);
        assert!(height("2026-03-20T00:07:00Z") < -89.0);
    }

    #[test]
    fn what_stands_behind_the_earth_is_dark() {
        let at: SkyTime = "2026-03-20T12:00:00Z".parse().unwrap();
        let sun = sun_km(at);
        let behind = scaled(sun, -7_000.0 / norm(sun));
        assert!(!is_sunlit(
            at,
            &Teme {
                position_km: behind,
                velocity_km_s: [0.0; 3]
            }
        ));
        assert!(is_sunlit(
            at,
            &Teme {
                position_km: scaled(behind, -1.0),
                velocity_km_s: [0.0; 3]
            }
        ));
    }
}
