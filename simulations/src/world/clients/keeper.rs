//! Pins and unpins paths of the cache that lets paths go, and has space given back, at any station.

use http::Method;
use tetryx_protocol::api::{GcRequest, GcResponse};

use super::talk::{Asked, Client, Reply, ask, index_of, parsed, told};
use crate::world::oracle::{BRIEF, PathKey};
use crate::world::{Promise, Station, World};

/// The longest pin with an end, in seconds.
const PIN_MAX: u64 = 300;

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every * 3;
    while client.pause(every).await {
        let station = client.a_station();
        if client.happens(0.25) {
            let dry_run = client.happens(0.5);
            collect(&client.world, &station, dry_run).await;
            continue;
        }
        let mut keys = client.world.oracle().paths().keys();
        keys.retain(|key| key.cache.as_str() == BRIEF);
        let last = keys.len().saturating_sub(12);
        let Some(key) = client.one_of(&keys[last..]) else {
            continue;
        };
        match client.chance.u8(0..10) {
            0..=2 => unpin(&client.world, &station, &key).await,
            3..=4 => {
                let seconds = client.chance.u64(1..=PIN_MAX);
                pin(&client.world, &station, &key, Some(seconds)).await;
            }
            _ => pin(&client.world, &station, &key, None).await,
        }
    }
}

fn url(world: &World, key: &PathKey) -> Option<String> {
    let (recipe, _) = world.oracle().paths().recipe(key)?;
    let hash = recipe.store_path().hash;
    Some(format!("/api/v1/caches/{}/paths/{hash}/pin", key.cache))
}

async fn pin(world: &World, station: &Station, key: &PathKey, seconds: Option<u64>) {
    let Some(mut url) = url(world, key) else { return };
    if let Some(seconds) = seconds {
        url.push_str(&format!("?for_seconds={seconds}"));
    }
    let reply = ask(world, station, Asked::new(Method::PUT, url, world.root())).await;
    let index = reply.success().and_then(index_of);
    // What ends by itself is judged by the log, not by what a client knows.
    if let Some(index) = index.filter(|_| seconds.is_none()) {
        world.oracle().paths().pinned(key, index);
    }
    world.count(match (index, seconds) {
        (Some(_), None) => "path pinned",
        (Some(_), Some(_)) => "path pinned for a while",
        (None, _) => "path not pinned",
    });
    world.trace(format_args!(
        "{key} pinned at {} for {seconds:?}: {index:?}",
        station.name()
    ));
}

async fn unpin(world: &World, station: &Station, key: &PathKey) {
    let Some(url) = url(world, key) else { return };
    world.oracle().paths().unpin_begins(key);
    let reply = ask(world, station, Asked::new(Method::DELETE, url, world.root())).await;
    let index = reply.success().and_then(index_of);
    if index.is_none() && !reply.is_refused() {
        world.oracle().paths().unpin_in_doubt(key);
    }
    world.count("path unpinned");
    world.trace(format_args!("{key} unpinned at {}: {index:?}", station.name()));
}

async fn collect(world: &World, station: &Station, dry_run: bool) {
    let asked = Asked::new(Method::POST, "/api/v1/gc", world.root()).json(&GcRequest { dry_run });
    let reply = ask(world, station, asked).await;
    let Reply::Answer(answer) = &reply else { return };
    let Some(done) = reply.success().and_then(parsed::<GcResponse>) else {
        world.trace(format_args!(
            "no collection at {}: {}",
            station.name(),
            told(answer)
        ));
        return;
    };
    world.count(if dry_run {
        "collection previewed"
    } else {
        "collection everywhere"
    });
    let own = done.nodes.first();
    if done.dry_run != dry_run || own.is_none_or(|own| own.node != station.node_id() || own.error.is_some()) {
        let why = format!("{} was asked to collect and says {done:?}", station.name());
        world.violated(Promise::KeptForItsTime, why);
    }
    world.trace(format_args!(
        "{} collected everywhere (dry run: {dry_run}): {} paths, {} NARs, {} nodes",
        station.name(),
        done.paths,
        done.nars,
        done.nodes.len()
    ));
}
