//! Shows revoked and expired tokens to all stations, every few seconds.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, header};
use tetryx_protocol::api::{CreateTokenRequest, CreateTokenResponse};
use tetryx_protocol::grant::Grants;
use tetryx_state::query;

use super::revoked::{Reason, Token, judge, reason};
use super::{Running, report_of, running, until_trouble};
use crate::world::{Outcome, Promise, Station, World};

const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take: a station may stand still.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long tokens last that are asked for to see them end, in seconds.
const SHORT: std::ops::Range<u64> = 20..300;
/// How often one is asked for, in looks.
const ASK_EVERY: u64 = 30;
/// Tokens shown to one station at a time: the newest ones, and one of the others.
const NEWEST: usize = 3;
/// Short-lived tokens that are remembered.
const REMEMBERED: usize = 16;

pub(super) async fn run(world: World) {
    until_trouble(&world).await;
    let mut chance = world.chance("tokens shown");
    let mut short: Vec<Token> = Vec::new();
    let mut looks = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        looks += 1;
        if looks % ASK_EVERY == 1 {
            let station = world.station(chance.usize(0..world.station_count()));
            let validity = chance.u64(SHORT);
            short.extend(short_lived(&world, &station, looks, validity).await);
            if short.len() > REMEMBERED {
                short.remove(0);
            }
        }
        for each in running(&world) {
            for token in some(&world, &short, &mut chance) {
                show(&world, &each, &token).await;
            }
        }
    }
}

/// Has a token issued that is soon over.
async fn short_lived(world: &World, station: &Station, number: u64, validity: u64) -> Option<Token> {
    let wanted = CreateTokenRequest {
        subject: format!("short-lived-{number}"),
        validity_seconds: validity,
        grants: Grants::default(),
    };
    let body = serde_json::to_vec(&wanted).expect("requests are JSON");
    let request = crate::request(Method::POST, "/api/v1/tokens", Some(world.root()))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .expect("a request with a body");
    let Outcome::Answer(answer) = tokio::time::timeout(PATIENCE, station.send(request)).await.ok()? else {
        return None;
    };
    let issued: CreateTokenResponse = serde_json::from_slice(&answer.body).ok()?;
    Some(Token {
        id: issued.claims.token,
        text: issued.token,
        expires: issued.claims.expires,
    })
}

/// Some tokens worth showing.
fn some(world: &World, short: &[Token], chance: &mut fastrand::Rng) -> Vec<Token> {
    let issued = world.oracle().tokens().all();
    let issued = issued.into_iter().map(|issued| Token {
        id: issued.id,
        text: issued.text,
        expires: tetryx_protocol::time::UtcTime::from_unix_ms(i64::MAX),
    });
    let mut others: Vec<Token> = issued.collect();
    let mut chosen = others.split_off(others.len().saturating_sub(NEWEST));
    for tokens in [others.as_slice(), short] {
        if !tokens.is_empty() {
            chosen.push(tokens[chance.usize(0..tokens.len())].clone());
        }
    }
    chosen
}

/// Why the station must refuse the token now, if it must.
fn must_refuse(each: &Running, token: &Token) -> Option<Reason> {
    let view = each.node.replica().view().ok()?;
    let record = query::token(&view, &token.id).ok()?;
    let is_revoked = record.is_some_and(|record| record.revoked.is_some());
    reason(token, is_revoked, view.applied_index(), each.node.clock().utc())
}

async fn show(world: &World, each: &Running, token: &Token) {
    let Some(before) = must_refuse(each, token) else {
        return;
    };
    let request: Request<Body> = crate::request(Method::GET, "/api/v1/caches", Some(&token.text))
        .body(Body::empty())
        .expect("a request without a body");
    let asked = tokio::time::timeout(PATIENCE, each.station.send(request));
    let Ok(Outcome::Answer(answer)) = asked.await else {
        return;
    };
    // A clock that was set back meanwhile decides differently.
    if !each.goes_on() || must_refuse(each, token).is_none() {
        return;
    }
    world.count(match before {
        Reason::Revoked { .. } => "revoked token shown",
        Reason::Expired { .. } => "expired token shown",
    });
    let judged = judge(token, before, answer.status);
    report_of(world, Promise::RevokedRefused, &each.station, judged);
}
