//! Looks at the disks, stores, outboxes and states of all stations, and has each promise about data checked on what is
//! seen.
//!
//! Disks and states are looked at once a virtual second, all of them in one moment. What costs more is done less often:
//! reading chunks back, asking stores what they have, showing tokens. A station is also told to collect now and then, as
//! an operator would, and compared before and after.
//!
//! # Invariants
//! - Nothing is judged before the trouble begins: a cluster that is being founded has promised nothing yet.
//!
//! # Non-goals
//! - Judging: each check is a file of its own, which knows neither stations nor time.

mod asked;
mod bounds;
mod collected;
mod collecting;
mod copies_kept;
mod durable_first;
#[cfg(test)]
mod fixture;
mod holdings;
mod leaving;
mod outbox;
mod quarantine;
mod reading;
mod rest;
mod revoked;
mod served;
mod shelf;
mod showing;
mod stock;
mod tidy;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_node::Node;
use tetryx_protocol::api::OutboxCounts;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::ClientId;
use tetryx_raft::{ReplicaRole, StateView};
use tetryx_store::Object;
use tokio::task::JoinSet;

use self::asked::Asked;
use self::bounds::Size;
use self::collected::Holdings;
use self::copies_kept::CopiesKept;
use self::durable_first::DurableFirst;
use self::outbox::OutboxKept;
use self::quarantine::Quarantine;
use self::stock::Stock;
use crate::world::{Promise, Station, World};

pub(in crate::world) use self::rest::at_rest;

/// How often disks and states are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often everything is looked at that seldom changes unnoticed.
const SELDOM: u64 = 10;

/// What is remembered of all that was seen.
#[derive(Debug, Default)]
pub(in crate::world) struct Watch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    stock: Stock,
    /// What the newest state that was seen asks for.
    asked: Asked,
    durable_first: Option<DurableFirst>,
    copies_kept: CopiesKept,
    outboxes: BTreeMap<usize, Outbox>,
    /// Each station's holdings when it was looked at last, and in which of its runs that was.
    holdings: BTreeMap<usize, (ClientId, Holdings)>,
    /// The paths that may leave, by the newest state that was seen.
    brief: Option<leaving::Brief>,
    /// What each station's disk has damaged and its store does not know of.
    quarantines: BTreeMap<usize, Quarantine>,
    /// The most NARs that a state ever had.
    nars_max: usize,
    looks: u64,
}

#[derive(Debug, Default)]
struct Outbox {
    kept: OutboxKept,
    /// In which run of the station it was looked at last, and what stood where then.
    seen: Option<(ClientId, OutboxCounts)>,
}

/// A station that runs.
#[derive(Clone, Debug)]
struct Running {
    station: Station,
    node: Node,
    /// Another one after each start.
    run: ClientId,
}

impl Running {
    fn of(station: Station) -> Option<Self> {
        let node = station.node()?;
        let run = node.replica().observe().opened_as;
        Some(Self { station, node, run })
    }

    /// Whether the same process still runs.
    fn goes_on(&self) -> bool {
        Self::of(self.station.clone()).is_some_and(|now| now.run == self.run)
    }

    fn number(&self) -> usize {
        self.station.number()
    }
}

fn running(world: &World) -> Vec<Running> {
    world.stations().into_iter().filter_map(Running::of).collect()
}

fn report(world: &World, promise: Promise, judged: Result<(), String>) {
    if let Err(detail) = judged {
        world.violated(promise, detail);
    }
}

/// [`report`] of what is about a station.
fn report_of(world: &World, promise: Promise, station: &Station, judged: Result<(), String>) {
    report(
        world,
        promise,
        judged.map_err(|detail| format!("{}: {detail}", station.name())),
    );
}

/// Has everything watched from the beginning of the trouble on.
pub(super) fn watch(world: &World, tasks: &mut JoinSet<()>) {
    tasks.spawn(run(world.clone()));
    tasks.spawn(showing::run(world.clone()));
    tasks.spawn(collecting::run(world.clone()));
    tasks.spawn(reading::run(world.clone()));
}

/// Resolves when the trouble begins.
async fn until_trouble(world: &World) {
    while !world.faults_are_on() {
        tokio::time::sleep(EVERY).await;
    }
}

