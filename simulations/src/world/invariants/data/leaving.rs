//! Paths leave by themselves when their time is over by the log clock and nothing keeps them, and then they do leave.
//!
//! Worked out here again from what two states of the log say, so that it does not follow the node in a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tetryx_protocol::cache::{CacheName, Retention};
use tetryx_protocol::store_path::StorePathHash;
use tetryx_protocol::time::UtcTime;
use tetryx_raft::StateView;
use tetryx_state::query;
use tetryx_state::records::PathRecord;

use crate::world::oracle::BRIEF;

/// The paths of the cache that lets paths go, by one state.
#[derive(Clone, Debug)]
pub(super) struct Brief {
    clock: UtcTime,
    period: Duration,
    paths: BTreeMap<StorePathHash, PathRecord>,
}

pub(super) fn cache() -> CacheName {
    BRIEF.parse().expect("a cache name")
}

impl Brief {
    /// Reads it from a state; `None` where there is no such cache.
    pub(super) fn read(view: &StateView) -> Option<Self> {
        let record = query::cache(view, &cache()).ok()??;
        let Retention::Period { seconds } = record.retention else {
            return None;
        };
        let paths = query::paths(view, &cache(), None, usize::MAX).ok()?;
        Some(Self {
            clock: query::clock(view).ok()?,
            period: Duration::from_secs(seconds),
            paths: paths.into_iter().map(|path| (path.hash(), path)).collect(),
        })
    }

    /// The paths that nothing keeps: each is over, not pinned, and only such refer to it.
    pub(super) fn kept_by_nothing(&self) -> BTreeSet<StorePathHash> {
        let is_over = |path: &PathRecord| {
            let is_pinned = path
                .pinned
                .as_ref()
                .is_some_and(|pin| pin.until.is_none_or(|until| until > self.clock));
            !is_pinned && path.created.plus(self.period) <= self.clock
        };
        let mut needed: Vec<&PathRecord> = self.paths.values().filter(|path| !is_over(path)).collect();
        let mut kept = BTreeSet::new();
        while let Some(path) = needed.pop() {
            if kept.insert(path.hash()) {
                let below = path.references.iter();
                needed.extend(below.filter_map(|reference| self.paths.get(&reference.hash)));
            }
        }
        self.paths
            .keys()
            .filter(|hash| !kept.contains(hash))
            .copied()
            .collect()
    }

    /// Whether every path is pinned without an end, or below one that is.
    pub(super) fn all_stay(&self) -> bool {
        let mut needed: Vec<&PathRecord> = self
            .paths
            .values()
            .filter(|path| path.pinned.as_ref().is_some_and(|pin| pin.until.is_none()))
            .collect();
        let mut kept = BTreeSet::new();
        while let Some(path) = needed.pop() {
            if kept.insert(path.hash()) {
                let below = path.references.iter();
                needed.extend(below.filter_map(|reference| self.paths.get(&reference.hash)));
            }
        }
        kept.len() == self.paths.len()
    }
}

/// Judges what left between two states; how many paths did.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge(
    before: &Brief,
    after: &Brief,
    was_unpinned: impl Fn(&StorePathHash) -> bool,
) -> Result<u64, String> {
    let gone = |hash: &StorePathHash| before.paths.contains_key(hash) && !after.paths.contains_key(hash);
    let mut left = 0;
    for (hash, path) in before.paths.iter().filter(|(hash, _)| gone(hash)) {
        left += 1;
        let over = path.created.plus(before.period);
        if over > after.clock {
            return Err(format!(
                "{} left though its time lasts until {over}; the log clock is {}",
                path.store_path, after.clock
            ));
        }
        let Some(pin) = &path.pinned else { continue };
        let holds = pin.until.is_none_or(|until| until > after.clock);
        if holds && !was_unpinned(hash) {
            return Err(format!(
                "{} left though it is pinned until {:?}, and nobody unpinned it",
                path.store_path, pin.until
            ));
        }
    }
    for path in after.paths.values() {
        if let Some(reference) = path.references.iter().find(|reference| gone(&reference.hash)) {
            return Err(format!(
                "{reference} left though {} refers to it",
                path.store_path
            ));
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::hash::{ChunkHash, NarHash};
    use tetryx_protocol::store_path::StorePath;
    use tetryx_state::records::PathPin;

    use super::*;

    fn store_path(name: &str) -> StorePath {
        let digest = *ChunkHash::of(name.as_bytes()).as_bytes();
        let hash = StorePathHash::from_bytes(digest[..20].try_into().expect("20 bytes"));
        StorePath::new(hash, name.parse().expect("a name"))
    }

    fn at(seconds: i64) -> UtcTime {
        UtcTime::from_unix_ms(seconds * 1_000)
    }

    /// A path published at second 100.
    fn path(name: &str, references: &[&str]) -> PathRecord {
        PathRecord {
            store_path: store_path(name),
            nar_hash: NarHash::of(name.as_bytes()),
            references: references.iter().map(|name| store_path(name)).collect(),
            absent_references: Vec::new(),
            deriver: None,
            system: None,
            ca: None,
            signatures: Vec::new(),
            created: at(100),
            created_by: "somebody".to_owned(),
            last_access_day: 0,
            pinned: None,
        }
    }

    fn pinned(mut path: PathRecord, until: Option<UtcTime>) -> PathRecord {
        path.pinned = Some(PathPin {
            by: "somebody".to_owned(),
            at: at(100),
            until,
        });
        path
    }

    /// A cache that keeps paths for 60 seconds.
    fn brief(clock: i64, paths: &[PathRecord]) -> Brief {
        Brief {
            clock: at(clock),
            period: Duration::from_secs(60),
            paths: paths.iter().map(|path| (path.hash(), path.clone())).collect(),
        }
    }

    #[test]
    fn a_path_that_leaves_before_its_time_is_noticed() {
        let before = brief(100, &[path("a", &[])]);
        assert_eq!(judge(&before, &brief(160, &[]), |_| false), Ok(1));
        assert!(judge(&before, &brief(159, &[]), |_| false).is_err());
    }

    #[test]
    fn a_pinned_path_that_leaves_is_noticed_unless_it_was_unpinned_or_the_pin_ended() {
        let before = brief(100, &[pinned(path("a", &[]), None)]);
        assert!(judge(&before, &brief(500, &[]), |_| false).is_err());
        assert_eq!(judge(&before, &brief(500, &[]), |_| true), Ok(1));
        let before = brief(100, &[pinned(path("a", &[]), Some(at(300)))]);
        assert!(judge(&before, &brief(299, &[]), |_| false).is_err());
        assert_eq!(judge(&before, &brief(300, &[]), |_| false), Ok(1));
    }

    #[test]
    fn a_path_that_leaves_from_under_another_is_noticed() {
        let (below, above) = (path("below", &[]), path("above", &["below"]));
        let before = brief(100, &[below, above.clone()]);
        assert!(judge(&before, &brief(500, &[above]), |_| false).is_err());
        assert_eq!(judge(&before, &brief(500, &[]), |_| false), Ok(2));
    }

    #[test]
    fn what_a_pinned_path_refers_to_is_kept_and_the_rest_is_not() {
        let paths = [
            path("below", &[]),
            pinned(path("above", &["below"]), None),
            path("alone", &[]),
        ];
        let now = brief(160, &paths);
        assert_eq!(now.kept_by_nothing(), [store_path("alone").hash].into());
        assert!(!now.all_stay() && brief(160, &paths[..2]).all_stay());
        assert_eq!(brief(159, &paths).kept_by_nothing(), BTreeSet::new());
    }
}
