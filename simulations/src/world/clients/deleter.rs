//! Deletes paths, at any station, those included that others refer to.

use http::Method;
use tetryx_protocol::api::ErrorName;

use super::talk::{Asked, Client, ask, index_of};
use crate::world::oracle::{BRIEF, PathKey};
use crate::world::{Promise, Station, World};

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every * 5;
    while client.pause(every).await {
        let mut there = client.world.oracle().paths().acknowledged();
        // There, what must stay is pinned, or below a pin: force would take it.
        there.retain(|path| path.key.cache.as_str() != BRIEF);
        let Some(path) = client.one_of(&there) else {
            continue;
        };
        let (station, force) = (client.a_station(), client.happens(0.5));
        delete(&client.world, &station, &path.key, force).await;
    }
}

async fn delete(world: &World, station: &Station, key: &PathKey, force: bool) {
    let Some((recipe, _)) = world.oracle().paths().recipe(key) else {
        return;
    };
    let hash = recipe.store_path().hash;
    let Some(deletion) = world.oracle().paths().deletion_begins(key) else {
        return;
    };
    let url = format!("/api/v1/caches/{}/paths/{hash}?force={force}", key.cache);
    let reply = ask(world, station, Asked::new(Method::DELETE, url, world.root())).await;
    let index = reply.success().and_then(index_of);
    let mut paths = world.oracle().paths();
    let (what, judged) = match index {
        Some(index) => ("path deleted", paths.deleted(deletion, index)),
        None if reply.error() == Some(ErrorName::NoSuchObject) => {
            ("path to delete is gone", paths.nothing_to_delete(deletion))
        }
        None if reply.is_refused() => {
            paths.not_deleted(deletion);
            ("deletion refused", Ok(()))
        }
        None => {
            paths.deletion_in_doubt(deletion);
            ("deletion in doubt", Ok(()))
        }
    };
    drop(paths);
    world.count(what);
    world.trace(format_args!("{key} at {}: {what} {index:?}", station.name()));
    if let Err(why) = judged {
        world.violated(Promise::Linearizable, why);
    }
}
