//! Which paths were pulled here, by day, until the cluster knows.
//!
//! A pull costs the log nothing: it is noted here unless the state knows of one of the same day, and told with all others
//! every few hours. So a path that is pulled every day costs one note a day, wherever it is pulled.
//!
//! # Invariants
//! - No request waits for what is noted here.
//! - At most [`NOTED_MAX`] paths are noted; when there are more, the rest is told at its next pull.
//!
//! # Non-goals
//! - Surviving a crash: pulls of the last hours may be forgotten. A period of days hardly notices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::store_path::StorePathHash;
use tetryx_raft::StateView;
use tetryx_state::command::{CacheAccesses, NoteAccesses};
use tetryx_state::limits::Limit;
use tetryx_state::query;

use super::is_allowed;
use crate::first_start::BY_NODE;
use crate::{Node, NodeError};

/// Paths noted at once.
pub(crate) const NOTED_MAX: usize = 1 << 16;
/// How long pulls are gathered before the cluster is told.
const PAUSE: Duration = Duration::from_secs(4 * 60 * 60);
/// Paths of a cache with one content that a pull of that content counts for.
const PATHS_PER_NAR: usize = 16;

/// Paths by cache.
type ByCache = BTreeMap<CacheName, BTreeSet<StorePathHash>>;

/// What was pulled and is not told yet.
#[derive(Debug, Default)]
pub(crate) struct Accesses {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    days: BTreeMap<u32, ByCache>,
    count: usize,
}

impl Noted {
    fn add(&mut self, day: u32, cache: &CacheName, path: StorePathHash) {
        if self.count >= NOTED_MAX {
            return;
        }
        let caches = self.days.entry(day).or_default();
        let paths = match caches.get_mut(cache) {
            Some(paths) => paths,
            None => caches.entry(cache.clone()).or_default(),
        };
        self.count += usize::from(paths.insert(path));
    }
}

impl Accesses {
    /// How many paths are noted.
    pub(crate) fn len(&self) -> usize {
        self.noted.lock().count
    }

    /// Notes that a path was pulled, or relied on, on a day; `known` is the last one in the state.
    pub(crate) fn note(&self, day: u32, known: u32, cache: &CacheName, path: StorePathHash) {
        if known < day {
            self.noted.lock().add(day, cache, path);
        }
    }

    fn take(&self) -> BTreeMap<u32, ByCache> {
        std::mem::take(&mut *self.noted.lock()).days
    }

    fn put_back(&self, days: BTreeMap<u32, ByCache>) {
        let mut noted = self.noted.lock();
        for (day, caches) in days {
            for (cache, paths) in caches {
                paths.into_iter().for_each(|path| noted.add(day, &cache, path));
            }
        }
    }
}

impl Node {
    /// Notes that the content of a NAR was pulled through a cache.
    pub(crate) fn note_pull(
        &self,
        view: &StateView,
        cache: &CacheName,
        nar: &NarHash,
    ) -> Result<(), NodeError> {
        let today = self.clock().utc().unix_day();
        for hash in query::holders(view, cache, nar, PATHS_PER_NAR)? {
            if let Some(path) = query::path(view, cache, &hash)? {
                self.accesses().note(today, path.last_access_day, cache, hash);
            }
        }
        Ok(())
    }
}

/// Tells the cluster every few hours, until the node stops.
pub(crate) async fn note_accesses(node: Node) {
    loop {
        tokio::time::sleep(PAUSE).await;
        if let Err(error) = tell_accesses(&node).await {
            tracing::debug!(error = error.chain(), "what was pulled here is told later");
        }
    }
}

