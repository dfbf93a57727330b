//! The judgement at the end: everything is where it belongs, and nothing else is left.

use std::collections::BTreeSet;
use std::time::Duration;

use tetryx_protocol::hash::ManifestHash;
use tetryx_protocol::id::NodeId;
use tetryx_store::{ChunkStore, Object};

use super::asked::Asked;
use super::holdings::is_whole;
use super::leaving::Brief;
use super::stock::Stock;
use super::tidy::Store;
use super::{Running, bounds, collecting, copies_kept, look, report, report_of, running, tidy};
use crate::world::{Promise, Station, World};

/// How long stations may take to fetch anew what they find damaged.
const MENDED_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long something may still be under way that keeps something else.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long paths may take to leave: as long as clocks were ahead, a period and a pin last, and some more.
const SETTLED_WITHIN: Duration = Duration::from_secs(60 * 60);
/// Collections that may leave what is over.
const COLLECTIONS_IN_VAIN: u32 = 3;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(20);
/// What a pack's record has besides its payload.
const RECORD_HEADER_LEN: u64 = 68;

/// Judges a world at rest. Lets as much time go by as sessions and holds last.
pub(in crate::world) async fn at_rest(world: &World) {
    look(world);
    scrub(world).await;
    settle(world).await;
    until_well(world, MENDED_WITHIN, Promise::CopiesKept, placed).await;
    let lasting = members(world).into_iter().map(|each| {
        let config = each.node.config();
        config.uploads.session_ttl.max(config.replication.hold_ttl)
    });
    let lasting = lasting.max().unwrap_or_default();
    tokio::time::sleep(lasting + PAUSE).await;
    for each in members(world) {
        collecting::collect(world, &each).await;
    }
    until_well(world, PATIENCE, Promise::NothingLeaks, idle).await;
    tokio::time::sleep(longest_pin(world)).await;
    for each in members(world) {
        collecting::collect(world, &each).await;
    }
    until_well(world, PATIENCE, Promise::NothingLeaks, is_tidy).await;
}

/// Has everything leave whose time is over, until only pinned paths are left of those that may leave. The log clock may be
/// as far ahead as any clock ever was: until then it stands still.
async fn settle(world: &World) {
    let began = world.now();
    let read = |each: &Running| {
        each.node
            .replica()
            .view()
            .ok()
            .and_then(|view| Brief::read(&view))
    };
    let mut stayed = 0;
    loop {
        let members = members(world);
        let Some(each) = members.first() else { return };
        let before = read(each)
            .map(|brief| brief.kept_by_nothing())
            .unwrap_or_default();
        collecting::collect(world, each).await;
        let Some(after) = read(each) else { return };
        if after.all_stay() {
            world.count("what may leave has left");
            return;
        }
        // A collection may come in the middle of a change of leaders.
        stayed = match before.intersection(&after.kept_by_nothing()).next() {
            Some(_) => stayed + 1,
            None => 0,
        };
        if stayed > COLLECTIONS_IN_VAIN || world.now() - began > SETTLED_WITHIN {
            let why = "paths whose time is over, and that nothing keeps, stay though they are collected";
            return report_of(world, Promise::KeptForItsTime, &each.station, Err(why.to_owned()));
        }
        tokio::time::sleep(PAUSE * 3).await;
    }
}

/// The nodes that run, without those that somebody removed: they keep what they had, and learn nothing any more.
fn members(world: &World) -> Vec<Running> {
    let removed = world.oracle().members().removed();
    let mut members = running(world);
    members.retain(|each| !removed.contains(&each.number()));
    members
}

/// How long the pin of a process that is gone may still count: it was used last by a clock that may have been ahead.
fn longest_pin(world: &World) -> Duration {
    let left = members(world).into_iter().flat_map(|each| {
        let (ttl, now) = (each.node.config().uploads.session_ttl, each.node.clock().utc());
        let pins = each.node.store().pins().into_iter();
        pins.filter_map(move |pin| {
            let until = pin.touched?.plus(ttl);
            Some(until.since(now) + PAUSE)
        })
    });
    left.max().unwrap_or_default()
}

/// Has every station read its store back and heal it, as an operator would.
async fn scrub(world: &World) {
    for each in members(world) {
        match each.node.scrub_once(None, |_| {}).await {
            Ok(done) => {
                if done.found > 0 {
                    world.count("damage found at rest");
                }
                judge_blamed(world, &each);
            }
            Err(error) => {
                let why = Err(format!("it cannot be read back: {}", error.chain()));
                report_of(world, Promise::ServedAsNamed, &each.station, why);
            }
        }
    }
}

