//! Somebody who runs the cluster, and does it at bad moments: looks, collects, copies, restarts, hands over the
//! leadership; has stations join and leave.
//!
//! # Invariants
//! - No more than careless: a station is removed only after it has handed over everything and its outbox is empty.
//!   Whoever removes the last holder of something loses it, and nobody promised otherwise.

use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_protocol::api::{
    CreateInviteRequest, CreateInviteResponse, DrainMemberResponse, ErrorName, StatusResponse,
};

use super::outbox;
use super::talk::{Asked, Client, PATIENCE, Reply, ask, parsed, told};
use crate::world::{Fault, Station, World};

/// Stations that may join beyond those at the beginning.
const JOINING_MAX: usize = 3;
/// Members that must be left.
const MEMBERS_MIN: usize = 2;
/// How long a station may take to hand over what it has.
const HAND_OVER: Duration = Duration::from_secs(40 * 60);

/// The one who looks after the stations.
pub(super) async fn run(mut client: Client) {
    if !client.world.plan().has(Fault::Operators) {
        return;
    }
    let every = client.world.plan().fault_every / 2;
    while client.pause(every).await {
        let station = client.a_station();
        let name = station.name();
        match client.chance.u8(0..8) {
            0 => look(&client.world, &station).await,
            1 => collect(&client.world, &station).await,
            2 => copy(&client.world, &station).await,
            3 => restart(&client.world, &station).await,
            4 => drain_outbox(&client.world, &station).await,
            _ => hand_over_leadership(&mut client).await,
        }
        client
            .world
            .trace(format_args!("{} is done at {name}", client.name));
    }
}

/// The one who decides which stations there are.
pub(super) async fn run_membership(mut client: Client) {
    if !client.world.plan().has(Fault::Membership) {
        return;
    }
    let every = client.world.plan().fault_every * 2;
    while client.pause(every).await {
        let members = client.members().len();
        let may_join = client.world.station_count() < client.world.plan().stations + JOINING_MAX;
        if may_join && (members <= MEMBERS_MIN || client.happens(0.6)) {
            join(&mut client).await;
        } else if members > MEMBERS_MIN {
            remove_one(&mut client).await;
        }
    }
}

/// Everything one looks at.
async fn look(world: &World, station: &Station) {
    for path in [
        "/api/v1/status",
        "/api/v1/members?all=true",
        "/metrics",
        "/ready",
        "/api/v1/invites",
    ] {
        ask(world, station, Asked::new(Method::GET, path, world.root())).await;
    }
    world.count(Fault::Operators.name());
}

async fn collect(world: &World, station: &Station) {
    let Some(node) = station.node() else { return };
    let collected = tokio::time::timeout(PATIENCE, node.collect_once()).await;
    if let Ok(Ok(summary)) = collected {
        world.count("collection asked for");
        world.count(Fault::Operators.name());
        world.trace(format_args!(
            "{} collected {} chunks, {} manifests",
            station.name(),
            summary.chunks_removed,
            summary.manifests_removed
        ));
    }
}

async fn copy(world: &World, station: &Station) {
    let Some(node) = station.node() else { return };
    if let Ok(Ok(report)) = tokio::time::timeout(PATIENCE, node.replicate_once()).await {
        world.count("replication asked for");
        world.count(Fault::Operators.name());
        world.trace(format_args!("{} fetched {} NARs", station.name(), report.fetched));
    }
}

async fn drain_outbox(world: &World, station: &Station) {
    let Some(node) = station.node() else { return };
    if let Ok(Ok(drained)) = tokio::time::timeout(PATIENCE, node.drain_outbox()).await {
        world.count(Fault::Operators.name());
        world.trace(format_args!("{} drained {drained:?}", station.name()));
    }
}

async fn restart(world: &World, station: &Station) {
    if station.node().is_none() {
        return;
    }
    world.count("restart in order");
    world.count(Fault::Operators.name());
    station.stop().await;
    station.keep_up().await;
}

async fn hand_over_leadership(client: &mut Client) {
    let world = client.world.clone();
    let leader = client.members().into_iter().find_map(|station| {
        let node = station.node()?;
        (node.replica().status().leader == Some(station.node_id())).then_some(node)
    });
    let Some(leader) = leader else { return };
    let others: Vec<_> = leader
        .replica()
        .status()
        .voters
        .into_iter()
        .filter(|voter| *voter != leader.node_id())
        .collect();
    let Some(heir) = client.one_of(&others) else {
        return;
    };
    let handed = tokio::time::timeout(PATIENCE, leader.replica().transfer_leadership(heir)).await;
    world.count("leadership handed over on request");
    world.count(Fault::Operators.name());
    world.trace(format_args!(
        "the leadership goes to {}: {}",
        heir.fmt_short(),
        matches!(handed, Ok(Ok(())))
    ));
}

