//! Has stations collect, one after the other, and compares each before and after.

use std::time::Duration;

use super::collected::Between;
use super::{Running, running, until_trouble};
use crate::world::World;

/// Between two collections, in seconds.
const PAUSE: std::ops::Range<u64> = 20..180;
/// How long one may take: it asks other stations.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

pub(super) async fn run(world: World) {
    until_trouble(&world).await;
    let mut chance = world.chance("collections");
    loop {
        tokio::time::sleep(Duration::from_secs(chance.u64(PAUSE))).await;
        let running = running(&world);
        if running.is_empty() {
            continue;
        }
        collect(&world, &running[chance.usize(0..running.len())]).await;
    }
}

/// Has one station collect.
pub(super) async fn collect(world: &World, each: &Running) {
    let before = {
        let mut seen = world.inner.data.0.lock();
        seen.look_at_disks(world);
        seen.holdings(each)
    };
    let collected = tokio::time::timeout(PATIENCE, each.node.collect_once()).await;
    // A station without contact collects nothing, and one whose disk fails cannot.
    let (Some(before), Ok(Ok(summary)), true) = (before, collected, each.goes_on()) else {
        return;
    };
    let mut seen = world.inner.data.0.lock();
    seen.look_at_disks(world);
    let Some(after) = seen.holdings(each) else { return };
    world.count("collection compared");
    if summary.chunks_removed > 0 {
        world.count("collection removed chunks");
    }
    seen.compare(world, each, (&before, &after), Between::Collection);
}