/// What is in quarantine must have been damaged by the disk: index and packs agree otherwise.
fn judge_blamed(world: &World, each: &Running) {
    let seen = world.inner.data.0.lock();
    let mut blamed = each.node.store().damaged().into_iter();
    if let Some(object) = blamed.find(|object| !seen.stock.was_hit_on(each.number(), object)) {
        let why = Err(format!(
            "the store names a record of {object:?} that is not intact, and the disk has damaged none"
        ));
        report_of(world, Promise::ServedAsNamed, &each.station, why);
    }
}

/// Judges again and again, until all is well or time is up.
async fn until_well(
    world: &World,
    patience: Duration,
    promise: Promise,
    judge: fn(&World) -> Result<(), String>,
) {
    let began = world.now();
    loop {
        look(world);
        let judged = judge(world);
        if judged.is_ok() || world.now() - began >= patience {
            return report(world, promise, judged);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether every NAR is on all of its holders.
fn placed(world: &World) -> Result<(), String> {
    let running = members(world);
    let seen = world.inner.data.0.lock();
    for (nar, row) in &seen.asked.nars {
        let holders = seen.asked.holders(nar);
        let holders: BTreeSet<usize> = world
            .stations()
            .iter()
            .filter(|station| holders.contains(&station.node_id()))
            .filter(|station| !may_do_without(station, &holders))
            .map(Station::number)
            .collect();
        let whole = seen.stock.whereabouts(&row.manifest).whole;
        if whole.is_empty() && was_destroyed(&seen.stock, &row.manifest) {
            continue;
        }
        let knows = |number: &usize| {
            let mut stations = running.iter().filter(|each| each.number() == *number);
            stations.any(|each| is_whole(each.node.store(), &row.manifest) == Some(true))
        };
        let having: BTreeSet<usize> = whole.into_iter().filter(knows).collect();
        copies_kept::at_rest(nar, &holders, &having)?;
    }
    Ok(())
}

/// Whether a station with little room may leave a copy to those who come before it.
fn may_do_without(station: &Station, holders: &[NodeId]) -> bool {
    let Some(node) = station.node() else { return false };
    let kept_by = usize::from(node.config().replication.write_replicas);
    let rank = holders.iter().position(|holder| *holder == station.node_id());
    node.config().store.quota.is_some() && rank.is_some_and(|rank| rank >= kept_by)
}

/// Whether disks have damaged something of which there is no other copy.
fn was_destroyed(stock: &Stock, manifest: &ManifestHash) -> bool {
    let objects = stock.objects(manifest).unwrap_or_default();
    let mut lost = objects.iter().filter(|object| !stock.has(object));
    lost.any(|object| stock.was_hit(object))
}

/// Whether no node keeps anything for somebody who is long gone.
fn idle(world: &World) -> Result<(), String> {
    let mut running = members(world).into_iter();
    running.try_for_each(|each| {
        bounds::judge_idle(&each.node.in_memory()).map_err(|why| format!("{}: {why}", each.station.name()))
    })
}

/// Whether every store holds what is live, and nothing else.
fn is_tidy(world: &World) -> Result<(), String> {
    let mut running = members(world).into_iter();
    running.try_for_each(|each| {
        let judged = store(world, &each).and_then(|store| tidy::judge(&store));
        judged.map_err(|why| format!("{}: {why}", each.station.name()))
    })
}

fn store(world: &World, each: &Running) -> Result<Store, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let store = each.node.store();
    let view = each.node.replica().view().map_err(|error| told(&error))?;
    let asked = Asked::read(&view, each.node.config().replication.copies)?;
    let seen = world.inner.data.0.lock();
    let (mut live, mut live_bytes) = (BTreeSet::new(), 0);
    for row in asked.nars.values() {
        for object in seen.stock.objects(&row.manifest).unwrap_or_default() {
            if let Some(len) = len(store, &object)
                && live.insert(object)
            {
                live_bytes += len + RECORD_HEADER_LEN;
            }
        }
    }
    let disk = each.station.disk();
    let files = ["chunks/", "outbox/"].map(|folder| disk.durable_files(folder));
    Ok(Store {
        stats: store.stats().map_err(|error| told(&error))?,
        live,
        live_bytes,
        files: files.into_iter().flatten().map(|file| file.name).collect(),
    })
}

/// The length of what is stored for an object, if it is here.
fn len(store: &ChunkStore, object: &Object) -> Option<u64> {
    match object {
        Object::Chunk(chunk) => {
            let place = store.locate(&[*chunk]).ok()?.pop()??;
            Some(u64::from(place.frame_len))
        }
        Object::Manifest(manifest) => Some(store.manifest(manifest).ok()?.encode().len() as u64),
    }
}
