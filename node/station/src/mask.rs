//! The lowest usable elevation in every direction.

use std::str::FromStr;

use crate::StationError;
use crate::units::{Azimuth, Elevation};

/// A horizon mask: elevation as a function of azimuth, straight between the given points, around the circle.
///
/// # Invariants
/// - At least one point; azimuths ascend and differ.
#[derive(Clone, Debug, PartialEq)]
pub struct HorizonMask {
    points: Vec<(f64, f64)>,
}

impl HorizonMask {
    /// The same elevation in every direction.
    pub fn flat(elevation: Elevation) -> Self {
        Self {
            points: vec![(0.0, elevation.degrees())],
        }
    }

    /// Through the given points, in any order; a point given twice counts once.
    ///
    /// # Errors
    /// When there is no point, or one azimuth has two elevations.
    pub fn new(points: impl IntoIterator<Item = (Azimuth, Elevation)>) -> Result<Self, StationError> {
        let mut points: Vec<(f64, f64)> = points
            .into_iter()
            .map(|(azimuth, elevation)| (azimuth.degrees(), elevation.degrees()))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        points.dedup();
        if points.is_empty() {
            return Err(StationError::Mask {
                line: 1,
                reason: "there is no point".to_owned(),
            });
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(StationError::Mask {
                line: 1,
                reason: format!(
                    "azimuth {} has the elevations {} and {}",
                    pair[0].0, pair[0].1, pair[1].1
                ),
            });
        }
        Ok(Self { points })
    }

    /// The points in ascending azimuth, as (azimuth, elevation) in degrees.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The lowest usable elevation in degrees at an azimuth in degrees.
    pub fn elevation_deg_min(&self, azimuth_deg: f64) -> f64 {
        let azimuth = azimuth_deg.rem_euclid(360.0);
        let next = self.points.partition_point(|point| point.0 <= azimuth);
        let count = self.points.len();
        let before = self.points[(next + count - 1) % count];
        let after = self.points[next % count];
        let span = (after.0 - before.0).rem_euclid(360.0);
        if span == 0.0 {
            return before.1;
        }
        let share = (azimuth - before.0).rem_euclid(360.0) / span;
        before.1 + share * (after.1 - before.1)
    }

    /// The lowest elevation of all directions, in degrees.
    pub fn lowest_deg(&self) -> f64 {
        self.points
            .iter()
            .map(|point| point.1)
            .fold(f64::INFINITY, f64::min)
    }

    /// The elevation of every direction, if it is one.
    pub fn is_flat(&self) -> bool {
        self.points.iter().all(|point| point.1 == self.points[0].1)
    }
}

impl FromStr for HorizonMask {
    type Err = StationError;

    /// Reads a number of degrees, or lines of an azimuth and an elevation in degrees, separated by blanks or a comma.
    /// Empty lines and what follows `#` are skipped.
    fn from_str(text: &str) -> Result<Self, StationError> {
        if let Ok(degrees) = text.trim().parse::<f64>() {
            return Ok(Self::flat(Elevation::from_degrees(degrees)?));
        }
        let mut points = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let refused = |reason: String| StationError::Mask {
                line: index + 1,
                reason,
            };
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line
                .split(|c: char| c.is_whitespace() || c == ',' || c == ';')
                .filter(|word| !word.is_empty())
                .collect();
            match words[..] {
                [] => {}
                [azimuth, elevation] => {
                    let number = |word: &str| {
                        word.parse::<f64>()
                            .map_err(|_| refused(format!("{word:?} is not a number")))
                    };
                    let (azimuth, elevation) = (number(azimuth)?, number(elevation)?);
                    if !(0.0..=360.0).contains(&azimuth) {
                        return Err(refused(format!("azimuth {azimuth} is outside 0 to 360")));
                    }
                    points.push((
                        Azimuth::from_degrees(azimuth)?,
                        Elevation::from_degrees(elevation).map_err(|error| refused(error.to_string()))?,
                    ));
                }
                _ => return Err(refused(format!("{} words instead of 2", words.len()))),
            }
        }
        Self::new(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_straight_between_its_points_and_around_north() {
        let mask: HorizonMask = "# hills\n350 10\n 90, 0 \n\n180\t4".parse().unwrap();
        for (azimuth, elevation) in [
            (90.0, 0.0),
            (135.0, 2.0),
            (350.0, 10.0),
            (40.0, 5.0),
            (360.0, 9.0),
        ] {
            assert!(
                (mask.elevation_deg_min(azimuth) - elevation).abs() < 1e-12,
                "{azimuth}"
            );
        }
        assert_eq!((mask.lowest_deg(), mask.is_flat()), (0.0, false));
    }

    #[test]
    fn a_number_is_a_flat_mask() {
        let mask: HorizonMask = "5".parse().unwrap();
        assert!(mask.is_flat());
        assert_eq!(mask.elevation_deg_min(123.0), 5.0);
    }

    #[test]
    fn a_wrong_mask_is_refused_with_its_line() {
        for (text, reason) in [
            ("0 5\n10 x", "line 2: \"x\" is not a number"),
            ("0 5\n\n10 95", "line 3: elevation in degrees is 95"),
            ("0 5 1", "line 1: 3 words instead of 2"),
            ("400 5", "azimuth 400 is outside"),
            ("0 5\n0 6", "azimuth 0 has the elevations 5 and 6"),
            ("# nothing", "there is no point"),
        ] {
            let error = text.parse::<HorizonMask>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