/// Has a new station join. One that could not is removed, in case it is a member and does not know.
async fn join(client: &mut Client) {
    let (world, at) = (client.world.clone(), client.a_station());
    let wanted = CreateInviteRequest {
        zone: None,
        expires_seconds: 3600,
        voter: client.happens(0.8),
    };
    let asked = Asked::new(Method::POST, "/api/v1/invites", world.root()).json(&wanted);
    let reply = ask(&world, &at, asked).await;
    let Some(invited) = reply.success().and_then(parsed::<CreateInviteResponse>) else {
        return;
    };
    let number = world.station_count();
    world.oracle().members().leaves(number);
    match world.add_station(&invited.ticket).await {
        Ok(station) => {
            world.oracle().members().stays(number);
            world.trace(format_args!("{} has joined", station.name()));
            world.count("station joined");
            world.count(Fault::Membership.name());
        }
        Err(why) => {
            world.trace(format_args!("station-{number} cannot join: {why}"));
            world.count("station could not join");
            let url = format!("/api/v1/invites/{}", invited.invite);
            until_decided(client, Method::DELETE, &url).await;
            remove(client, &world.station(number)).await;
        }
    }
}

/// Has a station leave, in order.
async fn remove_one(client: &mut Client) {
    let world = client.world.clone();
    // The founder is where the world does its own business.
    let candidates: Vec<Station> = client
        .members()
        .into_iter()
        .filter(|station| station.number() > 0)
        .collect();
    let Some(station) = client.one_of(&candidates) else {
        return;
    };
    world.oracle().members().leaves(station.number());
    world.trace(format_args!("{} shall leave", station.name()));
    // Whoever pushes to it now comes to an end.
    tokio::time::sleep(PATIENCE * 2).await;
    let url = format!("/api/v1/members/{}/drain", station.node_id());
    let began = world.now();
    while world.now() - began < HAND_OVER {
        if has_handed_over(client, &station, &url).await {
            remove(client, &station).await;
            return;
        }
        if !client.pause(Duration::from_secs(30)).await {
            return;
        }
    }
    world.trace(format_args!("{} does not get rid of what it has", station.name()));
    world.count("station could not be drained");
}

async fn has_handed_over(client: &mut Client, station: &Station, url: &str) -> bool {
    let (world, at) = (client.world.clone(), client.a_station());
    let reply = ask(&world, &at, Asked::new(Method::POST, url, world.root())).await;
    let Some(drained) = reply.success().and_then(parsed::<DrainMemberResponse>) else {
        return false;
    };
    world.count("station drained");
    // The station itself knows best what it still has.
    let asked = Asked::new(Method::GET, "/api/v1/status", world.root()).after(Some(drained.index));
    let own = ask(&world, station, asked).await;
    let Some(own) = own.success().and_then(parsed::<StatusResponse>) else {
        return false;
    };
    let asked = Asked::new(Method::GET, "/api/v1/status", world.root()).after(Some(drained.index));
    let other = ask(&world, &at, asked).await;
    let Some(other) = other.success().and_then(parsed::<StatusResponse>) else {
        return false;
    };
    let is_whole = |status: &StatusResponse| {
        status.under_replicated.nars == 0 && status.under_replicated.as_of >= drained.index
    };
    drained.bytes_left == Some(0)
        && is_whole(&own)
        && is_whole(&other)
        && outbox::query(&world, station).await == Some(0)
}

/// Has the cluster forget a station.
async fn remove(client: &mut Client, station: &Station) {
    let world = client.world.clone();
    world.oracle().members().is_removed(station.number());
    world.oracle().paths().station_left(station.number());
    let url = format!("/api/v1/members/{}", station.node_id());
    if until_decided(client, Method::DELETE, &url).await {
        world.trace(format_args!("{} is removed", station.name()));
        world.count("station removed");
        world.count(Fault::Membership.name());
        station.stop().await;
    }
}

/// Asks one station after the other until one says what became of it; whether it was done.
async fn until_decided(client: &mut Client, method: Method, url: &str) -> bool {
    loop {
        let (world, at) = (client.world.clone(), client.a_station());
        let reply = ask(&world, &at, Asked::new(method.clone(), url, world.root())).await;
        match &reply {
            Reply::Answer(answer) if answer.status.is_success() => return true,
            // A station whose clock is wrong takes nobody's token.
            Reply::Answer(answer) if answer.status == StatusCode::UNAUTHORIZED => {}
            Reply::Answer(answer) if answer.status.is_client_error() => {
                world.trace(format_args!("{method} {url} is refused: {}", told(answer)));
                return reply.error() == Some(ErrorName::MemberRemoved);
            }
            _ => {}
        }
        // Also after the trouble: a change that was begun is brought to an end.
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}
