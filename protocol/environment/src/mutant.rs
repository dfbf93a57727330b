//! Deliberate bugs, one at a time: the proof that the simulation finds such bugs.
//!
//! Each breaks one promise at the place that keeps it. Without the feature `mutants` none of this is compiled.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// A promise broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutant {
    /// The log counts as committed before a quorum has it.
    CommitBeforeQuorum = 1,
    /// The log answers before its entries are flushed.
    AcknowledgeBeforeFlush,
    /// A command that was applied before is applied again.
    ApplyWithoutDedup,
    /// A snapshot leaves out which commands were applied.
    SnapshotForgetsDedup,
    /// A node that does not vote goes on taking revoked tokens.
    RevocationIgnoredByLearners,
    /// A path is published before its chunks are durable.
    VisibleBeforeDurable,
    /// A fetched chunk is stored without a look at its hash.
    FetchedUnverified,
    /// A restart loses the entries of the outbox.
    OutboxForgottenOnRestart,
    /// A node sweeps what is over by its own clock, before the log says so.
    SweepByWallClock,
    /// What an upload relies on is pinned when it is committed, and not before it is told that it is here.
    PinAfterAnswer,
    /// A collection reads the state, and only a while later begins to mind what is pinned.
    MarkBeforePins,
}

impl Mutant {
    pub const ALL: [Self; 11] = [
        Self::CommitBeforeQuorum,
        Self::AcknowledgeBeforeFlush,
        Self::ApplyWithoutDedup,
        Self::SnapshotForgetsDedup,
        Self::RevocationIgnoredByLearners,
        Self::VisibleBeforeDurable,
        Self::FetchedUnverified,
        Self::OutboxForgottenOnRestart,
        Self::SweepByWallClock,
        Self::PinAfterAnswer,
        Self::MarkBeforePins,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommitBeforeQuorum => "commit-before-quorum",
            Self::AcknowledgeBeforeFlush => "acknowledge-before-flush",
            Self::ApplyWithoutDedup => "apply-without-dedup",
            Self::SnapshotForgetsDedup => "snapshot-forgets-dedup",
            Self::RevocationIgnoredByLearners => "revocation-ignored-by-learners",
            Self::VisibleBeforeDurable => "visible-before-durable",
            Self::FetchedUnverified => "fetched-unverified",
            Self::OutboxForgottenOnRestart => "outbox-forgotten-on-restart",
            Self::SweepByWallClock => "sweep-by-wall-clock",
            Self::PinAfterAnswer => "pin-after-answer",
            Self::MarkBeforePins => "mark-before-pins",
        }
    }

    /// Whether this is the bug of this process.
    pub fn is_active(self) -> bool {
        ACTIVE.load(Ordering::Relaxed) == self as u8
    }

    /// Makes this the bug of this process.
    pub fn activate(self) {
        ACTIVE.store(self as u8, Ordering::Relaxed);
    }
}

static ACTIVE: AtomicU8 = AtomicU8::new(0);

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such mutant.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownMutant(String);

impl fmt::Display for UnknownMutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Mutant::ALL.map(Mutant::name).join(", ");
        write!(f, "there is no mutant {:?}; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownMutant {}

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mutant| mutant.name() == name);
        found.ok_or_else(|| UnknownMutant(name.to_owned()))
    }
}
