//! Places on the Earth, and directions as they are seen from there.

use std::fmt;
use std::str::FromStr;

use crate::StationError;
use crate::frames::EarthFixed;
use crate::units::{Azimuth, Elevation, Km, KmPerSecond};
use crate::vector::{Vector, dot, minus, norm};

/// Semi-major axis of the WGS84 ellipsoid in km (NIMA TR8350.2).
const EQUATOR_KM: f64 = 6_378.137;
/// Flattening of the WGS84 ellipsoid (NIMA TR8350.2).
const FLATTENING: f64 = 1.0 / 298.257_223_563;

/// A place in WGS84 geodetic coordinates.
///
/// At a pole, north is the direction of the longitude across it: east, north and up are taken as at the given longitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Site {
    latitude_deg: f64,
    longitude_deg: f64,
    altitude_m: f64,
    position: Vector,
    east: Vector,
    north: Vector,
    up: Vector,
}

impl Site {
    /// The place at a geodetic latitude (north positive), a longitude (east positive) and an altitude above the
    /// ellipsoid in metres, below sea level too.
    ///
    /// # Errors
    /// When the latitude is not within -90 to 90, the longitude not within -180 to 360, or the altitude not within
    /// -500 to 10,000 m.
    pub fn new(latitude_deg: f64, longitude_deg: f64, altitude_m: f64) -> Result<Self, StationError> {
        let check = |what, value: f64, low: f64, high: f64, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(StationError::Range { what, value, range })
            }
        };
        check("latitude in degrees", latitude_deg, -90.0, 90.0, "-90 to 90")?;
        check(
            "longitude in degrees",
            longitude_deg,
            -180.0,
            360.0,
            "-180 to 360",
        )?;
        check("altitude in m", altitude_m, -500.0, 10_000.0, "-500 to 10000")?;
        let (sin_lat, cos_lat) = latitude_deg.to_radians().sin_cos();
        let (sin_lon, cos_lon) = longitude_deg.to_radians().sin_cos();
        let squared_eccentricity = FLATTENING * (2.0 - FLATTENING);
        let normal = EQUATOR_KM / (1.0 - squared_eccentricity * sin_lat * sin_lat).sqrt();
        let altitude = altitude_m / 1e3;
        let equatorial = (normal + altitude) * cos_lat;
        Ok(Self {
            latitude_deg,
            longitude_deg,
            altitude_m,
            position: [
                equatorial * cos_lon,
                equatorial * sin_lon,
                (normal * (1.0 - squared_eccentricity) + altitude) * sin_lat,
            ],
            east: [-sin_lon, cos_lon, 0.0],
            north: [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            up: [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        })
    }

    /// Degrees north of the equator.
    pub const fn latitude_deg(&self) -> f64 {
        self.latitude_deg
    }

    /// Degrees east of Greenwich, as given.
    pub const fn longitude_deg(&self) -> f64 {
        self.longitude_deg
    }

    /// Metres above the ellipsoid.
    pub const fn altitude_m(&self) -> f64 {
        self.altitude_m
    }

    /// Earth-fixed position in km.
    pub const fn position_km(&self) -> [f64; 3] {
        self.position
    }

    /// The geodetic normal in the Earth-fixed frame.
    pub(crate) const fn up(&self) -> Vector {
        self.up
    }

    /// Where `state` is seen: geometric, without refraction, light time or aberration.
    pub fn direction(&self, state: &EarthFixed) -> Direction {
        let line = minus(state.position_km, self.position);
        let (east, north, up) = (dot(line, self.east), dot(line, self.north), dot(line, self.up));
        let range = norm(line);
        Direction {
            azimuth: Azimuth::wrapped(east.atan2(north).to_degrees()),
            elevation: Elevation::clamped(up.atan2(east.hypot(north)).to_degrees()),
            range: Km::new(range).unwrap_or_default(),
            range_rate: KmPerSecond::new(dot(line, state.velocity_km_s) / range).unwrap_or_default(),
        }
    }

    /// Degrees east of north and their growth a second, for a line of sight and its change.
    pub(crate) fn turning(&self, state: &EarthFixed) -> Turning {
        let line = minus(state.position_km, self.position);
        let velocity = state.velocity_km_s;
        let (e, n, u) = (dot(line, self.east), dot(line, self.north), dot(line, self.up));
        let (de, dn, du) = (
            dot(velocity, self.east),
            dot(velocity, self.north),
            dot(velocity, self.up),
        );
        let flat_squared = e * e + n * n;
        let flat = flat_squared.sqrt();
        Turning {
            azimuth_deg_s: ((de * n - dn * e) / flat_squared).to_degrees(),
            elevation_deg_s: ((du * flat - u * (e * de + n * dn) / flat) / (flat_squared + u * u))
                .to_degrees(),
        }
    }

    /// Azimuth in degrees in [0, 360) of an Earth-fixed position in km.
    #[inline]
    pub(crate) fn azimuth_deg(&self, position: Vector) -> f64 {
        let line = minus(position, self.position);
        Azimuth::wrapped(dot(line, self.east).atan2(dot(line, self.north)).to_degrees()).degrees()
    }
}

