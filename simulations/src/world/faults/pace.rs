//! When an injector tries again.

use std::time::Duration;

use super::super::{Fault, World};

/// The first attempt comes within this part of the trouble, and within [`FIRST_WITHIN`].
const FIRST_PART: u32 = 8;
const FIRST_WITHIN: Duration = Duration::from_secs(8 * 60);
/// How long after an attempt without effect the next one comes.
const AGAIN_WITHIN: Duration = Duration::from_secs(20);
/// How many faults in a row may share the time that the plan has between two.
const AT_ONCE: usize = 3;

/// The pace of one injector: its fault happens soon, and from then on as often as the plan says.
#[derive(Debug)]
pub(super) struct Pace {
    world: World,
    fault: Fault,
    chance: fastrand::Rng,
    mean: Duration,
    is_first: bool,
}

impl Pace {
    pub(super) fn new(world: &World, fault: Fault) -> Self {
        let share = u32::try_from(world.plan().faults.len() / AT_ONCE).unwrap_or(1);
        Self {
            world: world.clone(),
            fault,
            chance: world.chance(&format!("pace of {fault}")),
            mean: world.plan().fault_every * share.max(1),
            is_first: true,
        }
    }

    /// Waits until it is time for an attempt.
    pub(super) async fn next(&mut self) {
        let wait = if std::mem::replace(&mut self.is_first, false) {
            let first = (self.world.plan().duration / FIRST_PART).min(FIRST_WITHIN);
            between(&mut self.chance, Duration::ZERO, first)
        } else if self.world.counted(self.fault.name()) == 0 {
            between(&mut self.chance, Duration::from_secs(1), AGAIN_WITHIN)
        } else {
            exponential(&mut self.chance, self.mean)
        };
        tokio::time::sleep(wait).await;
    }
}

/// A time between two, evenly drawn.
pub(super) fn between(chance: &mut fastrand::Rng, low: Duration, high: Duration) -> Duration {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(chance.u64(ms(low)..=ms(high.max(low))))
}

/// A time whose logarithm is evenly drawn between those of two: as often short as long.
pub(super) fn log_between(chance: &mut fastrand::Rng, low: Duration, high: Duration) -> Duration {
    let ratio = high.as_secs_f64() / low.as_secs_f64();
    whole_ms(low.mul_f64(ratio.powf(chance.f64())))
}

/// The time to the next of events that happen independently, `mean` apart on average; never more than five times that.
fn exponential(chance: &mut fastrand::Rng, mean: Duration) -> Duration {
    whole_ms(mean.mul_f64((-(1.0 - chance.f64()).ln()).min(5.0)))
}

/// Without what two machines might compute differently.
fn whole_ms(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_drawn_within_their_bounds() {
        let mut chance = fastrand::Rng::with_seed(1);
        let (low, high) = (Duration::from_secs(1), Duration::from_secs(100));
        let mut sum = Duration::ZERO;
        for _ in 0..1000 {
            for time in [
                between(&mut chance, low, high),
                log_between(&mut chance, low, high),
            ] {
                assert!(low <= time && time <= high, "{time:?}");
            }
            sum += exponential(&mut chance, low);
        }
        let mean = sum / 1000;
        assert!(low.mul_f64(0.9) < mean && mean < low.mul_f64(1.1), "{mean:?}");
    }
}
