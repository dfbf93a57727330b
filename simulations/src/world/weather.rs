//! The links' own nature: how far the stations are apart, and what gets lost between them when the seed says so.

use std::time::Duration;

use tetryx_link::memory::Conditions;

use super::{Fault, LinkClass, Station, World};

/// Gives the links between a new station and all others their conditions.
pub(super) fn set_for(world: &World, station: &Station) {
    for other in world.stations() {
        if other.number() != station.number() {
            set(world, &other, station, bad_day(world, &other, station));
        }
    }
}

/// Ends what is worse than an ordinary day: cuts, losses, duplicates. The distances stay.
pub(super) fn clear(world: &World) {
    world.hub().heal_all();
    world.gossip_mesh().heal_all();
    let stations = world.stations();
    for (at, a) in stations.iter().enumerate() {
        for b in &stations[at + 1..] {
            set(world, a, b, distance(world, a, b));
        }
    }
}

fn set(world: &World, a: &Station, b: &Station, conditions: Conditions) {
    world.hub().set_weather(a.node_id(), b.node_id(), conditions);
    world
        .gossip_mesh()
        .set_latency(a.node_id(), b.node_id(), conditions.latency);
}

/// What two stations have between them on an ordinary day: the same whenever it is asked for.
fn distance(world: &World, a: &Station, b: &Station) -> Conditions {
    let (low, high) = (a.number().min(b.number()), a.number().max(b.number()));
    let mut chance = world.chance(&format!("distance of {low} and {high}"));
    let class = match world.plan().links {
        LinkClass::Mixed => match chance.u8(0..3) {
            0 => LinkClass::Fibre,
            1 => LinkClass::Leo,
            _ => LinkClass::Geo,
        },
        class => class,
    };
    let (latency_ms, jitter_ms, rate) = match class {
        LinkClass::Fibre => (chance.u64(1..10), 2, None),
        LinkClass::Leo => (chance.u64(15..50), 20, Some(chance.u64(2..20) << 20)),
        LinkClass::Geo | LinkClass::Mixed => (chance.u64(270..320), 30, Some(chance.u64(1..8) << 20)),
    };
    Conditions {
        latency: Duration::from_millis(latency_ms),
        jitter: Duration::from_millis(jitter_ms),
        rate,
        ..Conditions::default()
    }
}

/// The distance, and what the seed adds to it.
fn bad_day(world: &World, a: &Station, b: &Station) -> Conditions {
    let mut conditions = distance(world, a, b);
    let (low, high) = (a.number().min(b.number()), a.number().max(b.number()));
    let mut chance = world.chance(&format!("weather of {low} and {high}"));
    let plan = world.plan();
    if plan.has(Fault::Loss) {
        conditions.loss_permille = chance.u32(1..50);
        conditions.break_permille = chance.u32(0..4);
    }
    if plan.has(Fault::Duplicates) {
        conditions.duplicate_permille = chance.u32(5..100);
    }
    if plan.has(Fault::Reordering) {
        conditions.jitter += conditions.latency * chance.u32(1..8);
    }
    conditions
}

/// Counts what the links did to the stations.
pub(super) fn count(world: &World) {
    let tally = world.hub().tally();
    let gossip = world.gossip_mesh().tally();
    let counts = [
        (Fault::Loss.name(), tally.lost + tally.broken),
        (Fault::Duplicates.name(), tally.duplicated),
        (Fault::Reordering.name(), tally.overtaken),
        ("calls", tally.calls),
        ("gossip messages", gossip.sent),
    ];
    for (what, count) in counts {
        world.inner.coverage.add(what, count);
    }
}
