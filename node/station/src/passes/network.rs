//! The passes of many satellites over many observers, on all cores, as a stream.

use rayon::prelude::*;

use super::Pass;
use super::predict::{Observer, Search, Window};
use crate::propagator::Propagator;

/// About how many passes may wait for whoever takes them.
const WAITING_PASSES: f64 = 500_000.0;
/// About how many passes a satellite in low orbit has over a site in an hour.
const PASSES_AN_HOUR: f64 = 0.25;
/// At most so many satellites are searched before their passes are handed over.
const BATCH_MAX: usize = 1_024;

/// One satellite of many: its place in the list, and its passes by observer.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The place of the satellite in what was given.
    pub satellite: usize,
    /// The observers' places in what was given, and a pass over each, in order of the observers, then of time.
    pub passes: Vec<(usize, Pass)>,
}

/// Observers that share every satellite's path.
#[derive(Clone, Debug)]
pub struct Network {
    observers: Vec<Observer>,
}

impl Network {
    /// Of these observers.
    pub fn new(observers: Vec<Observer>) -> Self {
        Self { observers }
    }

    /// Its observers, as given.
    pub fn observers(&self) -> &[Observer] {
        &self.observers
    }

    /// Every pass of one satellite over all observers.
    pub fn passes_of(&self, propagator: &Propagator, window: &Window) -> Vec<(usize, Pass)> {
        let mut search = Search::new(propagator, window);
        let mut found = Vec::new();
        for (index, observer) in self.observers.iter().enumerate() {
            search.passes(observer, |pass| found.push((index, pass)));
        }
        found
    }

    /// Hands over the passes of each satellite, in the order given, while others are still searched by rayon's threads.
    /// However many satellites there are, only a bounded number of passes is kept.
    pub fn passes(&self, satellites: &[Propagator], window: &Window, mut take: impl FnMut(Target)) {
        let expected =
            PASSES_AN_HOUR * self.observers.len().max(1) as f64 * (window.seconds() / 3600.0).max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is clamped to small numbers"
        )]
        let batch = (WAITING_PASSES / expected).clamp(4.0, BATCH_MAX as f64) as usize;
        for (index, batch_of) in satellites.chunks(batch).enumerate() {
            let found: Vec<_> = batch_of
                .par_iter()
                .map(|propagator| self.passes_of(propagator, window))
                .collect();
            for (offset, passes) in found.into_iter().enumerate() {
                take(Target {
                    satellite: index * batch + offset,
                    passes,
                });
            }
        }
    }
}
