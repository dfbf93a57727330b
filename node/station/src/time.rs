//! Moments of the sky: UTC to the nanosecond, in days of 86,400 seconds.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use tetryx_protocol::time::UtcTime;

use crate::StationError;

const NS_PER_SECOND: f64 = 1e9;
const NS_PER_DAY: i64 = 86_400_000_000_000;

/// A moment in UTC, in nanoseconds since the Unix epoch, as orbits need it: a satellite moves 8 metres in the
/// millisecond to which the schedule's [`UtcTime`] is kept.
///
/// Days have 86,400 seconds, as in element sets; a leap second has no name here.
///
/// Text: RFC 3339 with microseconds and `Z`.
///
/// # Invariants
/// - It lies in the years 1700 to 2261, so that differences of two moments do not overflow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SkyTime(i64);

impl SkyTime {
    /// 1700-01-01T00:00:00Z.
    pub const MIN: Self = Self(-8_520_336_000_000_000_000);
    /// 2261-12-31T00:00:00Z.
    pub const MAX: Self = Self(9_214_560_000_000_000_000);
    /// 2000-01-01T12:00:00 UTC.
    pub const J2000: Self = Self(946_728_000_000_000_000);

    /// The moment `ns` nanoseconds after the Unix epoch; beyond [`SkyTime::MIN`] and [`SkyTime::MAX`], those.
    pub const fn from_unix_ns(ns: i64) -> Self {
        if ns < Self::MIN.0 {
            Self::MIN
        } else if ns > Self::MAX.0 {
            Self::MAX
        } else {
            Self(ns)
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn unix_ns(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is, in seconds; negative if it is before it.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a century in nanoseconds keeps 400 ns in a double"
    )]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        match self.0.checked_sub(earlier.0) {
            Some(ns) => ns as f64 / NS_PER_SECOND,
            None => (self.0 as f64 - earlier.0 as f64) / NS_PER_SECOND,
        }
    }

    /// The moment `seconds` later, to the nearest nanosecond; earlier if negative. NaN counts as zero.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and so does the type"
    )]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        Self::from_unix_ns(self.0.saturating_add((seconds * NS_PER_SECOND).round() as i64))
    }

    /// UT1 days since 2000-01-01T12:00:00, as whole days and a fraction in [0, 1), for UT1 - UTC of `dut1_s` seconds.
    #[expect(clippy::cast_precision_loss, reason = "both parts are far below 2^53")]
    pub(crate) fn ut1_days_since_j2000(self, dut1_s: f64) -> (f64, f64) {
        let ns = self.0 - Self::J2000.0;
        let (day, rest) = (ns.div_euclid(NS_PER_DAY), ns.rem_euclid(NS_PER_DAY));
        (day as f64, (rest as f64 / NS_PER_SECOND + dut1_s) / 86_400.0)
    }

    /// Julian years of 365.25 days since 2000-01-01T12:00:00.
    pub(crate) fn julian_years_since_j2000(self) -> f64 {
        let (days, fraction) = self.ut1_days_since_j2000(0.0);
        (days + fraction) / 365.25
    }

    /// The nearest millisecond, as the schedule keeps time.
    pub fn to_utc(self) -> UtcTime {
        UtcTime::from_unix_ms(self.0.saturating_add(500_000).div_euclid(1_000_000))
    }
}

impl From<UtcTime> for SkyTime {
    fn from(time: UtcTime) -> Self {
        Self::from_unix_ns(time.unix_ms().saturating_mul(1_000_000))
    }
}

impl fmt::Display for SkyTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To the nearest microsecond: the printer cuts.
        let ns = self.0.saturating_add(500).div_euclid(1_000) * 1_000;
        let timestamp =
            Timestamp::from_nanosecond(i128::from(ns)).expect("years 1700 to 2261 are within its range");
        write!(formatter, "{timestamp:.6}")
    }
}

impl fmt::Debug for SkyTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SkyTime({self})")
    }
}

impl FromStr for SkyTime {
    type Err = StationError;

    /// Reads RFC 3339 with any offset, to the nanosecond.
    fn from_str(text: &str) -> Result<Self, StationError> {
        text.parse::<Timestamp>()
            .ok()
            .and_then(|timestamp| i64::try_from(timestamp.as_nanosecond()).ok())
            .filter(|ns| (Self::MIN.0..=Self::MAX.0).contains(ns))
            .map(Self)
            .ok_or_else(|| StationError::Time {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_and_printed_to_the_microsecond() {
        let time: SkyTime = "2020-10-26T20:33:56.1997447Z".parse().unwrap();
        assert_eq!(time.to_string(), "2020-10-26T20:33:56.199745Z");
        assert_eq!(time.to_utc().to_string(), "2020-10-26T20:33:56.200Z");
    }

    #[test]
    fn seconds_are_added_to_the_nanosecond_and_back() {
        let later = SkyTime::J2000.plus_seconds(259_200.123_456_789);
        assert!((later.seconds_since(SkyTime::J2000) - 259_200.123_456_789).abs() < 1e-9);
        assert!(SkyTime::MAX.seconds_since(SkyTime::MIN) > 1.7e10);
    }

    #[test]
    fn a_moment_that_is_none_is_refused_with_an_example() {
        let error = "yesterday".parse::<SkyTime>().unwrap_err().to_string();
        assert!(
            error.contains("\"yesterday\"") && error.contains("2026-03-02T12:03:10Z"),
            "{error}"
        );
    }
}
