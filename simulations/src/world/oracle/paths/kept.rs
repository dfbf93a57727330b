//! What was promised about paths of the cache that lets paths go, and what pins keep there.
//!
//! Nobody is told when such a path leaves. So each push of one is followed by a deletion that may happen at any time, and
//! nothing is expected of the path; but while it is pinned, it and everything below it must be there.

use std::collections::{BTreeMap, BTreeSet};

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::store_path::StorePathHash;

use super::{PathInput, PathKey, Paths, Promised};

/// The cache whose paths leave when their time is over.
pub(crate) const BRIEF: &str = "brief";

/// What is known of the pins of a path.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// The paths above it, or itself, that are pinned without an end, and since which log index.
    by: BTreeMap<u64, u64>,
    /// Somebody began to unpin it, at any time.
    was_unpinned: bool,
    /// Somebody never heard whether it was unpinned: it may happen still.
    may_be_unpinned: bool,
}

impl Pins {
    /// The log index from which on the path must be there.
    pub(super) fn kept_from(&self) -> Option<u64> {
        self.by.values().min().copied()
    }
}

/// Whether a path may leave by itself.
pub(super) fn may_leave(key: &PathKey) -> bool {
    key.cache.as_str() == BRIEF
}

impl Promised {
    /// From now on it may be gone at any time.
    pub(super) fn leaves_some_day(&mut self) {
        self.deletes_open += 1;
        self.was_deleted = true;
        let leaves = self.history.begin(PathInput::Delete);
        self.history.in_doubt(leaves);
    }
}

impl Paths {
    /// A path is pinned without an end.
    pub(crate) fn pinned(&mut self, key: &PathKey, index: u64) {
        if self
            .paths
            .get(key)
            .is_none_or(|promised| promised.pins.may_be_unpinned)
        {
            return;
        }
        let (mut below, mut kept) = (vec![key.serial], BTreeSet::new());
        while let Some(serial) = below.pop() {
            let cache = key.cache.clone();
            let Some(promised) = self.paths.get_mut(&PathKey { cache, serial }) else {
                continue;
            };
            if kept.insert(serial) {
                promised.pins.by.entry(key.serial).or_insert(index);
                promised.version += 1;
                below.extend(&promised.recipe.references);
            }
        }
    }

    /// Somebody is about to unpin a path.
    pub(crate) fn unpin_begins(&mut self, key: &PathKey) {
        for promised in self.paths.values_mut() {
            if promised.pins.by.remove(&key.serial).is_some() {
                promised.version += 1;
            }
        }
        if let Some(promised) = self.paths.get_mut(key) {
            promised.pins.was_unpinned = true;
        }
    }

    /// Nobody knows whether it was unpinned.
    pub(crate) fn unpin_in_doubt(&mut self, key: &PathKey) {
        if let Some(promised) = self.paths.get_mut(key) {
            promised.pins.may_be_unpinned = true;
        }
    }

    /// Whether somebody ever began to unpin the path of this hash.
    pub(crate) fn was_unpinned(&self, cache: &CacheName, hash: &StorePathHash) -> bool {
        let key = self.by_hash.get(&(cache.clone(), hash.to_string()));
        let promised = key.and_then(|key| self.paths.get(key));
        promised.is_none_or(|promised| promised.pins.was_unpinned)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::recipe::{Contents, Recipe};
    use super::super::Expected;
    use super::*;

    /// A path of the brief cache, and one that refers to it, both pushed.
    fn pushed() -> (Paths, PathKey, PathKey) {
        let mut paths = Paths::default();
        let mut introduce = |references: Vec<u64>| {
            let recipe = Recipe {
                seed: 1,
                serial: paths.next_serial(),
                contents: Contents::Own { len: 100 },
                references,
            };
            let nar_hash = recipe.make().nar_hash();
            paths.introduce(&BRIEF.parse().expect("a cache name"), recipe, nar_hash)
        };
        let below = introduce(Vec::new());
        let above = introduce(vec![below.serial]);
        for (key, index) in [(&below, 10), (&above, 11)] {
            let push = paths.push_begins(std::slice::from_ref(key));
            paths
                .pushed(push, 0, Duration::ZERO, index, 1)
                .expect("it is new");
        }
        (paths, below, above)
    }

    fn expected(paths: &Paths, key: &PathKey) -> Expected {
        paths.expectation(key, 0).expect("it is known").expected
    }

    #[test]
    fn nothing_is_expected_of_a_path_that_may_leave() {
        let (mut paths, below, _) = pushed();
        assert_eq!(expected(&paths, &below), Expected::Either);
        for is_there in [true, false] {
            let read = paths.read_begins(&below).expect("it is known");
            paths.read(read, is_there).expect("both may be");
        }
        let read = paths.read_begins(&below).expect("it is known");
        paths
            .read(read, true)
            .expect_err("it does not come back by itself");
    }

    #[test]
    fn a_pin_keeps_everything_below_until_it_is_lifted() {
        let (mut paths, below, above) = pushed();
        paths.pinned(&above, 12);
        assert_eq!(expected(&paths, &below), Expected::Present { from: 12 });
        paths.pinned(&below, 13);
        paths.unpin_begins(&above);
        assert_eq!(expected(&paths, &above), Expected::Either);
        assert_eq!(expected(&paths, &below), Expected::Present { from: 13 });
        paths.unpin_begins(&below);
        assert_eq!(expected(&paths, &below), Expected::Either);
    }

    #[test]
    fn a_pin_after_an_unpin_of_which_nobody_heard_keeps_nothing() {
        let (mut paths, below, _) = pushed();
        paths.unpin_begins(&below);
        paths.unpin_in_doubt(&below);
        paths.pinned(&below, 12);
        assert_eq!(expected(&paths, &below), Expected::Either);
    }
}
