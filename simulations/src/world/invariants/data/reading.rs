//! Reads chunks of each station back once a minute: some at random, and all that its disk has damaged.

use std::time::Duration;

use tetryx_protocol::hash::ChunkHash;
use tetryx_store::Object;

use super::{Running, report_of, running, served, until_trouble};
use crate::world::{Promise, World};

const EVERY: Duration = Duration::from_secs(60);
/// Chunks read at random each time.
const SAMPLES: usize = 6;

pub(super) async fn run(world: World) {
    until_trouble(&world).await;
    let mut chance = world.chance("reading back");
    loop {
        tokio::time::sleep(EVERY).await;
        for each in running(&world) {
            let wanted = wanted(&world, &each, &mut chance);
            for chunk in wanted {
                let handed_out = each.node.store().read_frames(&[chunk]);
                world.count(if handed_out.is_ok() {
                    "chunk read back"
                } else {
                    "chunk said to be damaged or gone"
                });
                let judged = served::judge(&chunk, &handed_out);
                report_of(&world, Promise::ServedAsNamed, &each.station, judged);
            }
        }
    }
}

fn wanted(world: &World, each: &Running, chance: &mut fastrand::Rng) -> Vec<ChunkHash> {
    let seen = world.inner.data.0.lock();
    let manifests: Vec<_> = seen.stock.manifests().copied().collect();
    let mut wanted = seen.stock.hit_on(each.number());
    for _ in 0..SAMPLES.min(manifests.len()) {
        let manifest = manifests[chance.usize(0..manifests.len())];
        let objects: Vec<Object> = seen
            .stock
            .objects(&manifest)
            .unwrap_or_default()
            .into_iter()
            .collect();
        if let Some(Object::Chunk(chunk)) = objects.get(chance.usize(0..objects.len().max(1))) {
            wanted.push(*chunk);
        }
    }
    wanted
}