/// Tells the cluster what was pulled here, as far as it does not know.
///
/// # Errors
/// When nobody could be asked: it is told the next time.
pub(crate) async fn tell_accesses(node: &Node) -> Result<(), NodeError> {
    let view = node.replica().view()?;
    if !is_allowed(&view)? {
        return Ok(());
    }
    let mut days = node.accesses().take();
    if days.is_empty() {
        return Ok(());
    }
    let unknown = node.io().run(move || {
        retain_unknown(&view, &mut days)?;
        Ok::<_, NodeError>(days)
    });
    let mut days = unknown.await??;
    while let Some((day, caches)) = days.pop_first() {
        for command in commands(day, &caches) {
            if let Err(error) = node.propose(BY_NODE, command).await {
                days.insert(day, caches);
                node.accesses().put_back(days);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Leaves out what another node has told since, and what is gone. Blocks.
fn retain_unknown(view: &StateView, days: &mut BTreeMap<u32, ByCache>) -> Result<(), NodeError> {
    for (day, caches) in days.iter_mut() {
        for (cache, paths) in caches.iter_mut() {
            for path in std::mem::take(paths) {
                if query::path(view, cache, &path)?.is_some_and(|record| record.last_access_day < *day) {
                    paths.insert(path);
                }
            }
        }
        caches.retain(|_, paths| !paths.is_empty());
    }
    Ok(())
}

/// The paths of a day, in commands that are not too large.
fn commands(day: u32, caches: &ByCache) -> Vec<NoteAccesses> {
    let most = usize::try_from(Limit::AccessesPerCommand.bound()).unwrap_or(usize::MAX);
    let mut commands: Vec<NoteAccesses> = Vec::new();
    let mut room = 0;
    for (cache, paths) in caches {
        let mut paths = paths.iter().copied().peekable();
        while paths.peek().is_some() {
            if room == 0 {
                let caches = Vec::new();
                commands.push(NoteAccesses { day, caches });
                room = most;
            }
            let paths: Vec<StorePathHash> = paths.by_ref().take(room).collect();
            room -= paths.len();
            let cache = cache.clone();
            if let Some(command) = commands.last_mut() {
                command.caches.push(CacheAccesses { cache, paths });
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u32) -> StorePathHash {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        StorePathHash::from_bytes(bytes)
    }

    fn cache(name: &str) -> CacheName {
        name.parse().expect("a cache name")
    }

    #[test]
    fn what_the_state_knows_of_a_day_is_not_noted() {
        let accesses = Accesses::default();
        accesses.note(7, 7, &cache("main"), hash(1));
        assert_eq!(accesses.len(), 0);
        accesses.note(8, 7, &cache("main"), hash(1));
        accesses.note(8, 7, &cache("main"), hash(1));
        assert_eq!(accesses.len(), 1);
    }

    #[test]
    fn no_more_is_noted_than_there_is_room_for() {
        let accesses = Accesses::default();
        for number in 0..u32::try_from(NOTED_MAX).expect("it fits") + 10 {
            accesses.note(8, 7, &cache("main"), hash(number));
        }
        assert_eq!(accesses.len(), NOTED_MAX);
        assert_eq!(accesses.take().len(), 1);
        assert_eq!(accesses.len(), 0);
    }

    #[test]
    fn what_could_not_be_told_is_noted_again() {
        let accesses = Accesses::default();
        accesses.note(7, 0, &cache("main"), hash(1));
        accesses.note(8, 0, &cache("main"), hash(1));
        let taken = accesses.take();
        accesses.note(8, 0, &cache("main"), hash(1));
        accesses.put_back(taken);
        assert_eq!(accesses.len(), 2);
    }

    #[test]
    fn a_command_names_no_more_paths_than_it_may() {
        let most = u32::try_from(Limit::AccessesPerCommand.bound()).expect("it fits");
        let caches = BTreeMap::from([
            (cache("a"), (0..most - 1).map(hash).collect()),
            (cache("b"), (0..3).map(hash).collect()),
        ]);
        let commands = commands(8, &caches);
        let sizes = |command: &NoteAccesses| command.caches.iter().map(|c| c.paths.len()).collect::<Vec<_>>();
        assert_eq!(
            commands.iter().map(sizes).collect::<Vec<_>>(),
            [vec![most as usize - 1, 1], vec![2]]
        );
    }
}
