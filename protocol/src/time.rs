//! Two clocks that never mix: the time of day everybody shares, and the time a process has been running.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ProtocolError;
use crate::text::{TextVisitor, quote};

/// A moment in UTC, in milliseconds since the Unix epoch.
///
/// For the schedule, for expiry, for what other nodes and people see. It may step, backwards too, and two nodes
/// may disagree about it; never measure how long something took with it, [`Elapsed`] does that.
///
/// Text: RFC 3339 with milliseconds and `Z`. Postcard: an `i64`.
///
/// # Invariants
/// - It lies between [`UtcTime::MIN`] and [`UtcTime::MAX`], so it always has a four-digit year and a text that
///   reads back as the same value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(i64);

impl UtcTime {
    /// 1970-01-01T00:00:00.000Z.
    pub const UNIX_EPOCH: Self = Self(0);
    /// 0000-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// 9999-12-30T00:00:00.000Z.
    pub const MAX: Self = Self(253_402_128_000_000);

    /// The moment `ms` milliseconds after the Unix epoch; beyond [`UtcTime::MIN`] and [`UtcTime::MAX`], those.
    pub const fn from_unix_ms(ms: i64) -> Self {
        if ms < Self::MIN.0 {
            Self::MIN
        } else if ms > Self::MAX.0 {
            Self::MAX
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole days since the Unix epoch, rounded down; 0 before it.
    pub fn unix_day(self) -> u32 {
        u32::try_from(self.0.div_euclid(86_400_000)).unwrap_or(0)
    }

    /// The moment `by` later, at most [`UtcTime::MAX`]. Parts of a millisecond are dropped.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_ms(self.0.saturating_add(ms))
    }

    /// The moment `by` earlier, at least [`UtcTime::MIN`]. Parts of a millisecond are dropped.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self::from_unix_ms(self.0.saturating_sub(ms))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp =
            Timestamp::from_millisecond(self.0).expect("every UtcTime lies within years 0 to 9999");
        write!(formatter, "{timestamp:.3}")
    }
}

impl fmt::Debug for UtcTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UtcTime({self})")
    }
}

impl FromStr for UtcTime {
    type Err = ProtocolError;

    /// Reads RFC 3339 with any offset; digits beyond the milliseconds are dropped.
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let refused = || ProtocolError::InvalidTime {
            value: quote(text),
            reason: "expected RFC 3339 in the years 0000 to 9999, such as 2026-03-02T12:03:10.000Z"
                .to_owned(),
        };
        let timestamp = text.parse::<Timestamp>().map_err(|_| refused())?;
        let nanoseconds = timestamp.as_nanosecond();
        let ms = i64::try_from(nanoseconds.div_euclid(1_000_000)).map_err(|_| refused())?;
        let time = Self::from_unix_ms(ms);
        if time.0 == ms { Ok(time) } else { Err(refused()) }
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(TextVisitor("an RFC 3339 time", std::marker::PhantomData));
        }
        let ms = i64::deserialize(deserializer)?;
        let time = Self::from_unix_ms(ms);
        if time.0 == ms {
            Ok(time)
        } else {
            Err(serde::de::Error::custom(format_args!(
                "{ms} ms since the Unix epoch lies outside the years 0000 to 9999"
            )))
        }
    }
}

/// Nanoseconds since this process started. It only grows.
///
/// For timeouts and measurements within one process. It says nothing about the time of day and means nothing to
/// another process, so it is never stored or sent and has no serde. Unlike `std::time::Instant` it can be made
/// from a number, which a simulated world needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Elapsed(u64);

impl Elapsed {
    /// The start of the process.
    pub const ZERO: Self = Self(0);

    /// `nanos` nanoseconds after the start of the process.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the process.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn saturating_sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
