//! Proof that the simulation finds such bugs: each deliberate bug is let loose in worlds that give it a chance to show,
//! until a promise is broken.
//!
//! # Invariants
//! - What counts as found is a broken promise of those that the bug is about, not just any, in a world that keeps every
//!   promise without the bug.

use std::fmt;

use tetryx_environment::mutant::Mutant;
use tetryx_simulations::runner::Batch;
use tetryx_simulations::world::{Fault, Faults, Promise, Wish};

/// Where a bug shows.
struct Hunt {
    mutant: Mutant,
    stations: usize,
    hours: f64,
    /// The faults that it takes.
    with: &'static [Fault],
    /// Worlds in which it must show.
    seeds: u64,
    /// Promises that it breaks.
    promises: &'static [Promise],
}

/// What came of a hunt.
enum Found {
    By {
        seed: u64,
        promise: String,
    },
    /// A world broke a promise that the bug has nothing to do with, or did not run.
    Other {
        seed: u64,
        what: String,
    },
    Nothing,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By { seed, promise } => write!(f, "found by seed {seed}: {promise}"),
            Self::Other { seed, what } => write!(f, "NOT FOUND: seed {seed} shows something else: {what}"),
            Self::Nothing => f.write_str("NOT FOUND"),
        }
    }
}

const fn hunt(mutant: Mutant) -> Hunt {
    let (stations, hours, with, seeds, promises): (usize, f64, &[Fault], u64, &[Promise]) = match mutant {
        Mutant::CommitBeforeQuorum => (
            3,
            0.25,
            &[Fault::FullCut, Fault::Blackout, Fault::Crash],
            30,
            &[
                Promise::CommittedStays,
                Promise::LeaderCompleteness,
                Promise::LogMatching,
                Promise::SameState,
                Promise::AcknowledgedStays,
                Promise::Linearizable,
                Promise::NothingGoesBack,
            ],
        ),
        Mutant::AcknowledgeBeforeFlush => (
            3,
            0.25,
            &[Fault::Crash, Fault::CrashMidWrite, Fault::TornWrite],
            30,
            &[
                Promise::CommittedStays,
                Promise::LeaderCompleteness,
                Promise::NothingGoesBack,
                Promise::AcknowledgedStays,
                Promise::Linearizable,
            ],
        ),
        Mutant::ApplyWithoutDedup => (
            3,
            0.25,
            &[Fault::Loss, Fault::FullCut, Fault::OneWayCut],
            30,
            &[Promise::AppliedOnce, Promise::Linearizable],
        ),
        Mutant::SnapshotForgetsDedup => (
            3,
            0.25,
            &[Fault::Membership, Fault::Crash],
            30,
            &[Promise::SameState, Promise::AppliedOnce],
        ),
        Mutant::RevocationIgnoredByLearners => (4, 0.1, &[], 10, &[Promise::RevokedRefused]),
        Mutant::VisibleBeforeDurable => (3, 0.1, &[], 10, &[Promise::NotServedBeforeDurable]),
        Mutant::FetchedUnverified => (3, 0.25, &[Fault::LyingPeer], 20, &[Promise::ServedAsNamed]),
        Mutant::SweepByWallClock => (
            3,
            0.5,
            &[Fault::ClockOffset],
            30,
            &[
                Promise::NothingLiveCollected,
                Promise::CopiesKept,
                Promise::AcknowledgedStays,
                Promise::Converges,
            ],
        ),
        Mutant::PinAfterAnswer => (
            1,
            0.25,
            &[Fault::Operators],
            30,
            &[
                Promise::NothingLiveCollected,
                Promise::NotServedBeforeDurable,
                Promise::CopiesKept,
                Promise::AcknowledgedStays,
                Promise::Converges,
            ],
        ),
        Mutant::MarkBeforePins => (
            1,
            0.25,
            &[Fault::Operators],
            30,
            &[
                Promise::NothingLiveCollected,
                Promise::CopiesKept,
                Promise::AcknowledgedStays,
                Promise::Converges,
            ],
        ),
        Mutant::OutboxForgottenOnRestart => (
            3,
            0.25,
            &[Fault::FullCut, Fault::Blackout, Fault::Crash],
            30,
            &[Promise::ProvisionalKept],
        ),
    };
    Hunt {
        mutant,
        stations,
        hours,
        with,
        seeds,
        promises,
    }
}

impl Hunt {
    fn run(&self, jobs: usize) -> Found {
        let faults = self.with.iter();
        let batch = Batch {
            wish: Wish {
                stations: Some(self.stations),
                hours: Some(self.hours),
                with: faults.fold(Faults::default(), |faults, fault| faults.and(*fault)),
            },
            jobs,
            arguments: vec!["--mutant".to_owned(), self.mutant.to_string()],
        };
        let mut found = Found::Nothing;
        batch.run_all(1..self.seeds + 1, |seed, report| {
            let violation = match report {
                Ok(report) => report.violation,
                Err(error) => {
                    let what = error.to_string();
                    found = Found::Other { seed, what };
                    return false;
                }
            };
            let Some(violation) = violation else { return true };
            let mut promises = self.promises.iter().map(Promise::to_string);
            found = if promises.any(|promise| promise == violation.promise) {
                let promise = violation.promise;
                Found::By { seed, promise }
            } else {
                let what = format!("{}: {}", violation.promise, violation.detail);
                Found::Other { seed, what }
            };
            matches!(found, Found::Other { .. })
        });
        match found {
            Found::By { seed, .. } => self.unless_also_without(batch, seed).unwrap_or(found),
            _ => found,
        }
    }

    /// What the same world breaks when the bug is away.
    fn unless_also_without(&self, batch: Batch, seed: u64) -> Option<Found> {
        let without = Batch {
            arguments: Vec::new(),
            ..batch
        };
        let what = match without.run(seed) {
            Ok(report) => report.violation?.promise,
            Err(error) => error.to_string(),
        };
        let what = format!("without the bug, too: {what}");
        Some(Found::Other { seed, what })
    }
}

/// Hunts them all; whether each was found.
#[expect(clippy::print_stdout, reason = "reports are what this program is for")]
pub(crate) fn hunt_all(jobs: usize) -> bool {
    let mut all_found = true;
    for mutant in Mutant::ALL {
        let found = hunt(mutant).run(jobs);
        println!("{mutant}: {found}");
        all_found &= matches!(found, Found::By { .. });
    }
    all_found
}
