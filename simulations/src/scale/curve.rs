//! How something spreads: which fraction of those who should have it has it, after how long.

use std::time::Duration;

/// One curve. Those who never got it stay missing at its end.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend calls it.
    pub name: &'static str,
    delays: Vec<Duration>,
    missing: usize,
}

impl Curve {
    /// From the delay of each one that should have it; `None` for those that never got it.
    pub(super) fn of(name: &'static str, delays: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let (mut got, mut missing) = (Vec::new(), 0);
        for delay in delays {
            match delay {
                Some(delay) => got.push(delay),
                None => missing += 1,
            }
        }
        got.sort_unstable();
        Self {
            name,
            delays: got,
            missing,
        }
    }

    /// How many should have it.
    pub fn total(&self) -> usize {
        self.delays.len() + self.missing
    }

    /// Whether everybody got it.
    pub fn is_whole(&self) -> bool {
        self.missing == 0 && !self.delays.is_empty()
    }

    /// After how long this many in a thousand had it, if that many ever did.
    pub fn after(&self, permille: usize) -> Option<Duration> {
        let needed = (self.total() * permille).div_ceil(1_000).max(1);
        self.delays.get(needed - 1).copied()
    }

    /// Corners of the curve: seconds and the fraction that has it from then on.
    pub(super) fn corners(&self) -> Vec<(f64, f64)> {
        let total = self.total();
        let step = (self.delays.len() / 400).max(1);
        let mut corners = Vec::new();
        let last = self.delays.len().saturating_sub(1);
        for (at, delay) in self.delays.iter().enumerate() {
            if at % step == 0 || at == last {
                corners.push((delay.as_secs_f64(), fraction(at + 1, total)));
            }
        }
        corners
    }
}

fn fraction(part: usize, total: usize) -> f64 {
    let exact = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    exact(part) / exact(total.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn a_curve_says_when_a_share_had_it_and_who_never_got_it_counts() {
        let curve = Curve::of("test", [ms(30), ms(10), None, ms(20)]);
        assert_eq!(curve.after(250), ms(10));
        assert_eq!(curve.after(500), ms(20));
        assert_eq!(curve.after(750), ms(30));
        assert_eq!(curve.after(760), None);
        assert!(!curve.is_whole());
        assert_eq!(curve.corners(), [(0.01, 0.25), (0.02, 0.5), (0.03, 0.75)]);
    }

    #[test]
    fn nobody_is_not_everybody() {
        assert!(!Curve::of("test", []).is_whole());
        assert!(Curve::of("test", [ms(1)]).is_whole());
    }
}
