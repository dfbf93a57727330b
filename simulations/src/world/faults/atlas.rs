//! Who may hold or tell what is not true, so that a good copy of everything is always left.
//!
//! # Invariants
//! - At most one station at a time is *doubtful*: bits flip on its disk, or it lies, or its disk is lost. It stays
//!   doubtful until its last harm has ended and nobody lacked a copy after that.
//! - Worlds in which this happens keep two copies at least ([`super::super::Plan::keeps_two_copies`]), and a copy counts
//!   for nothing to another station unless each holder has said that it has one. So one of those is honest.
//! - Whoever lies is in the minority; and a cluster loses a disk only while a majority of its voters is left.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::World;
use super::targets;

/// How long one look at who lacks what may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that takes a station's word, or its disk, away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// What lies on its disk changes.
    Flips,
    /// It says what is not true.
    Lies,
    /// Its disk is gone for good.
    Loss,
}

impl Harm {
    /// The fewest members of a cluster to one of which this may happen.
    const fn members_min(self) -> usize {
        match self {
            Self::Flips => 2,
            Self::Lies | Self::Loss => 3,
        }
    }
}

/// The doubtful station, and why it is.
#[derive(Debug, Default)]
pub(crate) struct Atlas {
    doubtful: Option<Doubtful>,
}

#[derive(Debug)]
struct Doubtful {
    station: usize,
    /// What still goes on.
    open: BTreeSet<Harm>,
    is_lost: bool,
}

impl Atlas {
    /// The station whose copies and words count for nothing now.
    pub(crate) fn doubtful(&self) -> Option<usize> {
        self.doubtful.as_ref().map(|doubtful| doubtful.station)
    }

    /// Whether this may happen to the station, in a cluster of so many.
    pub(super) fn may(&self, station: usize, harm: Harm, members: usize) -> bool {
        members >= harm.members_min()
            && self
                .doubtful
                .as_ref()
                .is_none_or(|doubtful| doubtful.station == station && !doubtful.is_lost)
    }

    /// It happens.
    pub(super) fn begin(&mut self, station: usize, harm: Harm) {
        let doubtful = self.doubtful.get_or_insert_with(|| Doubtful {
            station,
            open: BTreeSet::new(),
            is_lost: false,
        });
        assert_eq!(doubtful.station, station, "one station is doubtful at most");
        if harm == Harm::Loss {
            // Nothing else can happen to it any more.
            doubtful.open.clear();
        }
        doubtful.open.insert(harm);
        doubtful.is_lost |= harm == Harm::Loss;
    }

    /// It goes on no more. The station is still doubtful.
    pub(super) fn end(&mut self, station: usize, harm: Harm) {
        if let Some(doubtful) = &mut self.doubtful
            && doubtful.station == station
        {
            doubtful.open.remove(&harm);
        }
    }

    /// The station has left the cluster, with whatever was wrong with it.
    fn has_left(&mut self, station: usize) {
        if let Some(doubtful) = &mut self.doubtful
            && doubtful.station == station
        {
            doubtful.open.retain(|harm| *harm == Harm::Loss);
        }
    }

    /// Nobody lacks anything. Whom nothing happens to any more is as good as the others from now on.
    fn all_is_repaired(&mut self) {
        if self
            .doubtful
            .as_ref()
            .is_some_and(|doubtful| doubtful.open.is_empty())
        {
            self.doubtful = None;
        }
    }

    /// Whether the doubtful station only waits for a repair.
    fn waits_for_repair(&self) -> bool {
        self.doubtful
            .as_ref()
            .is_some_and(|doubtful| doubtful.open.is_empty())
    }
}

/// Looks whether what was harmed is repaired.
pub(super) async fn review(world: &World) {
    for station in world.oracle().members().removed() {
        world.trouble().atlas().has_left(station);
    }
    if !world.trouble().atlas().waits_for_repair() {
        return;
    }
    for station in targets::present(world) {
        let Some(node) = station.node() else { return };
        match tokio::time::timeout(PATIENCE, node.replicate_once()).await {
            Ok(Ok(report)) if report.figures.under_replicated.nars == 0 => {}
            _ => return,
        }
    }
    world.trouble().atlas().all_is_repaired();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_one_station_is_doubtful_no_other_is_harmed() {
        let mut atlas = Atlas::default();
        assert!(atlas.may(1, Harm::Flips, 3));
        atlas.begin(1, Harm::Flips);
        assert_eq!(atlas.doubtful(), Some(1));
        assert!(!atlas.may(2, Harm::Flips, 3));
        assert!(!atlas.may(0, Harm::Loss, 5));
        assert!(atlas.may(1, Harm::Lies, 3));
    }

    #[test]
    fn a_station_is_doubtful_until_all_was_repaired_after_the_last_harm() {
        let mut atlas = Atlas::default();
        atlas.begin(1, Harm::Flips);
        atlas.begin(1, Harm::Lies);
        atlas.end(1, Harm::Lies);
        atlas.all_is_repaired();
        assert_eq!(atlas.doubtful(), Some(1));
        atlas.end(1, Harm::Flips);
        assert!(atlas.waits_for_repair());
        assert_eq!(atlas.doubtful(), Some(1));
        atlas.all_is_repaired();
        assert_eq!(atlas.doubtful(), None);
        assert!(atlas.may(2, Harm::Loss, 3));
    }

    #[test]
    fn two_members_survive_flips_and_three_a_liar_or_a_lost_disk() {
        let atlas = Atlas::default();
        assert!(!atlas.may(0, Harm::Flips, 1));
        assert!(atlas.may(0, Harm::Flips, 2));
        assert!(!atlas.may(0, Harm::Lies, 2));
        assert!(!atlas.may(0, Harm::Loss, 2));
        assert!(atlas.may(0, Harm::Lies, 3));
        assert!(atlas.may(0, Harm::Loss, 3));
    }

    #[test]
    fn what_was_wrong_with_a_station_leaves_with_it() {
        let mut atlas = Atlas::default();
        atlas.begin(1, Harm::Flips);
        atlas.has_left(2);
        assert!(!atlas.waits_for_repair());
        atlas.begin(1, Harm::Loss);
        atlas.has_left(1);
        assert!(!atlas.waits_for_repair(), "it must be removed first");
        atlas.end(1, Harm::Loss);
        assert!(atlas.waits_for_repair());
    }

    #[test]
    fn nothing_more_happens_to_a_disk_that_is_lost() {
        let mut atlas = Atlas::default();
        atlas.begin(1, Harm::Loss);
        assert!(!atlas.may(1, Harm::Flips, 5));
        assert!(!atlas.may(1, Harm::Loss, 5));
    }
}
