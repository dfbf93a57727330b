//! A rolling upgrade: one station after the other is stopped and started with the next release, and when all of them
//! have it the cluster allows its commands.
//!
//! A simulation has one build only. The next release is this one when it says that it understands the feature level above
//! its own; then it marks what it writes so that this release cannot read it, as the next one will.

use std::time::Duration;

use tetryx_state::command::FEATURE_LEVEL;
use tetryx_state::query;

use super::super::{Fault, Station, World};
use super::pace::{Pace, between};
use super::targets;

const NEXT: u32 = FEATURE_LEVEL + 1;
/// How long it is waited for a station to be ready before the next one is upgraded all the same.
const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::Upgrade);
    let mut chance = world.chance("fault rolling upgrade");
    pace.next().await;
    world.trace("an upgrade begins");
    world.release(NEXT);
    loop {
        for station in targets::present(&world) {
            station.install(NEXT);
        }
        let is_old = |station: &Station| station.node().is_some_and(|node| node.feature_level() < NEXT);
        let old: Vec<Station> = targets::running(&world).into_iter().filter(is_old).collect();
        if let Some(station) = targets::one_of(&mut chance, &old) {
            station.stop().await;
            station.keep_up().await;
            until_ready(&station).await;
            world.count("station upgraded");
        } else if is_raised(&world) {
            world.trace("the cluster allows the commands of the next release");
            world.count(Fault::Upgrade.name());
            return;
        }
        let pause = between(&mut chance, Duration::from_secs(1), Duration::from_secs(30));
        tokio::time::sleep(pause).await;
    }
}

async fn until_ready(station: &Station) {
    let ready = async {
        while !station.node().is_some_and(|node| node.replica().is_caught_up()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // One that is cut off is not waited for.
    let _ = tokio::time::timeout(READY_WITHIN, ready).await;
}

fn is_raised(world: &World) -> bool {
    targets::running(world).iter().any(|station| {
        let view = station.node().and_then(|node| node.replica().view().ok());
        let cluster = view.and_then(|view| query::cluster(&view).ok().flatten());
        cluster.is_some_and(|cluster| cluster.feature_level >= NEXT)
    })
}
