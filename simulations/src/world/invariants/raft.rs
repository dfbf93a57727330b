//! Looks at the replicas of all stations once a virtual second, and has each promise of consensus checked on what is
//! seen.
//!
//! All stations are looked at in one moment: nothing runs in between. The entries of their logs are read afterwards,
//! from the last one on that was seen to be committed.
//!
//! # Non-goals
//! - Judging: each check is a file of its own, which knows neither stations nor time.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_raft::{EntryMark, Observation, Replica};

use super::raft_backwards::Backwards;
use super::raft_bounds::Bounds;
use super::raft_committed::Committed;
use super::raft_completeness::Completeness;
use super::raft_leaders::Leaders;
use super::raft_matching::Matching;
use super::raft_once::Once;
use super::raft_state::States;
use crate::world::{Promise, Station, World, calm};

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often whole states are hashed. What the stations' own audits find is compared every time.
const HASH_EVERY: Duration = Duration::from_secs(60);
/// How often it is tried to find all states after the same entry at the end.
const AT_REST_TRIES: u32 = 300;

/// A replica at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) seen: Observation,
    /// Entries of its log, without a gap: the newest ones, from at least the one after the last that was seen to be
    /// committed before.
    pub(super) entries: Vec<EntryMark>,
}

/// What is remembered of all that was seen.
#[derive(Default)]
pub(in crate::world) struct Watch {
    leaders: Mutex<Leaders>,
    matching: Mutex<Matching>,
    committed: Mutex<Committed>,
    completeness: Mutex<Completeness>,
    backwards: Mutex<Backwards>,
    states: Mutex<States>,
    once: Mutex<Once>,
    bounds: Mutex<Bounds>,
    read: Mutex<Read>,
}

/// For each station, in which of its runs which entries were read already: those before this index.
#[derive(Default)]
struct Read(BTreeMap<usize, (tetryx_protocol::id::ClientId, u64)>);

impl Read {
    fn from(&self, station: usize, seen: &Observation) -> u64 {
        match self.0.get(&station) {
            Some((run, from)) if *run == seen.opened_as => *from,
            _ => 0,
        }
    }

    /// What was committed when it was looked at stays as it is.
    fn done(&mut self, station: usize, seen: &Observation) {
        let next = seen.committed.map_or(0, |committed| committed.index + 1);
        self.0.insert(station, (seen.opened_as, next));
    }
}

/// Looks at everything until the run ends.
pub(crate) async fn run(world: World) {
    let mut hash_at = HASH_EVERY;
    loop {
        tokio::time::sleep(EVERY).await;
        look(&world).await;
        if world.now() >= hash_at {
            hash_at = world.now() + HASH_EVERY;
            hash(&world, world.stations()).await;
        }
    }
}

/// Looks at everything at the end of a run, when everything is at rest: all stations come to the same state.
pub(crate) async fn look_at_rest(world: &World) {
    look(world).await;
    let mut indices = Vec::new();
    for _ in 0..AT_REST_TRIES {
        // Whatever is proposed meanwhile, such as what an audit found, moves some of them on.
        let members = calm::members(world).unwrap_or_default();
        indices = hash(world, members).await;
        if indices.iter().all(|index| *index == indices[0]) {
            world.count("same state at rest");
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
    let detail = format!("at rest, the states of the stations are of the entries {indices:?}");
    world.violated(Promise::Converges, detail);
}

/// Looks at a replica for the last time before its process ends.
pub(in crate::world) fn last_look(world: &World, replica: &Replica) {
    let seen = replica.observe();
    if seen.last_log.is_some() {
        let judged = world.inner.watch.backwards.lock().look(&[seen]);
        report(world, Promise::NothingGoesBack, judged);
    }
}

fn running(stations: Vec<Station>) -> Vec<(Station, Replica)> {
    stations
        .into_iter()
        .filter_map(|station| {
            let node = station.node()?;
            Some((station, node.replica().clone()))
        })
        .collect()
}

fn report(world: &World, promise: Promise, judged: Result<(), String>) {
    if let Err(detail) = judged {
        world.violated(promise, detail);
    }
}

async fn look(world: &World) {
    let watch = &world.inner.watch;
    let replicas = running(world.stations());
    // One moment: nothing is awaited before all have been seen.
    let seen: Vec<_> = replicas
        .iter()
        .map(|(station, replica)| (station, replica, replica.observe()))
        .filter(|(_, _, seen)| seen.last_log.is_some())
        .collect();
    let observations: Vec<Observation> = seen.iter().map(|(_, _, seen)| seen.clone()).collect();
    report(
        world,
        Promise::NothingGoesBack,
        watch.backwards.lock().look(&observations),
    );
    report(world, Promise::Bounded, watch.bounds.lock().look(&observations));
    report(
        world,
        Promise::OneLeaderPerTerm,
        watch.leaders.lock().look(&observations),
    );
    report(
        world,
        Promise::CommittedStays,
        watch.committed.lock().is_on_a_quorum(&observations),
    );
    let mut sights = Vec::new();
    let mut views = Vec::new();
    for (station, replica, seen) in seen {
        let from = watch.read.lock().from(station.number(), &seen);
        // A station that goes down meanwhile is looked at when it is up again.
        let Ok(entries) = replica.entries(from..u64::MAX).await else {
            continue;
        };
        let after = replica.observe();
        if after.vote != seen.vote || after.purged != seen.purged {
            // Another leader may have replaced entries while they were read, or some were cut off.
            continue;
        }
        watch.read.lock().done(station.number(), &seen);
        views.extend(replica.view().ok());
        sights.push(Sight { seen, entries });
        if let Some(audited) = replica.audited() {
            let judged = watch
                .states
                .lock()
                .is_same(&station.name(), audited.index, audited.hash);
            report(world, Promise::SameState, judged);
        }
    }
    report(world, Promise::LogMatching, watch.matching.lock().look(&sights));
    report(
        world,
        Promise::CommittedStays,
        watch.committed.lock().look(&sights),
    );
    let judged = watch.completeness.lock().look(&sights, &watch.committed.lock());
    report(world, Promise::LeaderCompleteness, judged);
    let newest = views.iter().max_by_key(|view| view.applied_index());
    let (judged, repeated) = {
        let mut once = watch.once.lock();
        (once.look(&sights, newest), once.take_repeated())
    };
    report(world, Promise::AppliedOnce, judged);
    for _ in 0..repeated {
        world.count("proposal repeated in the log");
    }
}

/// Compares the states of those that have applied the same. Returns after which entries they were.
async fn hash(world: &World, stations: Vec<Station>) -> Vec<u64> {
    let mut indices = Vec::new();
    for (station, replica) in running(stations) {
        if let Ok((index, hash)) = replica.state_hash().await {
            world.count("state hashed");
            let judged = world
                .inner
                .watch
                .states
                .lock()
                .is_same(&station.name(), index, hash);
            report(world, Promise::SameState, judged);
            indices.push(index);
        }
    }
    indices
}
