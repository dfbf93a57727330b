//! Has tokens issued, uses them anywhere, has them revoked, and reads the registry.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_protocol::api::{ApiError, CreateTokenRequest, CreateTokenResponse, ErrorName, TokenList};
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};

use super::talk::{Asked, Client, Reply, applied, ask, index_of, parsed};
use crate::world::oracle::{Issued, TokenStanding, serial_of, subject};
use crate::world::{Promise, Station, World};

/// How long a token counts: longer than any world lasts, whatever its clocks say.
const VALIDITY: Duration = Duration::from_secs(60 * 24 * 3600);
/// Tokens looked at in one read of the registry.
const READ: usize = 8;

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every * 2;
    while client.pause(every).await {
        let station = client.a_station();
        let all = client.world.oracle().tokens().all();
        match client.chance.u8(0..20) {
            0..=4 => issue(&client.world, &station).await,
            5..=7 => {
                let last = all.len().saturating_sub(READ);
                if let Some(token) = client.one_of(&all[last..]) {
                    revoke(&mut client, &station, &token).await;
                }
            }
            8..=10 => read(&client.world, &station).await,
            _ => {
                if let Some(token) = client.one_of(&all) {
                    let waits = client.happens(0.3);
                    show(&client.world, &station, &token, waits).await;
                }
            }
        }
    }
}

async fn issue(world: &World, station: &Station) {
    let call = world.oracle().tokens().issue_begins();
    let permissions = CachePermissions::NONE
        .with(CachePermission::Pull)
        .with(CachePermission::Push);
    let wanted = CreateTokenRequest {
        subject: subject(call.serial()),
        validity_seconds: VALIDITY.as_secs(),
        grants: Grants {
            caches: BTreeMap::from([("*".parse().expect("a pattern"), permissions)]),
            ..Grants::default()
        },
    };
    let asked = Asked::new(Method::POST, "/api/v1/tokens", world.root()).json(&wanted);
    let reply = ask(world, station, asked).await;
    let mut tokens = world.oracle().tokens();
    let judged = match reply.success().and_then(parsed::<CreateTokenResponse>) {
        Some(response) => {
            world.count("token issued");
            world.trace(format_args!(
                "a token for {} at {}",
                wanted.subject,
                station.name()
            ));
            tokens.issued(call, response.claims.token, response.token)
        }
        None if reply.is_refused() => {
            tokens.without_effect(call);
            Ok(())
        }
        None => {
            tokens.in_doubt(call);
            Ok(())
        }
    };
    drop(tokens);
    if let Err(why) = judged {
        world.violated(Promise::Linearizable, why);
    }
}

async fn revoke(client: &mut Client, station: &Station, token: &Issued) {
    let world = client.world.clone();
    // A token may revoke itself.
    let by = if client.happens(0.3) {
        token.text.clone()
    } else {
        client.root()
    };
    let call = world.oracle().tokens().revocation_begins(token.serial);
    let asked = Asked::new(Method::DELETE, format!("/api/v1/tokens/{}", token.id), &by);
    let reply = ask(&world, station, asked).await;
    let index = reply.success().and_then(index_of);
    let mut tokens = world.oracle().tokens();
    let judged = match index {
        Some(index) => {
            world.count("token revoked");
            world.trace(format_args!(
                "the token of {} is revoked by {} at log index {index}",
                subject(token.serial),
                station.name()
            ));
            tokens.revoked(call, index)
        }
        None if reply.error() == Some(ErrorName::NoSuchToken) => tokens.nothing_to_revoke(call),
        None if reply.is_refused() => {
            tokens.without_effect(call);
            Ok(())
        }
        None => {
            tokens.in_doubt(call);
            Ok(())
        }
    };
    drop(tokens);
    if let Err(why) = judged {
        world.violated(Promise::Linearizable, why);
    }
}

/// Reads the registry as of now.
pub(super) async fn read(world: &World, station: &Station) {
    let calls = world.oracle().tokens().read_begins(READ);
    let asked = Asked::new(Method::GET, "/api/v1/tokens?read=strong", world.root());
    let reply = ask(world, station, asked).await;
    let mut tokens = world.oracle().tokens();
    let Some(list) = reply.success().and_then(parsed::<TokenList>) else {
        tokens.not_read(calls);
        return;
    };
    let seen = list
        .tokens
        .iter()
        .filter_map(|info| Some((serial_of(&info.subject)?, info.revoked.is_some())))
        .collect();
    let judged = tokens.read(calls, &seen);
    drop(tokens);
    world.count("strong read of the tokens");
    if let Err(why) = judged {
        world.violated(Promise::Linearizable, why);
    }
}

/// Shows a token at a station, and says so where it is taken or refused against what was promised.
///
/// Returns whether it was taken, where that was said.
pub(super) async fn show(world: &World, station: &Station, token: &Issued, waits: bool) -> Option<bool> {
    let before = world.oracle().tokens().standing(token.serial);
    let after = match before {
        TokenStanding::Revoked { from } if waits => Some(from),
        _ => None,
    };
    let known = applied(station).unwrap_or(0).max(after.unwrap_or(0));
    let asked = Asked::new(Method::GET, "/api/v1/tokens", &token.text).after(after);
    let reply = ask(world, station, asked).await;
    let Reply::Answer(answer) = &reply else {
        return None;
    };
    let who = format!("the token of {} at {}", subject(token.serial), station.name());
    match answer.status {
        StatusCode::OK => {
            world.count("token accepted");
            if let TokenStanding::Revoked { from } = before
                && from <= known
            {
                world.violated(
                    Promise::RevokedRefused,
                    format!("{who} is accepted; it was revoked at log index {from}, applied is {known}"),
                );
            }
            Some(true)
        }
        StatusCode::UNAUTHORIZED => {
            world.count("token refused");
            let why = parsed::<ApiError>(answer).map_or_else(String::new, |error| error.message);
            // Stations judge times by their own clocks, which may be wrong; and what one issued whose clock was ahead is
            // valid a little later, also when all clocks are right again.
            let is_early = why.contains("valid from");
            if is_early || (why.contains("expired at") && world.faults_are_on()) {
                return None;
            }
            if world.oracle().tokens().standing(token.serial) == TokenStanding::Live {
                world.violated(
                    Promise::LiveAccepted,
                    format!("{who} is refused, and nobody ever revoked it: {why}"),
                );
            }
            Some(false)
        }
        _ => None,
    }
}
