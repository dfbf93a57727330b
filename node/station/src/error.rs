//! What can be wrong with what is given to this crate.

use thiserror::Error;

use crate::elements::ElementsError;

/// A value that is no site, mask, antenna, window or element set, and what to give instead.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum StationError {
    /// An element set that cannot be read.
    #[error(transparent)]
    Elements(#[from] ElementsError),
    /// A quantity outside its range, or not finite.
    #[error("{what} is {value}, outside {range}")]
    Range {
        /// The quantity with its unit, such as "latitude in degrees".
        what: &'static str,
        /// What was given.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// A moment that is not RFC 3339.
    #[error("{text:?} is not a time of the years 1700 to 2261; write it as 2026-03-02T12:03:10Z")]
    Time {
        /// What was given.
        text: String,
    },
    /// A site that is not latitude, longitude and altitude.
    #[error("{text:?} is not a site ({reason}); give it as LAT,LON,ALT_M, such as 78.2297,15.4078,458")]
    Site {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A horizon mask that cannot be read.
    #[error("line {line}: {reason}; a horizon mask has an azimuth and an elevation in degrees on each line")]
    Mask {
        /// Where, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// An antenna whose limits contradict each other.
    #[error("{what} ends at {end} before it begins at {begin}; swap them")]
    Limits {
        /// Which limits.
        what: &'static str,
        /// The lower one.
        begin: f64,
        /// The upper one.
        end: f64,
    },
    /// A window that is empty or too long.
    #[error("a window of {hours} hours cannot be searched; ask for more than 0 and at most {hours_max}")]
    Window {
        /// What was asked.
        hours: f64,
        /// The longest that is searched.
        hours_max: f64,
    },
}
