//! What an antenna can do: where it sees, how far and how fast it turns, what it receives and sends.

use crate::StationError;
use crate::mask::HorizonMask;
use crate::units::{Elevation, Hertz};

/// How far and how fast a rotator turns.
///
/// # Invariants
/// - The lower limit of each axis is below the upper one, and the rates are more than zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotatorLimits {
    azimuth_deg: (f64, f64),
    elevation_deg: (f64, f64),
    slew_rate_deg_s: (f64, f64),
}

impl RotatorLimits {
    /// Limits of azimuth (which may go beyond a turn, such as -90 to 450) and elevation (up to 180 if it can flip over)
    /// in degrees, each as lowest and highest, and how fast each axis turns in degrees a second.
    ///
    /// # Errors
    /// When an axis has no range, lies outside -720 to 720 or -90 to 180, or does not move.
    pub fn new(
        azimuth_deg: (f64, f64),
        elevation_deg: (f64, f64),
        slew_rate_deg_s: (f64, f64),
    ) -> Result<Self, StationError> {
        let within = |what, value: f64, low: f64, high: f64, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(StationError::Range { what, value, range })
            }
        };
        for value in [azimuth_deg.0, azimuth_deg.1] {
            within("azimuth limit in degrees", value, -720.0, 720.0, "-720 to 720")?;
        }
        for value in [elevation_deg.0, elevation_deg.1] {
            within("elevation limit in degrees", value, -90.0, 180.0, "-90 to 180")?;
        }
        for value in [slew_rate_deg_s.0, slew_rate_deg_s.1] {
            within(
                "slew rate in degrees a second",
                value,
                1e-6,
                1e3,
                "more than 0 to 1000",
            )?;
        }
        for (what, (begin, end)) in [("azimuth", azimuth_deg), ("elevation", elevation_deg)] {
            if begin >= end {
                return Err(StationError::Limits { what, begin, end });
            }
        }
        Ok(Self {
            azimuth_deg,
            elevation_deg,
            slew_rate_deg_s,
        })
    }

    /// Lowest and highest azimuth in degrees.
    pub const fn azimuth_deg(&self) -> (f64, f64) {
        self.azimuth_deg
    }

    /// Lowest and highest elevation in degrees.
    pub const fn elevation_deg(&self) -> (f64, f64) {
        self.elevation_deg
    }

    /// Degrees a second in azimuth and in elevation.
    pub const fn slew_rate_deg_s(&self) -> (f64, f64) {
        self.slew_rate_deg_s
    }

    /// Whether some position of the rotator points there, by itself or flipped over the zenith.
    pub fn reaches(&self, azimuth_deg: f64, elevation_deg: f64) -> bool {
        let turns = |azimuth: f64| {
            let (low, high) = self.azimuth_deg;
            // The first equal direction at or above the lower limit.
            let first = low + (azimuth - low).rem_euclid(360.0);
            first <= high
        };
        let tilts = |elevation: f64| {
            let (low, high) = self.elevation_deg;
            (low..=high).contains(&elevation)
        };
        (turns(azimuth_deg) && tilts(elevation_deg))
            || (turns(azimuth_deg + 180.0) && tilts(180.0 - elevation_deg))
    }
}

/// A band of frequencies that an antenna works in.
///
/// # Invariants
/// - It is not empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    low: Hertz,
    high: Hertz,
}

impl Band {
    /// From the lowest to the highest frequency.
    ///
    /// # Errors
    /// When the highest is not above the lowest, or the lowest is not above zero.
    pub fn new(low: Hertz, high: Hertz) -> Result<Self, StationError> {
        if low.get() <= 0.0 {
            return Err(StationError::Range {
                what: "frequency in Hz",
                value: low.get(),
                range: "more than 0",
            });
        }
        if low >= high {
            return Err(StationError::Limits {
                what: "band",
                begin: low.get(),
                end: high.get(),
            });
        }
        Ok(Self { low, high })
    }

    /// Whether a frequency lies in it.
    pub fn contains(&self, frequency: Hertz) -> bool {
        (self.low..=self.high).contains(&frequency)
    }
}

/// A dish with its rotator, as a schedule needs to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Antenna {
    /// What people call it.
    pub name: String,
    /// What hides the sky from it.
    pub mask: HorizonMask,
    /// How far and how fast it turns.
    pub limits: RotatorLimits,
    /// The bands that it receives in.
    pub receives: Vec<Band>,
    /// The bands that it sends in.
    pub sends: Vec<Band>,
}

impl Antenna {
    /// The mask that also hides what the rotator cannot be lowered to.
    ///
    /// # Errors
    /// Never for limits that are valid; the signature is that of [`HorizonMask::new`].
    pub fn usable_mask(&self) -> Result<HorizonMask, StationError> {
        let (low, high) = self.limits.elevation_deg();
        // One that flips over sees low directions from the other side.
        let floor = if high >= 180.0 - low { -90.0 } else { low.min(90.0) };
        let points = self.mask.points().iter().map(|(azimuth, elevation)| {
            Ok((
                crate::units::Azimuth::from_degrees(*azimuth)?,
                Elevation::from_degrees(elevation.max(floor))?,
            ))
        });
        HorizonMask::new(points.collect::<Result<Vec<_>, StationError>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotator_reaches_by_turning_further_or_by_flipping_over() {
        let limits = RotatorLimits::new((0.0, 450.0), (0.0, 90.0), (6.0, 6.0)).unwrap();
        assert!(limits.reaches(30.0, 45.0) && limits.reaches(359.0, 0.0) && !limits.reaches(30.0, -1.0));
        let half = RotatorLimits::new((0.0, 180.0), (0.0, 180.0), (6.0, 6.0)).unwrap();
        assert!(half.reaches(270.0, 20.0));
        let half = RotatorLimits::new((0.0, 180.0), (0.0, 90.0), (6.0, 6.0)).unwrap();
        assert!(!half.reaches(270.0, 20.0));
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let error = RotatorLimits::new((90.0, 0.0), (0.0, 90.0), (6.0, 6.0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "azimuth ends at 0 before it begins at 90; swap them"
        );
        assert!(RotatorLimits::new((0.0, 360.0), (0.0, 90.0), (0.0, 6.0)).is_err());
        assert!(RotatorLimits::new((0.0, f64::NAN), (0.0, 90.0), (6.0, 6.0)).is_err());
    }

    #[test]
    fn what_the_rotator_cannot_be_lowered_to_is_hidden() {
        let antenna = Antenna {
            name: "north".to_owned(),
            mask: "0 2\n90 20".parse().unwrap(),
            limits: RotatorLimits::new((0.0, 360.0), (10.0, 90.0), (6.0, 6.0)).unwrap(),
            receives: Vec::new(),
            sends: Vec::new(),
        };
        assert_eq!(
            antenna.usable_mask().unwrap().points(),
            [(0.0, 10.0), (90.0, 20.0)]
        );
    }

    #[test]
    fn a_band_knows_what_lies_in_it() {
        let hertz = |value| Hertz::new(value).unwrap();
        let band = Band::new(hertz(435e6), hertz(438e6)).unwrap();
        assert!(band.contains(hertz(437e6)) && !band.contains(hertz(145e6)));
        assert!(Band::new(hertz(2.0), hertz(1.0)).is_err() && Band::new(hertz(0.0), hertz(1.0)).is_err());
    }
}
