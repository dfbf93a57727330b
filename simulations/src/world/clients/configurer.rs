//! Creates, changes, destroys and reads caches that come and go, several requests about one name at the same time.

use futures::future::join_all;
use http::{Method, StatusCode};
use tetryx_protocol::api::{CacheInfo, CreateCacheRequest, ErrorName};
use tetryx_protocol::cache::{CacheName, Replication, Retention};
use tetryx_protocol::store_path::StoreDir;

use super::talk::{Asked, Client, Reply, ask, parsed};
use crate::world::oracle::{CacheInput, CacheOutput, Changes, NAMES, Settings};
use crate::world::{Promise, Station, World};

/// Requests at the same time, at most.
const AT_ONCE_MAX: usize = 4;

pub(super) async fn run(mut client: Client) {
    let every = client.world.plan().request_every * 3;
    while client.pause(every).await {
        let place = client.chance.u64(0..NAMES);
        let name = client.world.oracle().caches().name(place);
        let count = client.chance.usize(1..=AT_ONCE_MAX);
        let calls: Vec<(Station, CacheInput)> = (0..count)
            .map(|_| (client.a_station(), input(&mut client)))
            .collect();
        let world = client.world.clone();
        join_all(calls.into_iter().map(|(station, input)| {
            let (world, name) = (world.clone(), name.clone());
            async move { call(&world, &station, &name, input).await }
        }))
        .await;
    }
}

fn input(client: &mut Client) -> CacheInput {
    match client.chance.u8(0..10) {
        0..=2 => CacheInput::Create(Settings {
            public: client.chance.bool(),
            priority: client.chance.u32(1..6),
            retention: retention(client),
            replication: replication(client),
        }),
        3..=5 => {
            let mut changes = Changes {
                public: client.happens(0.3).then(|| client.chance.bool()),
                retention: client.happens(0.3).then(|| retention(client)),
                replication: client.happens(0.3).then(|| replication(client)),
                priority: None,
            };
            if changes == Changes::default() || client.happens(0.5) {
                changes.priority = Some(client.chance.u32(1..6));
            }
            CacheInput::Configure(changes)
        }
        6 => CacheInput::Destroy,
        _ => CacheInput::Read,
    }
}

fn retention(client: &mut Client) -> Retention {
    match client.chance.u8(0..3) {
        0 => Retention::Default,
        1 => Retention::Forever,
        _ => Retention::Period {
            seconds: client.chance.u64(1..4) * 86_400,
        },
    }
}

fn replication(client: &mut Client) -> Replication {
    match client.chance.u8(0..3) {
        0 => Replication::Default,
        1 => Replication::All,
        _ => Replication::Copies(client.chance.u8(1..4)),
    }
}

fn asked(world: &World, name: &CacheName, input: CacheInput) -> Asked {
    let url = format!("/api/v1/caches/{name}");
    match input {
        CacheInput::Create(settings) => {
            let wanted = CreateCacheRequest {
                name: name.clone(),
                public: settings.public,
                priority: settings.priority,
                store_dir: StoreDir::default(),
                upstream_cache_key_names: Vec::new(),
                retention_period: settings.retention,
                replication: settings.replication,
                mission: None,
            };
            Asked::new(Method::POST, "/api/v1/caches", world.root()).json(&wanted)
        }
        CacheInput::Configure(changes) => {
            Asked::new(Method::PATCH, url, world.root()).json(&changes.to_request())
        }
        CacheInput::Destroy => Asked::new(Method::DELETE, url, world.root()),
        CacheInput::Read => Asked::new(Method::GET, format!("{url}?read=strong"), world.root()),
    }
}

/// One request about a cache, held against what else was answered about it.
pub(super) async fn call(world: &World, station: &Station, name: &CacheName, input: CacheInput) {
    let begun = world.oracle().caches().begin(name, input);
    let reply = ask(world, station, asked(world, name, input)).await;
    let said = said(input, &reply);
    world.trace(format_args!(
        "cache {name}, {input:?} at {}: {said:?}",
        station.name()
    ));
    let mut caches = world.oracle().caches();
    let judged = match said {
        Said::Output(output) => caches.answered(begun, output),
        Said::Nothing => {
            caches.without_effect(begun);
            Ok(())
        }
        Said::Perhaps => {
            caches.perhaps(begun);
            Ok(())
        }
        Said::Unknown => {
            caches.in_doubt(begun);
            Ok(())
        }
    };
    drop(caches);
    world.count(match (input, said) {
        (_, Said::Unknown) => "cache request in doubt",
        (CacheInput::Read, Said::Output(_)) => "strong read of a cache",
        (_, Said::Output(CacheOutput::Done)) => "cache changed",
        _ => "cache request refused",
    });
    if let Err(why) = judged {
        world.violated(Promise::Linearizable, why);
    }
}

#[derive(Clone, Copy, Debug)]
enum Said {
    Output(CacheOutput),
    /// It had no effect, and says nothing of the newest state.
    Nothing,
    /// It is over; whether it had an effect cannot be told.
    Perhaps,
    Unknown,
}

fn said(input: CacheInput, reply: &Reply) -> Said {
    let is_read = input == CacheInput::Read;
    let Reply::Answer(answer) = reply else {
        return match reply {
            Reply::Unknown if !is_read => Said::Unknown,
            _ => Said::Nothing,
        };
    };
    match (input, answer.status, reply.error()) {
        (CacheInput::Read, StatusCode::OK, _) => match parsed::<CacheInfo>(answer) {
            Some(info) => Said::Output(CacheOutput::Seen(Some(Settings::of(&info)))),
            None => Said::Nothing,
        },
        (CacheInput::Read, _, Some(ErrorName::NoSuchCache)) => Said::Output(CacheOutput::Seen(None)),
        (CacheInput::Read, ..) => Said::Nothing,
        (CacheInput::Create(_), _, Some(ErrorName::CacheAlreadyExists)) => Said::Output(CacheOutput::Exists),
        // A change is answered with the cache as it is then, which may be destroyed again by then.
        (CacheInput::Create(_) | CacheInput::Configure(_), _, Some(ErrorName::NoSuchCache)) => Said::Perhaps,
        (_, status, _) if status.is_success() => Said::Output(CacheOutput::Done),
        // A station looks at its own state first, which may be an older one.
        (_, status, _) if status.is_client_error() => Said::Nothing,
        _ => Said::Unknown,
    }
}