/// How fast a direction turns, in degrees a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turning {
    pub(crate) azimuth_deg_s: f64,
    pub(crate) elevation_deg_s: f64,
}

impl fmt::Display for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{},{},{}",
            self.latitude_deg, self.longitude_deg, self.altitude_m
        )
    }
}

impl FromStr for Site {
    type Err = StationError;

    /// Reads `LAT,LON,ALT_M` in degrees and metres.
    fn from_str(text: &str) -> Result<Self, StationError> {
        let refused = |reason: String| StationError::Site {
            text: text.to_owned(),
            reason,
        };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let [latitude, longitude, altitude] = parts[..] else {
            return Err(refused(format!("{} numbers instead of 3", parts.len())));
        };
        let number = |part: &str| {
            part.parse::<f64>()
                .map_err(|_| refused(format!("{part:?} is not a number")))
        };
        Self::new(number(latitude)?, number(longitude)?, number(altitude)?)
            .map_err(|error| refused(error.to_string()))
    }
}

/// Where something is seen from a site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction {
    /// Degrees east of north; any value is right at the zenith.
    pub azimuth: Azimuth,
    /// Degrees above the plane through the site that is normal to the ellipsoid's normal.
    pub elevation: Elevation,
    /// Distance.
    pub range: Km,
    /// Growth of the distance.
    pub range_rate: KmPerSecond,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Vector, b: Vector) -> bool {
        norm(minus(a, b)) < 1e-6
    }

    #[test]
    fn sites_lie_on_the_ellipsoid() {
        let equator = Site::new(0.0, 90.0, 1_000.0).unwrap();
        assert!(close(equator.position_km(), [0.0, 6_379.137, 0.0]));
        let pole = Site::new(-90.0, 0.0, 0.0).unwrap();
        assert!(close(pole.position_km(), [0.0, 0.0, -6_356.752_314_245]));
    }

    #[test]
    fn what_stands_over_the_site_is_at_the_zenith_and_what_lies_north_is_north() {
        let site = Site::new(45.0, 10.0, 0.0).unwrap();
        let at = |along: Vector| EarthFixed {
            position_km: std::array::from_fn(|i| site.position[i] + 100.0 * along[i]),
            velocity_km_s: along,
        };
        let zenith = site.direction(&at(site.up));
        assert!((zenith.elevation.degrees() - 90.0).abs() < 1e-6);
        assert!((zenith.range.get() - 100.0).abs() < 1e-9 && (zenith.range_rate.get() - 1.0).abs() < 1e-9);
        let north = site.direction(&at(site.north));
        assert!(north.elevation.degrees().abs() < 1e-9);
        assert!(north.azimuth.degrees() < 1e-9 || north.azimuth.degrees() > 360.0 - 1e-9);
        assert!((site.direction(&at(site.east)).azimuth.degrees() - 90.0).abs() < 1e-9);
    }

    #[test]
    fn a_site_is_read_from_text() {
        let site: Site = "78.2297, 15.4078, 458".parse().unwrap();
        assert_eq!(site.to_string(), "78.2297,15.4078,458");
        for (text, reason) in [
            ("78,15", "2 numbers instead of 3"),
            ("91,0,0", "latitude in degrees is 91, outside -90 to 90"),
            ("x,0,0", "\"x\" is not a number"),
            ("0,0,NaN", "altitude in m is NaN"),
        ] {
            let error = text.parse::<Site>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
