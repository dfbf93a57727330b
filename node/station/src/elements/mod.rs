//! Element sets: mean elements at an epoch, as they are published.
//!
//! An OMM (CCSDS 502.0-B-3, Orbit Data Messages) as JSON, CSV, KVN or XML is the primary form; the TLE of two or three
//! lines is the older one, with Alpha-5 numbers. [`read`] tells which it is by looking.
//!
//! # Invariants
//! - What was read can be propagated: every number is finite and within the range that its field allows, and SGP4 starts
//!   from it.
//! - An element set keeps the text that it was read from, and reading that text again gives the same.
//! - One bad entry costs no other.
//!
//! # Non-goals
//! - Fetching: whoever calls brings the text.
//! - Element sets of other theories than SGP4, such as SGP4-XP: they are refused by name.

mod catalogue_number;
mod csv;
mod fields;
mod json;
mod kvn;
mod location;
mod problem;
mod read;
mod tle;
mod xml;

pub use catalogue_number::CatalogueNumber;
pub use problem::{ElementsError, Problem};
pub use read::{Format, read, read_bytes, read_one};

use std::sync::Arc;

use crate::time::SkyTime;

/// Mean elements of one object at their epoch, for SGP4 in the frame TEME.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements {
    /// `OBJECT_NAME`, or the line above a TLE.
    pub name: Option<String>,
    /// `NORAD_CAT_ID`.
    pub catalogue_number: CatalogueNumber,
    /// `OBJECT_ID`, such as 1998-067A; from a TLE in that form too.
    pub designator: Option<String>,
    /// `EPOCH`, in UTC.
    pub epoch: SkyTime,
    /// `MEAN_MOTION` in revolutions a day (Kozai's).
    pub mean_motion_rev_day: f64,
    /// `ECCENTRICITY`, in [0, 1).
    pub eccentricity: f64,
    /// `INCLINATION` in degrees.
    pub inclination_deg: f64,
    /// `RA_OF_ASC_NODE` in degrees.
    pub ascending_node_deg: f64,
    /// `ARG_OF_PERICENTER` in degrees.
    pub pericenter_deg: f64,
    /// `MEAN_ANOMALY` in degrees.
    pub mean_anomaly_deg: f64,
    /// `BSTAR`, the drag term, per Earth radius.
    pub bstar: f64,
    /// The form they came in.
    pub format: Format,
    /// The text that this element set alone was read from.
    pub source: Arc<str>,
}

impl Elements {
    /// The name, or the catalogue number if there is none.
    pub fn label(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| self.catalogue_number.to_string())
    }

    /// How old they are at a time, in days; negative before their epoch.
    pub fn age_days(&self, at: SkyTime) -> f64 {
        at.seconds_since(self.epoch) / 86_400.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_an_age_and_a_label() {
        let text = "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927\n\
                    2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537\n";
        let elements = read_one(text).unwrap();
        let later = "2008-09-29T12:25:40.104192Z".parse().unwrap();
        assert!((elements.age_days(later) - 9.0).abs() < 1e-9);
        assert_eq!(elements.label(), "25544");
    }
}
