//! Pushes paths, the way the command-line tool does: asks what is missing, sends that, commits. At any station, also at
//! one that is cut off; goes away in the middle at times; and pushes again what it never heard of.

use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_protocol::api::{
    CommitUploadRequest, CommitUploadResponse, ErrorName, MissingPathsRequest, MissingPathsResponse,
    StartUploadResponse,
};
use tetryx_protocol::hash::ChunkHash;
use tetryx_protocol::upload;

use super::talk::{Asked, Client, Reply, applied, ask, parsed, told};
use crate::nar::{TestPath, stream};
use crate::world::oracle::{Contents, Expected, Issued, PathKey, Push, Recipe, TokenStanding};
use crate::world::{Promise, Station, World};

/// Paths in one commit, at most.
const PATHS_MAX: usize = 3;
/// Pushes in doubt that a client remembers.
const REMEMBERED_MAX: usize = 16;

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every * 2;
    let mut doubts: Vec<Vec<PathKey>> = Vec::new();
    while client.pause(every).await {
        let keys = what(&mut client, &mut doubts);
        let station = client.a_station();
        if push(&mut client, &station, &keys).await == Pushed::InDoubt && doubts.len() < REMEMBERED_MAX {
            doubts.push(keys);
        }
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushed {
    Done,
    Not,
    InDoubt,
}

/// What to push next: something new, or something again.
fn what(client: &mut Client, doubts: &mut Vec<Vec<PathKey>>) -> Vec<PathKey> {
    if !doubts.is_empty() && client.happens(0.5) {
        let at = client.chance.usize(0..doubts.len());
        client.world.count("push again what is in doubt");
        return doubts.swap_remove(at);
    }
    if client.happens(0.12) {
        let keys = client.world.oracle().paths().keys();
        if let Some(key) = client.one_of(&keys) {
            client.world.count("push again what was there");
            return vec![key];
        }
    }
    let caches: Vec<_> = client
        .setting
        .caches
        .iter()
        .map(|cache| cache.name.clone())
        .collect();
    let cache = match client.chance.u8(0..10) {
        0 => &caches[1],
        1 => &caches[2],
        2 | 3 => &caches[3],
        _ => &caches[0],
    };
    let count = match client.chance.u8(0..4) {
        0 => client.chance.usize(2..=PATHS_MAX),
        _ => 1,
    };
    let mut keys: Vec<PathKey> = Vec::new();
    for _ in 0..count {
        let references = references(client, cache, &keys);
        let contents = contents(client);
        let mut paths = client.world.oracle().paths();
        let recipe = Recipe {
            seed: client.world.seed(),
            serial: paths.next_serial(),
            contents,
            references,
        };
        let nar_hash = recipe.make().nar_hash();
        keys.push(paths.introduce(cache, recipe, nar_hash));
    }
    keys
}

/// Paths to refer to: of the same commit, and some that are there.
fn references(
    client: &mut Client,
    cache: &tetryx_protocol::cache::CacheName,
    same_commit: &[PathKey],
) -> Vec<u64> {
    let mut references: Vec<u64> = Vec::new();
    if let Some(first) = same_commit.first()
        && client.happens(0.5)
    {
        references.push(first.serial);
    }
    if client.happens(0.2) {
        let there = client.world.oracle().paths().acknowledged();
        let there: Vec<u64> = there
            .into_iter()
            .filter(|path| path.key.cache == *cache)
            .map(|path| path.key.serial)
            .collect();
        references.extend(client.one_of(&there));
    }
    references
}

fn contents(client: &mut Client) -> Contents {
    let len = client.chance.u32(500..60_000);
    match client.chance.u8(0..40) {
        0..=2 => {
            let like = client.world.oracle().paths().keys();
            let like = client.one_of(&like);
            let recipe = like.and_then(|key| client.world.oracle().paths().recipe(&key));
            match recipe.map(|(recipe, _)| (recipe.serial, recipe.contents)) {
                Some((serial, Contents::Own { len })) => Contents::Like { serial, len },
                Some((_, like @ Contents::Like { .. })) => like,
                _ => Contents::Own { len },
            }
        }
        3..=5 => Contents::Shared {
            pool: client.chance.u8(0..3),
            len,
        },
        6 => Contents::Own {
            len: client.chance.u32(1_000_000..2_000_000),
        },
        7..=14 => Contents::Own {
            len: client.chance.u32(60_000..200_000),
        },
        _ => Contents::Own { len },
    }
}

/// Pushes, and tells the oracle what was promised.
async fn push(client: &mut Client, station: &Station, keys: &[PathKey]) -> Pushed {
    let world = client.world.clone();
    let Some(cache) = keys.first().map(|key| key.cache.clone()) else {
        return Pushed::Not;
    };
    let token = token(client);
    let root = token
        .as_ref()
        .map_or_else(|| client.root(), |token| token.text.clone());
    let recipes = keys.iter().filter_map(|key| world.oracle().paths().recipe(key));
    let paths: Vec<TestPath> = recipes.map(|(recipe, _)| recipe.make()).collect();
    if client.happens(0.3) && all_there(&world, station, keys, &paths).await {
        world.count("push of what is there");
        return Pushed::Not;
    }
    let start = Asked::new(Method::POST, format!("/api/v1/caches/{cache}/uploads"), &root);
    let reply = ask(&world, station, start).await;
    let Some(started) = reply.success().and_then(parsed::<StartUploadResponse>) else {
        return Pushed::Not;
    };
    let session = format!("/api/v1/uploads/{}", started.upload);
    for path in &paths {
        if !send_nar(client, station, &session, &root, path).await {
            return Pushed::Not;
        }
    }
    if client.happens(0.05) {
        world.count("client went away before the commit");
        return Pushed::Not;
    }
    if client.happens(0.1) {
        world.count("client took its time before the commit");
        client.pause(Duration::from_secs(45)).await;
    }
    let commit = CommitUploadRequest {
        paths: paths.iter().map(TestPath::upload).collect(),
        upstream: Vec::new(),
    };
    let mut asked = Asked::new(Method::POST, format!("{session}/commit"), &root).json(&commit);
    if client.happens(0.05) {
        world.count("client went away during the commit");
        asked = asked.patience(Duration::from_millis(client.chance.u64(0..3_000)));
    }
    let known = applied(station).unwrap_or(0);
    let missing_excused = references_excused(&world, keys, known);
    let serial = token.map(|token| token.serial);
    let standing = serial.map(|serial| world.oracle().tokens().standing(serial));
    let push = world.oracle().paths().push_begins(keys);
    let reply = ask(&world, station, asked).await;
    if let Some(TokenStanding::Revoked { from }) = standing
        && from <= known
        && reply.success().is_some()
    {
        world.violated(
            Promise::RevokedRefused,
            format!(
                "{} takes a push with a token that was revoked at log index {from}; applied is {known}",
                station.name()
            ),
        );
    }
    let pushed = note(&world, station, keys, serial, push, &reply);
    if reply.error() == Some(ErrorName::MissingReferences) && !missing_excused(&world) {
        let Reply::Answer(answer) = &reply else {
            return pushed;
        };
        world.violated(
            Promise::AcknowledgedStays,
            format!(
                "{} does not find what was acknowledged: {}",
                station.name(),
                told(answer)
            ),
        );
    }
    if client.happens(0.7) {
        ask(&world, station, Asked::new(Method::DELETE, session, &root)).await;
    }
    pushed
}

/// One of the tokens that were issued, at times: also one that is about to be revoked.
fn token(client: &mut Client) -> Option<Issued> {
    if !client.happens(0.3) {
        return None;
    }
    let all = client.world.oracle().tokens().all();
    let last = all.len().saturating_sub(8);
    client.one_of(&all[last..])
}

/// Judges, after the answer, whether a reference may have been missing.
fn references_excused(world: &World, keys: &[PathKey], known: u64) -> impl Fn(&World) -> bool + use<> {
    let paths = world.oracle().paths();
    let own: Vec<u64> = keys.iter().map(|key| key.serial).collect();
    let recipes = keys.iter().filter_map(|key| Some((key, paths.recipe(key)?.0)));
    let referred = recipes.flat_map(|(key, recipe)| {
        recipe.references.into_iter().map(|serial| PathKey {
            cache: key.cache.clone(),
            serial,
        })
    });
    let referred = referred.filter(|key| !own.contains(&key.serial));
    let before: Vec<_> = referred
        .filter_map(|key| paths.expectation(&key, usize::MAX))
        .collect();
    move |world| {
        let paths = world.oracle().paths();
        !before.iter().all(|expectation| {
            let is_there = matches!(expectation.expected, Expected::Present { from } if from <= known);
            is_there && paths.still_holds(expectation)
        })
    }
}

/// What the answer to a commit says about its paths.
fn note(
    world: &World,
    station: &Station,
    keys: &[PathKey],
    token: Option<u64>,
    push: Push,
    reply: &Reply,
) -> Pushed {
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let at = station.name();
    let mut paths = world.oracle().paths();
    if let Some(response) = reply.success().and_then(parsed::<CommitUploadResponse>) {
        if response.provisional == keys.len() as u64 {
            paths.taken(push, station.number(), token);
            drop(paths);
            world.count("push taken provisionally");
            world.trace(format_args!("{names} taken into the outbox of {at}"));
            return Pushed::Done;
        }
        if response.provisional > 0 {
            paths.push_in_doubt(push);
            return Pushed::InDoubt;
        }
        let judged = paths.pushed(
            push,
            station.number(),
            world.now(),
            response.index,
            response.published,
        );
        drop(paths);
        world.oracle().acknowledged().note(world.now(), response.index);
        world.count("push acknowledged");
        world.trace(format_args!(
            "{names} acknowledged by {at} at log index {}, {} new",
            response.index, response.published
        ));
        if let Err(why) = judged {
            world.violated(Promise::Linearizable, why);
        }
        return Pushed::Done;
    }
    if reply.is_refused() {
        paths.not_pushed(push);
        drop(paths);
        world.count("push refused");
        if let Reply::Answer(answer) = reply {
            world.trace(format_args!("{names} refused by {at}: {}", told(answer)));
            if reply.error() == Some(ErrorName::PathConflict) {
                world.violated(
                    Promise::ServedAsNamed,
                    format!(
                        "{at} has something else under the name of what is pushed: {}",
                        told(answer)
                    ),
                );
            }
        }
        return Pushed::Not;
    }
    paths.push_in_doubt(push);
    drop(paths);
    world.count("push in doubt");
    world.trace(format_args!(
        "{names} in doubt at {at}: {}",
        match reply {
            Reply::Answer(answer) => told(answer),
            _ => "no answer".to_owned(),
        }
    ));
    Pushed::InDoubt
}

/// Asks which paths the cache lacks; true if none. What is acknowledged is not lacking.
async fn all_there(world: &World, station: &Station, keys: &[PathKey], paths: &[TestPath]) -> bool {
    let before: Vec<_> = keys
        .iter()
        .filter_map(|key| world.oracle().paths().expectation(key, station.number()))
        .collect();
    let known = applied(station).unwrap_or(0);
    let question = MissingPathsRequest {
        store_path_hashes: paths.iter().map(TestPath::hash).collect(),
    };
    let url = format!("/api/v1/caches/{}/missing-paths", keys[0].cache);
    let asked = Asked::new(Method::POST, url, world.root()).json(&question);
    let reply = ask(world, station, asked).await;
    let Some(answer) = reply.success().and_then(parsed::<MissingPathsResponse>) else {
        return false;
    };
    for ((key, path), expectation) in keys.iter().zip(paths).zip(&before) {
        let is_missing = answer.missing.contains(&path.hash());
        if !world.oracle().paths().still_holds(expectation) {
            continue;
        }
        let place = format!("{key} at {}", station.name());
        match expectation.expected {
            Expected::Present { from } if from <= known && is_missing => world.violated(
                Promise::AcknowledgedStays,
                format!("{place} is said to be missing; it was acknowledged at {from}, applied is {known}"),
            ),
            Expected::Gone { from } if from <= known && !is_missing => world.violated(
                Promise::DeletedGone,
                format!("{place} is said to be there; it was deleted at {from}, applied is {known}"),
            ),
            _ => {}
        }
    }
    answer.missing.is_empty()
}

/// Asks which chunks are missing and sends the NAR with those; false when it did not arrive.
async fn send_nar(
    client: &mut Client,
    station: &Station,
    session: &str,
    token: &str,
    path: &TestPath,
) -> bool {
    let world = client.world.clone();
    let chunks = path.chunks();
    let hashes: Vec<ChunkHash> = chunks.iter().map(|chunk| chunk.hash).collect();
    let asked = Asked::new(Method::POST, format!("{session}/missing"), token);
    let reply = ask(&world, station, asked.bytes(upload::encode_hashes(&hashes))).await;
    let missing = reply
        .success()
        .and_then(|answer| upload::decode_hashes(&answer.body).ok());
    let Some(missing) = missing else {
        return false;
    };
    if missing.len() < hashes.len() {
        world.count("upload with chunks that are there");
    }
    let mut body = stream(&chunks, &missing.into_iter().collect());
    let url = format!("{session}/nars/{}?nar_size={}", path.nar_hash(), path.nar.len());
    let mut asked = Asked::new(Method::PUT, url, token);
    match client.chance.u8(0..30) {
        0 => {
            world.count("client went away during an upload");
            asked = asked.patience(Duration::from_millis(client.chance.u64(0..200)));
        }
        1 => {
            world.count("upload cut short");
            body.truncate(client.chance.usize(0..body.len()));
        }
        _ => {}
    }
    let reply = ask(&world, station, asked.bytes(body)).await;
    matches!(&reply, Reply::Answer(answer) if answer.status == StatusCode::OK)
}
