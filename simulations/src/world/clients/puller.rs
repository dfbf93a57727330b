//! Pulls paths from any station, new ones most often, and asks for the newest word on some.

use http::{Method, StatusCode};

use super::look::{Look, Seen, look};
use super::talk::{Asked, Client, Reply, ask};
use crate::world::oracle::{Expected, PathKey};
use crate::world::{Promise, Station, World};

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every;
    while client.pause(every).await {
        let Some(key) = a_path(&mut client) else {
            continue;
        };
        let station = client.a_station();
        if client.happens(0.3) {
            read_strongly(&client.world, &station, &key).await;
            continue;
        }
        // Whoever has heard of a path elsewhere can ask a station to catch up first.
        let from = match client.world.oracle().paths().expectation(&key, station.number()) {
            Some(expectation) => match expectation.expected {
                Expected::Present { from } | Expected::Gone { from } => Some(from),
                Expected::Either => None,
            },
            None => None,
        };
        let how = Look {
            after: from.filter(|_| client.happens(0.5)),
            with_nar: client.happens(0.8),
        };
        let seen = look(&client.world, &client.setting, &station, &key, how).await;
        client.world.trace(format_args!(
            "{} looks for {key} at {}: {seen:?}",
            client.name,
            station.name()
        ));
        if seen == Seen::Whole && how.with_nar {
            client.world.count("path pulled");
        }
    }
}

/// A path somebody pushed: most often one of the last.
fn a_path(client: &mut Client) -> Option<PathKey> {
    let keys = client.world.oracle().paths().keys();
    let last = keys.len().saturating_sub(20);
    let newest_first = client.happens(0.6);
    let mut by_age = keys;
    by_age.sort_by_key(|key| key.serial);
    let from = if newest_first { last } else { 0 };
    client.one_of(&by_age[from..])
}

/// Asks whether a path is there as of now, wherever it was changed.
async fn read_strongly(world: &World, station: &Station, key: &PathKey) {
    let Some((recipe, _)) = world.oracle().paths().recipe(key) else {
        return;
    };
    let url = format!(
        "/api/v1/caches/{}/paths/{}?read=strong",
        key.cache,
        recipe.store_path().hash
    );
    let Some(read) = world.oracle().paths().read_begins(key) else {
        return;
    };
    let reply = ask(world, station, Asked::new(Method::GET, url, world.root())).await;
    let is_there = match &reply {
        Reply::Answer(answer) => match answer.status {
            StatusCode::OK => Some(true),
            StatusCode::NOT_FOUND => Some(false),
            _ => None,
        },
        Reply::Unknown | Reply::NotSent => None,
    };
    let Some(is_there) = is_there else {
        world.oracle().paths().not_read(read);
        return;
    };
    world.count("strong read of a path");
    world.trace(format_args!("{key} read at {}: {is_there}", station.name()));
    let judged = world.oracle().paths().read(read, is_there);
    if let Err(why) = judged {
        world.violated(Promise::Linearizable, why);
    }
}
