//! When a link is dark by plan.

use std::time::Duration;

/// Spans of time in which nothing passes, counted from the start of the emulator. Empty: never.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Calendar {
    spans: Vec<(Duration, Duration)>,
    /// After this much time the spans begin anew.
    period: Option<Duration>,
}

impl Calendar {
    /// Dark from each span's first moment until before its last.
    pub fn new(spans: impl IntoIterator<Item = (Duration, Duration)>) -> Self {
        Self {
            spans: spans.into_iter().collect(),
            period: None,
        }
    }

    /// The same again after every `period`, as a satellite comes back with every orbit. A period of nothing is none.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.period = (!period.is_zero()).then_some(period);
        self
    }

    /// Whether the link is dark at this time.
    pub fn is_dark(&self, at: Duration) -> bool {
        let at = self.period.map_or(at, |period| {
            let nanos = at.as_nanos() % period.as_nanos();
            Duration::new(
                u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX),
                u32::try_from(nanos % 1_000_000_000).unwrap_or_default(),
            )
        });
        self.spans
            .iter()
            .any(|(from, until)| (*from..*until).contains(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_link_is_dark_from_the_first_moment_of_a_span_until_before_its_last() {
        let calendar = Calendar::new([(seconds(2), seconds(4)), (seconds(8), seconds(9))]);
        let dark: Vec<_> = (0..12).filter(|at| calendar.is_dark(seconds(*at))).collect();
        assert_eq!(dark, [2, 3, 8]);
    }

    #[test]
    fn a_calendar_with_a_period_begins_anew() {
        let calendar = Calendar::new([(seconds(1), seconds(2))]).every(seconds(5));
        let dark: Vec<_> = (0..15).filter(|at| calendar.is_dark(seconds(*at))).collect();
        assert_eq!(dark, [1, 6, 11]);
    }

    #[test]
    fn an_empty_calendar_is_never_dark() {
        assert!(!Calendar::default().every(seconds(0)).is_dark(seconds(7)));
    }
}
