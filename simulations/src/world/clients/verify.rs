//! After the trouble: everything that was promised is there, at every station.

use std::time::Duration;

use super::configurer;
use super::holder;
use super::look::{Look, Seen, look};
use super::outbox;
use super::setting::Setting;
use crate::world::oracle::{BRIEF, CacheInput, Expected, NAMES, PathKey, TokenStanding};
use crate::world::{Promise, Station, World};

/// How long a station may take to answer well once everything is well.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long until it says of each token whether it takes it: one that was issued while a clock was ahead is valid later.
const TOKEN_PATIENCE: Duration = Duration::from_secs(20 * 60);
const PAUSE: Duration = Duration::from_secs(5);

/// Asks every station about everything.
pub(super) async fn verify(world: &World, setting: &Setting) {
    let stations = members(world);
    let newest = stations
        .iter()
        .filter_map(super::talk::applied)
        .max()
        .unwrap_or(0);
    empty_outboxes(world, &stations).await;
    let keys = world.oracle().paths().keys();
    for key in keys {
        path(world, setting, &stations, &key, newest).await;
    }
    tokens(world, &stations).await;
    for place in 0..NAMES {
        let name = world.oracle().caches().name(place);
        for station in &stations {
            configurer::call(world, station, &name, CacheInput::Read).await;
        }
    }
    let undecided = world.oracle().undecided();
    if undecided > 0 {
        world.trace(format_args!("{undecided} histories were too much to judge"));
        world.count("history left undecided");
    }
    world.trace("everything that was promised was looked at");
}

fn members(world: &World) -> Vec<Station> {
    let removed = world.oracle().members().removed();
    let mut stations = world.stations();
    stations.retain(|station| !removed.contains(&station.number()));
    stations
}

/// Every outbox is empty, and has said of everything it took what became of it.
async fn empty_outboxes(world: &World, stations: &[Station]) {
    for station in stations {
        let began = world.now();
        loop {
            let waiting = outbox::query(world, station).await;
            if waiting == Some(0) {
                break;
            }
            if world.now() - began > PATIENCE {
                world.violated(
                    Promise::Converges,
                    format!("the outbox of {} still holds {waiting:?} paths", station.name()),
                );
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    let forgotten = world.oracle().paths().waiting();
    if let Some((key, station)) = forgotten.first() {
        world.violated(
            Promise::ProvisionalKept,
            format!(
                "{key} was taken by station-{station}, which neither has it in its outbox nor says what became of it"
            ),
        );
    }
}

/// A path is everywhere or nowhere.
async fn path(world: &World, setting: &Setting, stations: &[Station], key: &PathKey, newest: u64) {
    let expected = world.oracle().paths().expectation(key, usize::MAX);
    let Some(expected) = expected.map(|expectation| expectation.expected) else {
        return;
    };
    if key.cache.as_str() == BRIEF && !expected_to_be_there(expected) {
        // It may leave between two questions.
        return;
    }
    let mut seen = Vec::new();
    for station in stations {
        let begun = world.now();
        let found = loop {
            let how = Look {
                after: Some(newest),
                with_nar: expected_to_be_there(expected),
            };
            match look(world, setting, station, key, how).await {
                Seen::Whole => break true,
                Seen::Absent => break false,
                other if world.now() - begun > PATIENCE => {
                    world.violated(
                        Promise::Converges,
                        format!(
                            "{} does not serve {}: {other:?}",
                            station.name(),
                            words(world, key)
                        ),
                    );
                    return;
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        };
        seen.push(found);
    }
    world.count("path verified");
    if seen.iter().any(|found| *found != seen[0]) {
        world.violated(
            Promise::Converges,
            format!(
                "{} is at some stations and not at others: {seen:?}",
                words(world, key)
            ),
        );
    }
}

/// A path, with what was promised of it last.
fn words(world: &World, key: &PathKey) -> String {
    let acknowledged = world.oracle().paths().acknowledged();
    let promise = acknowledged.into_iter().find(|path| path.key == *key);
    promise.map_or_else(|| key.to_string(), |promise| promise.to_string())
}

/// What may have been deleted is not pulled: only whether stations agree on it counts.
fn expected_to_be_there(expected: Expected) -> bool {
    matches!(expected, Expected::Present { .. })
}

async fn tokens(world: &World, stations: &[Station]) {
    let all = world.oracle().tokens().all();
    for token in all {
        let standing = world.oracle().tokens().standing(token.serial);
        let mut taken = Vec::new();
        for station in stations {
            let begun = world.now();
            loop {
                match holder::show(world, station, &token, true).await {
                    Some(answer) => {
                        taken.push(answer);
                        break;
                    }
                    None if world.now() - begun > TOKEN_PATIENCE => {
                        world.violated(
                            Promise::Converges,
                            format!("{} does not say whether it takes a token", station.name()),
                        );
                        return;
                    }
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        }
        let expected = match standing {
            TokenStanding::Live => Some(true),
            TokenStanding::Revoked { .. } => Some(false),
            TokenStanding::Either => taken.first().copied(),
        };
        if taken.iter().any(|taken| Some(*taken) != expected) {
            world.violated(
                Promise::Converges,
                format!(
                    "the stations differ about the token of client-{}: {taken:?}",
                    token.serial
                ),
            );
        }
        world.count("token verified");
    }
    for station in stations {
        holder::read(world, station).await;
    }
}
