//! What clients were promised, so that it can be held against what the cluster does.
//!
//! Clients say what they ask for before they ask, and what they were told after; a request whose answer never came is
//! *unknown*, never *absent*. From that follows what must be answered later, by whom; and whether what was answered
//! could have come from one copy of each thing, changed one step at a time ([`linear`]).
//!
//! # Invariants
//! - Nothing here looks into a station: the oracle knows what a client can know.
//!
//! # Non-goals
//! - Asking: [`super::clients`]. How many copies there are and where: [`super::invariants`].

mod caches;
mod freshness;
mod linear;
mod members;
mod paths;
mod recipe;
mod registry;
mod tokens;

use parking_lot::{Mutex, MutexGuard};

pub(crate) use self::caches::{Caches, NAMES};
use self::freshness::Acknowledged;
pub(crate) use self::members::{Members, Standing as MemberStanding};
pub(crate) use self::paths::{BRIEF, Expected, PathKey, Paths, Push};
pub(crate) use self::recipe::{Contents, Recipe};
pub(crate) use self::registry::{CacheInput, CacheOutput, Changes, Settings};
pub(crate) use self::tokens::{Issued, Standing as TokenStanding, Tokens, serial_of, subject};

/// What clients were promised.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    paths: Mutex<Paths>,
    caches: Mutex<Caches>,
    tokens: Mutex<Tokens>,
    members: Mutex<Members>,
    acknowledged: Mutex<Acknowledged>,
}

impl Oracle {
    /// About paths.
    pub(crate) fn paths(&self) -> MutexGuard<'_, Paths> {
        self.paths.lock()
    }

    /// About caches that come and go.
    pub(crate) fn caches(&self) -> MutexGuard<'_, Caches> {
        self.caches.lock()
    }

    /// About tokens.
    pub(crate) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock()
    }

    /// About stations.
    pub(crate) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock()
    }

    /// What was acknowledged when.
    pub(crate) fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock()
    }

    /// How many histories were too much to judge.
    pub(crate) fn undecided(&self) -> usize {
        self.paths().undecided() + self.caches().undecided() + self.tokens().undecided()
    }
}
