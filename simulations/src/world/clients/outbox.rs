//! Asks stations what became of the pushes that they took while they were cut off.

use http::Method;
use tetryx_protocol::api::OutboxReport;

use super::talk::{Asked, Client, ask, parsed};
use crate::world::oracle::TokenStanding;
use crate::world::{Promise, Station, World};

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every * 3;
    while client.pause(every).await {
        // Where something waits somebody will ask.
        let waiting = client.world.oracle().paths().waiting();
        let station = match client.one_of(&waiting) {
            Some((_, station)) if client.happens(0.7) => client.world.station(station),
            _ => client.a_station(),
        };
        query(&client.world, &station).await;
    }
}

/// Hears what a station says of its outbox; how many paths wait there.
pub(super) async fn query(world: &World, station: &Station) -> Option<u64> {
    let asked = Asked::new(Method::GET, "/api/v1/outbox", world.root());
    let reply = ask(world, station, asked).await;
    let report = reply.success().and_then(parsed::<OutboxReport>)?;
    let tokens = world.oracle().tokens();
    let mut paths = world.oracle().paths();
    // Oldest first, as they were taken.
    let judged = report.entries.iter().rev().try_for_each(|entry| {
        paths.outbox_says(
            station.number(),
            &entry.cache,
            &entry.store_path.hash,
            entry.accepted,
            &entry.state,
            |token| tokens.standing(token) == TokenStanding::Live,
        )
    });
    drop((paths, tokens));
    world.count("outbox queried");
    if report.counts.applied > 0 {
        world.count("outbox delivered");
    }
    if report.counts.duplicate > 0 {
        world.count("outbox reported a duplicate");
    }
    if report.counts.refused > 0 {
        world.count("outbox reported a refusal");
    }
    if let Err(why) = judged {
        world.violated(Promise::ProvisionalKept, why);
    }
    Some(report.counts.waiting)
}
