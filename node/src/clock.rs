//! The machine's clocks: the one place in the product that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tetryx_environment::Clock;
use tetryx_protocol::time::{Elapsed, UtcTime};

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn utc(&self) -> UtcTime {
        let now = SystemTime::now();
        // A clock set before 1970 is as wrong as one set to 1970; neither stops the node.
        let ms = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        UtcTime::from_unix_ms(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
