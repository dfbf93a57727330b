//! Looking at one path at one station: narinfo and NAR, held against what was promised.

use http::{Method, StatusCode};
use tetryx_protocol::narinfo::NarInfo;
use tetryx_protocol::store_path::StoreDir;

use super::outbox;
use super::setting::Setting;
use super::talk::{Asked, Reply, applied, ask, told};
use crate::answer::Answer;
use crate::world::oracle::{Expected, PathKey};
use crate::world::{Promise, Station, World};

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there; its bytes too, if they were asked for.
    Whole,
    /// It is known, its bytes did not come.
    Known,
    /// It is not there.
    Absent,
    /// No answer, or none that says anything.
    Nothing,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Wait until the station has applied the log up to there.
    pub(super) after: Option<u64>,
    /// Ask for the bytes too.
    pub(super) with_nar: bool,
}

/// Asks a station for a path, and says so where a promise is broken.
pub(super) async fn look(
    world: &World,
    setting: &Setting,
    station: &Station,
    key: &PathKey,
    look: Look,
) -> Seen {
    let before = world.oracle().paths().expectation(key, station.number());
    let recipe = world.oracle().paths().recipe(key);
    let cache = setting.cache(&key.cache);
    let (Some(before), Some((recipe, nar_hash)), Some(cache)) = (before, recipe, cache) else {
        return Seen::Nothing;
    };
    let known = applied(station).unwrap_or(0).max(look.after.unwrap_or(0));
    let root = world.root();
    let hash = recipe.store_path().hash;
    let asked = Asked::new(Method::GET, format!("/{}/{hash}.narinfo", key.cache), root).after(look.after);
    let reply = ask(world, station, asked).await;
    let Reply::Answer(answer) = &reply else {
        return Seen::Nothing;
    };
    let place = format!("{key} at {}", station.name());
    if answer.status == StatusCode::NOT_FOUND {
        let holds = world.oracle().paths().still_holds(&before);
        if !holds || (!cache.public && !is_known_there(world, station).await) {
            return Seen::Absent;
        }
        match before.expected {
            Expected::Present { from } if from <= known => world.violated(
                Promise::AcknowledgedStays,
                format!(
                    "{place} is not found, which was acknowledged at log index {from}; the station has applied {known}"
                ),
            ),
            // It may have been handed over since, and refused: then the station says so.
            _ if before.provisional
                && outbox::query(world, station).await.is_some()
                && world.oracle().paths().still_holds(&before) =>
            {
                world.violated(
                    Promise::ProvisionalKept,
                    format!("{place} is not found, which that station took into its outbox"),
                );
            }
            _ => {}
        }
        return Seen::Absent;
    }
    if answer.status != StatusCode::OK {
        return Seen::Nothing;
    }
    world.count("narinfo read");
    if let Expected::Gone { from } = before.expected
        && from <= known
        && world.oracle().paths().still_holds(&before)
    {
        world.violated(
            Promise::DeletedGone,
            format!(
                "{place} is served, which was deleted at log index {from}; the station has applied {known}"
            ),
        );
    }
    let made = match check_narinfo(answer, &recipe.store_path(), |info| {
        info.nar_hash == nar_hash
            && info.references == recipe.references()
            && info.signatures.iter().any(|signature| {
                let fingerprint = info.fingerprint(&StoreDir::default());
                cache.public_key.verify(&fingerprint, signature)
            })
    }) {
        Ok(info) => info,
        Err(why) => {
            world.violated(Promise::ServedAsNamed, format!("the narinfo of {place} {why}"));
            return Seen::Nothing;
        }
    };
    if !look.with_nar {
        return Seen::Whole;
    }
    let asked = Asked::new(Method::GET, format!("/{}/{}", key.cache, made.url), root).after(look.after);
    let Reply::Answer(answer) = ask(world, station, asked).await else {
        return Seen::Known;
    };
    match answer.status {
        StatusCode::OK => {
            if let Err(why) = check_nar(&answer, &recipe.make().nar) {
                world.violated(Promise::ServedAsNamed, format!("the NAR of {place} {why}"));
                return Seen::Known;
            }
            world.count("nar read");
            Seen::Whole
        }
        StatusCode::NOT_FOUND => {
            let holds = world.oracle().paths().still_holds(&before);
            if holds
                && let Expected::Present { from } = before.expected
                && from <= known
                && (cache.public || is_known_there(world, station).await)
            {
                world.violated(
                    Promise::AcknowledgedStays,
                    format!("the NAR of {place} is not found, though the path is there"),
                );
            }
            Seen::Known
        }
        _ => {
            world.trace(format_args!(
                "the NAR of {place} does not come: {}",
                told(&answer)
            ));
            world.count("nar not read");
            Seen::Known
        }
    }
}

/// Whether the station takes the root token now: one whose clock is wrong treats us as anybody.
async fn is_known_there(world: &World, station: &Station) -> bool {
    let asked = Asked::new(Method::GET, "/api/v1/tokens", world.root());
    ask(world, station, asked).await.success().is_some()
}

fn check_narinfo(
    answer: &Answer,
    path: &tetryx_protocol::store_path::StorePath,
    is_right: impl Fn(&NarInfo) -> bool,
) -> Result<NarInfo, String> {
    let text = std::str::from_utf8(&answer.body).map_err(|error| format!("is no text: {error}"))?;
    let info = NarInfo::parse(text, &StoreDir::default()).map_err(|error| format!("is none: {error}"))?;
    if info.store_path == *path && is_right(&info) {
        Ok(info)
    } else {
        Err(format!(
            "is not what was pushed, or not signed by the cache: {text:?}"
        ))
    }
}

fn check_nar(answer: &Answer, expected: &[u8]) -> Result<(), String> {
    let found = zstd::decode_all(&answer.body[..]).map_err(|error| format!("is no zstd: {error}"))?;
    if found == expected {
        return Ok(());
    }
    let differs = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    Err(match differs {
        Some(at) => format!("differs from byte {at} of {}", expected.len()),
        None => format!("has {} bytes instead of {}", found.len(), expected.len()),
    })
}
