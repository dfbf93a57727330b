//! Quantities that are finite by construction, and directions within their circle.

use crate::StationError;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// # Invariants
        /// - It is finite.
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
        pub struct $name(f64);

        impl $name {
            /// Checks the number.
            ///
            /// # Errors
            /// When it is infinite or not a number.
            pub fn new(value: f64) -> Result<Self, StationError> {
                if value.is_finite() {
                    Ok(Self(value))
                } else {
                    Err(StationError::Range { what: $what, value, range: "the finite numbers" })
                }
            }

            /// The number.
            pub const fn get(self) -> f64 {
                self.0
            }
        }
    };
}

quantity!(
    /// A distance in kilometres.
    Km,
    "distance in km"
);
quantity!(
    /// A speed in kilometres a second; positive moves away.
    KmPerSecond,
    "speed in km/s"
);
quantity!(
    /// A frequency, or a shift of one, in hertz.
    Hertz,
    "frequency in Hz"
);
quantity!(
    /// An angle in degrees.
    Degrees,
    "angle in degrees"
);

/// A direction in degrees east of north.
///
/// # Invariants
/// - It lies in [0, 360).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Azimuth(f64);

impl Azimuth {
    /// Any finite angle, brought into the circle.
    ///
    /// # Errors
    /// When it is infinite or not a number.
    pub fn from_degrees(degrees: f64) -> Result<Self, StationError> {
        Degrees::new(degrees).map(|d| Self::wrapped(d.get()))
    }

    /// For angles that are finite by how they were computed.
    pub(crate) fn wrapped(degrees: f64) -> Self {
        let wrapped = degrees.rem_euclid(360.0);
        // A tiny negative angle rounds up to the full circle.
        Self(if wrapped < 360.0 { wrapped } else { 0.0 })
    }

    /// Degrees in [0, 360).
    pub const fn degrees(self) -> f64 {
        self.0
    }
}

/// A height over the horizontal plane in degrees.
///
/// # Invariants
/// - It lies in [-90, 90].
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Elevation(f64);

impl Elevation {
    /// Checks the angle.
    ///
    /// # Errors
    /// When it is outside [-90, 90] or not a number.
    pub fn from_degrees(degrees: f64) -> Result<Self, StationError> {
        if (-90.0..=90.0).contains(&degrees) {
            Ok(Self(degrees))
        } else {
            Err(StationError::Range {
                what: "elevation in degrees",
                value: degrees,
                range: "-90 to 90",
            })
        }
    }

    /// For angles that an inverse tangent gave.
    pub(crate) fn clamped(degrees: f64) -> Self {
        Self(degrees.clamp(-90.0, 90.0))
    }

    /// Degrees in [-90, 90].
    pub const fn degrees(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_finite() {
        assert!(Km::new(f64::NAN).is_err() && Hertz::new(f64::INFINITY).is_err());
        assert_eq!(Km::new(-1.5).unwrap().get(), -1.5);
    }

    #[test]
    fn an_azimuth_stays_within_its_circle() {
        for (given, kept) in [(-90.0, 270.0), (360.0, 0.0), (725.0, 5.0), (-1e-20, 0.0)] {
            assert_eq!(Azimuth::from_degrees(given).unwrap().degrees(), kept);
        }
    }

    #[test]
    fn an_elevation_beyond_the_zenith_is_refused() {
        assert!(Elevation::from_degrees(90.1).is_err());
        assert!(Elevation::from_degrees(-90.0).is_ok());
    }
}
