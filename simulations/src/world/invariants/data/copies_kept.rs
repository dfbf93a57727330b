//! A published path's chunks are not lost, and once the world is at rest they are where they belong.
//!
//! All the time: of each manifest and chunk of a published path, some machine's disk has an intact and durable record,
//! whether a process runs there or not; unless a disk has damaged one, which may have been the last. What one disk has
//! no more is judged half a minute later by the state of the leader, since a deletion may have been behind it.
//! At rest: each NAR is whole, durable and known to the store on every one of its holders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tetryx_protocol::hash::NarHash;
use tetryx_store::Object;

/// After how long it is judged what a disk has no more.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct CopiesKept {
    /// What some disk has no more, since when, and the newest log entry that was applied anywhere then.
    doubtful: BTreeMap<Object, (Duration, u64)>,
}

impl CopiesKept {
    /// Takes note of what some disk has no more.
    pub(super) fn gone(&mut self, objects: impl IntoIterator<Item = Object>, now: Duration, index: u64) {
        for object in objects {
            self.doubtful.insert(object, (now, index));
        }
    }

    /// Whether something waits to be judged.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// Judges by the leader's state at `index`: what is `live` must be `somewhere`.
    ///
    /// # Errors
    /// In words, how the promise is broken.
    pub(super) fn look(
        &mut self,
        now: Duration,
        index: u64,
        live: &BTreeMap<Object, NarHash>,
        is_somewhere: impl Fn(&Object) -> bool,
    ) -> Result<(), String> {
        let due: Vec<Object> = self
            .doubtful
            .iter()
            .filter(|(_, (since, at))| now >= *since + PATIENCE && index >= *at)
            .map(|(object, _)| *object)
            .collect();
        for object in due {
            self.doubtful.remove(&object);
            if let Some(nar) = live.get(&object)
                && !is_somewhere(&object)
            {
                return Err(format!(
                    "{object:?} of the published NAR {nar} is on no machine's disk any more"
                ));
            }
        }
        Ok(())
    }
}

/// Judges a NAR at rest: every holder must have it.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn at_rest(
    nar: &NarHash,
    holders: &BTreeSet<usize>,
    having: &BTreeSet<usize>,
) -> Result<(), String> {
    let lacking: Vec<&usize> = holders.difference(having).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(format!(
        "at rest, the NAR {nar} belongs on stations {holders:?}, and {lacking:?} have not got it whole; {having:?} have"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{chunk, nar};
    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    fn live() -> BTreeMap<Object, NarHash> {
        BTreeMap::from([(chunk(1), nar(1))])
    }

    fn lost() -> CopiesKept {
        let mut check = CopiesKept::default();
        check.gone([chunk(1)], Duration::ZERO, 5);
        check
    }

    #[test]
    fn the_last_copy_of_something_published_is_missed() {
        let error = lost().look(LATER, 5, &live(), |_| false).unwrap_err();
        assert!(error.contains(&nar(1).to_string()), "{error}");
    }

    #[test]
    fn what_is_elsewhere_or_was_deleted_may_go() {
        assert_eq!(lost().look(LATER, 5, &live(), |_| true), Ok(()));
        assert_eq!(lost().look(LATER, 5, &BTreeMap::new(), |_| false), Ok(()));
    }

    #[test]
    fn it_is_judged_by_a_state_that_knows_what_had_happened() {
        let mut check = lost();
        assert_eq!(check.look(LATER, 4, &live(), |_| false), Ok(()));
        assert_eq!(check.look(Duration::from_secs(1), 9, &live(), |_| false), Ok(()));
        assert!(check.is_in_doubt());
        assert!(check.look(LATER, 9, &live(), |_| false).is_err());
        assert!(!check.is_in_doubt());
    }

    #[test]
    fn at_rest_a_holder_without_its_copy_is_noticed() {
        let holders = BTreeSet::from([0, 2]);
        assert_eq!(at_rest(&nar(1), &holders, &BTreeSet::from([0, 1, 2])), Ok(()));
        let error = at_rest(&nar(1), &holders, &BTreeSet::from([0, 1])).unwrap_err();
        assert!(error.contains("[2] have not got it"), "{error}");
    }
}