async fn run(world: World) {
    until_trouble(&world).await;
    loop {
        look(&world);
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks at everything in one moment. Also before a disk is lost: what was on it then counts.
pub(in crate::world) fn look(world: &World) {
    let mut seen = world.inner.data.0.lock();
    let running = running(world);
    seen.looks += 1;
    seen.read_state(world, &running);
    seen.look_at_disks(world);
    seen.judge_publications(world);
    seen.judge_losses(world, &running);
    for each in &running {
        seen.look_at_outbox(world, each);
        seen.note_restart(world, each);
        if (seen.looks + each.number() as u64).is_multiple_of(SELDOM) {
            let size = Size {
                sessions_max: each.node.config().uploads.sessions_max,
                nars: seen.nars_max,
                members: world.station_count(),
            };
            let judged = bounds::judge(&each.node.in_memory(), size);
            report_of(world, Promise::Bounded, &each.station, judged);
            seen.judge_quarantine(world, each);
        }
        if (seen.looks + each.number() as u64).is_multiple_of(6 * SELDOM) {
            seen.note_holdings(each);
        }
    }
}

impl Seen {
    /// Reads the newest state, if it is newer than what was read before.
    fn read_state(&mut self, world: &World, running: &[Running]) {
        let newest = running
            .iter()
            .max_by_key(|each| each.node.replica().applied_index());
        let Some(newest) = newest else { return };
        if newest.node.replica().applied_index() <= self.asked.index {
            return;
        }
        let copies = newest.node.config().replication.copies;
        let view = newest.node.replica().view().ok();
        if let Some(view) = &view {
            self.judge_leaving(world, view);
        }
        if let Some(asked) = view.and_then(|view| Asked::read(&view, copies).ok()) {
            self.nars_max = self.nars_max.max(asked.nars.len());
            self.asked = asked;
        }
        let replicas = newest.node.config().replication.write_replicas;
        self.durable_first
            .get_or_insert_with(|| DurableFirst::new(replicas));
    }

    /// Judges what left by itself since the last state that was seen.
    fn judge_leaving(&mut self, world: &World, view: &StateView) {
        let Some(now) = leaving::Brief::read(view) else {
            return;
        };
        if let Some(before) = self.brief.replace(now.clone()) {
            let cache = leaving::cache();
            let oracle = world.oracle();
            let judged = leaving::judge(&before, &now, |hash| oracle.paths().was_unpinned(&cache, hash));
            for _ in 0..judged.as_ref().copied().unwrap_or(0) {
                world.count("path left when its time was over");
            }
            report(world, Promise::KeptForItsTime, judged.map(drop));
        }
    }

    /// Judges whether a station's scrubbing finds what its disk has damaged.
    fn judge_quarantine(&mut self, world: &World, each: &Running) {
        let store = each.node.store();
        // A store whose disk fails says nothing.
        let Ok(round) = store.last_scrub() else { return };
        let damaged = self.stock.damaged_on(each.number());
        let trusted = damaged
            .into_iter()
            .filter(|object| quarantine::takes_for_intact(store, object) == Some(true))
            .collect();
        if round.is_some_and(|round| round.found > 0) {
            world.count("scrub found damage");
        }
        let quarantine = self.quarantines.entry(each.number()).or_default();
        let judged = quarantine.look(&trusted, round.map(|round| round.begun));
        report_of(world, Promise::DamageFound, &each.station, judged);
    }

    fn look_at_disks(&mut self, world: &World) {
        let stations = world.stations();
        let disks = stations
            .iter()
            .map(|station| (&**station.disk(), station.is_gone()));
        let changes = self.stock.look(disks);
        if let Some((number, object)) = changes.lies.first() {
            let detail = format!("station-{number} has stored something else as {object:?}");
            world.violated(Promise::ServedAsNamed, detail);
        }
        self.copies_kept.gone(changes.gone, world.now(), self.asked.index);
        if !changes.any {
            return;
        }
        let needed: std::collections::BTreeSet<_> =
            self.asked.nars.values().map(|row| row.manifest).collect();
        self.stock.forget(|manifest| needed.contains(manifest));
        if let Some(check) = &mut self.durable_first {
            check.look_ahead(self.stock.manifests(), |manifest| {
                self.stock.whereabouts(manifest).count()
            });
        }
    }

    fn judge_publications(&mut self, world: &World) {
        if let Some(check) = &mut self.durable_first {
            let judged = check.look(&self.asked, |manifest| self.stock.whereabouts(manifest).count());
            report(world, Promise::NotServedBeforeDurable, judged);
        }
    }

    /// Judges by the leader's state what some disk has no more.
    fn judge_losses(&mut self, world: &World, running: &[Running]) {
        if !self.copies_kept.is_in_doubt() {
            return;
        }
        let leaders = running.iter().filter_map(|each| {
            let status = each.node.replica().status();
            (status.role == ReplicaRole::Leader).then_some((status.term, each))
        });
        let Some((_, leader)) = leaders.max_by_key(|(term, _)| *term) else {
            return;
        };
        let copies = leader.node.config().replication.copies;
        let Ok(view) = leader.node.replica().view() else {
            return;
        };
        if view.applied_index() < self.asked.index {
            return;
        }
        let Ok(asked) = Asked::read(&view, copies) else {
            return;
        };
        let mut live: BTreeMap<Object, NarHash> = BTreeMap::new();
        for (nar, row) in &asked.nars {
            let objects = self.stock.objects(&row.manifest).unwrap_or_default();
            live.extend(objects.into_iter().map(|object| (object, *nar)));
        }
        let stock = &self.stock;
        let judged = self.copies_kept.look(world.now(), asked.index, &live, |object| {
            stock.has(object) || stock.was_hit(object)
        });
        report(world, Promise::CopiesKept, judged);
    }

    fn look_at_outbox(&mut self, world: &World, each: &Running) {
        let counts = each.node.outbox().counts();
        let outbox = self.outboxes.entry(each.number()).or_default();
        let is_due = (self.looks + each.number() as u64).is_multiple_of(SELDOM);
        if outbox.seen == Some((each.run, counts)) && !is_due {
            return;
        }
        outbox.seen = Some((each.run, counts));
        let waiting = world.oracle().paths().waiting();
        let here = waiting.iter().filter(|(_, station)| *station == each.number());
        let promised: Vec<(String, String)> = here
            .filter_map(|(key, _)| {
                let (recipe, _) = world.oracle().paths().recipe(key)?;
                Some((key.cache.to_string(), recipe.store_path().hash.to_string()))
            })
            .collect();
        let judged = outbox.kept.look(&each.node.outbox().report(|_| true), &promised);
        report_of(world, Promise::ProvisionalKept, &each.station, judged);
    }
}
