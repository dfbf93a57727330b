//! The only place in the tool that reads a clock: for rates shown to the user and for printed claims.

use std::time::{Duration, Instant, SystemTime};

use tetryx_protocol::time::UtcTime;

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "the tool's one reader of elapsed time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// The wall time.
#[expect(clippy::disallowed_methods, reason = "the tool's one reader of wall time")]
pub(crate) fn utc_now() -> UtcTime {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UtcTime::from_unix_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
