//! A station that lies: about chunks and manifests that it serves, about what it has, and about itself by gossip.

use std::sync::Arc;
use std::time::Duration;

use tetryx_protocol::message::Message;

use super::super::{Fault, Station, World};
use super::atlas::{self, Harm};
use super::lies::{self, Liar};
use super::pace::{Pace, between, log_between};
use super::targets;

/// Between two lies by gossip.
const BOAST_EVERY: Duration = Duration::from_secs(20);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::LyingPeer);
    let mut chance = world.chance("fault lying peer");
    loop {
        pace.next().await;
        atlas::review(&world).await;
        let candidates = targets::harmable(&world, Harm::Lies);
        let Some(victim) = targets::one_of(&mut chance, &candidates) else {
            continue;
        };
        let duration = log_between(&mut chance, Duration::from_secs(20), Duration::from_secs(600));
        world.trouble().atlas().begin(victim.number(), Harm::Lies);
        world.trace(format_args!("{victim:?} lies for {duration:?}"));
        let liar = Arc::new(Liar::new(victim.node_id(), chance.fork()));
        world.hub().tamper(Some(Arc::clone(&liar) as _));
        let began = world.now();
        while world.now() - began < duration {
            let left = duration.saturating_sub(world.now() - began);
            let pause = between(&mut chance, Duration::from_secs(1), BOAST_EVERY);
            tokio::time::sleep(pause.min(left)).await;
            boast(&world, &victim, &mut chance);
        }
        world.hub().tamper(None);
        world.trouble().atlas().end(victim.number(), Harm::Lies);
        world.trace(format_args!("{victim:?} has told {} lies", liar.told()));
        if liar.told() > 0 {
            world.count(Fault::LyingPeer.name());
        }
    }
}

/// Has the liar say something false of itself, or of another in its own hand.
fn boast(world: &World, victim: &Station, chance: &mut fastrand::Rng) {
    let Some(other) = targets::one_of(chance, &targets::running(world)) else {
        return;
    };
    let Some(node) = other.node() else { return };
    let Some(presences) = node.gossip().map(|gossip| gossip.presences()) else {
        return;
    };
    let of = match chance.u8(0..4) {
        0 => other.node_id(),
        _ => victim.node_id(),
    };
    let Some(truth) = presences.get(&of) else {
        return;
    };
    let lie = lies::presence(&truth.presence, chance);
    world.gossip_mesh().say(victim.node_id(), of, lie.encode());
    world.count("false presence");
}
