//! Stations that join, in time for a run to have seen it; the client who looks after the members does the rest.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use http::header::CONTENT_TYPE;
use tetryx_protocol::api::CreateInviteResponse;
use tetryx_store::disk::Survivors;

use super::super::{Fault, Outcome, Station, World};
use super::pace::Pace;
use super::targets;
use crate::answer::Answer;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long until it is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(20);
/// How long a station that was killed while it joined may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(600);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::Membership);
    let mut chance = world.chance("fault membership change");
    loop {
        pace.next().await;
        if world.counted(Fault::Membership.name()) > 0 {
            return;
        }
        // The first one is killed in the middle of it.
        let killed_after = Duration::from_millis(chance.u64(1..5000));
        join(&world, &mut chance, Some(killed_after)).await;
    }
}

/// Has a new station join, killed and started again after a while where that is told. One that could not is removed, in
/// case it is a member and does not know. Whether it has joined.
pub(super) async fn join(world: &World, chance: &mut fastrand::Rng, killed_after: Option<Duration>) -> bool {
    let wanted = serde_json::json!({ "expires_seconds": 3600, "voter": chance.bool() });
    let Some(at) = targets::one_of(chance, &targets::members(world)) else {
        return false;
    };
    let invited = ask(&at, Method::POST, "/api/v1/invites", world.root(), Some(wanted)).await;
    let invited = invited.filter(|answer| answer.status.is_success());
    let Some(invited) = invited.map(|answer| answer.json::<CreateInviteResponse>()) else {
        return false;
    };
    let number = world.station_count();
    world.oracle().members().leaves(number);
    if let Some(after) = killed_after {
        tokio::spawn(kill(world.clone(), number, after));
    }
    let mut joined = world.add_station(&invited.ticket).await.map(drop);
    let station = world.station(number);
    if joined.is_err() && killed_after.is_some() {
        let up = tokio::time::timeout(UP_WITHIN, station.keep_up()).await;
        joined = up.map_err(|_| "it does not come up".to_owned());
    }
    if let Err(why) = joined {
        world.trace(format_args!("{station:?} cannot join: {why}"));
        world.count("station could not join");
        world.oracle().members().is_removed(number);
        world.oracle().paths().station_left(number);
        station.destroy();
        let url = format!("/api/v1/invites/{}", invited.invite);
        until_decided(world, chance, Method::DELETE, &url).await;
        let url = format!("/api/v1/members/{}", station.node_id());
        until_decided(world, chance, Method::DELETE, &url).await;
        return false;
    }
    world.oracle().members().stays(number);
    world.trace(format_args!("{station:?} has joined"));
    world.count("station joined");
    world.count(Fault::Membership.name());
    true
}

/// Kills a station that joins.
async fn kill(world: World, number: usize, after: Duration) {
    tokio::time::sleep(after).await;
    if number < world.station_count() && world.station(number).node().is_none() {
        world.count("station killed while it joined");
        world.station(number).crash(Survivors::Synced);
    }
}

/// Asks one station after the other until one says what became of it.
pub(super) async fn until_decided(world: &World, chance: &mut fastrand::Rng, method: Method, url: &str) {
    loop {
        if let Some(at) = targets::one_of(chance, &targets::members(world))
            && let Some(answer) = ask(&at, method.clone(), url, world.root(), None).await
            && (answer.status.is_success()
                || (answer.status.is_client_error() && answer.status != http::StatusCode::UNAUTHORIZED))
        {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn ask(
    at: &Station,
    method: Method,
    url: &str,
    token: &str,
    json: Option<serde_json::Value>,
) -> Option<Answer> {
    let request = crate::request(method, url, Some(token)).header(CONTENT_TYPE, "application/json");
    let body = json.map_or_else(Body::empty, |json| json.to_string().into());
    let asked = at.send(request.body(body).ok()?);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Outcome::Answer(answer)) => Some(answer),
        _ => None,
    }
}
