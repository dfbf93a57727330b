//! What clients find: the caches that stay for as long as a world lasts.

use std::time::Duration;

use http::Method;
use tetryx_protocol::api::{CacheInfo, CreateCacheRequest};
use tetryx_protocol::cache::{CacheName, Replication, Retention};
use tetryx_protocol::signature::NixPublicKey;
use tetryx_protocol::store_path::StoreDir;

use super::talk::{Asked, Reply, ask, index_of, parsed, told};
use crate::world::World;
use crate::world::oracle::BRIEF;

/// How long the caches may take to be created, before any fault.
const PATIENCE: Duration = Duration::from_secs(600);

/// A cache that stays.
#[derive(Clone, Debug)]
pub(super) struct DataCache {
    pub(super) name: CacheName,
    pub(super) public: bool,
    pub(super) public_key: NixPublicKey,
}

/// The caches that stay.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) caches: Vec<DataCache>,
}

impl Setting {
    /// Creates them, at the founder.
    ///
    /// # Errors
    /// In words, when the founder does not do it in a world without faults.
    pub(super) async fn prepare(world: &World) -> Result<Self, String> {
        let mut caches = Vec::new();
        // Long enough for what refers to something that was just pushed, and several times in an hour.
        let seconds = world.chance("retention").u64(120..=600);
        for (name, public, replication, retention_period) in [
            ("main", true, Replication::Default, Retention::Forever),
            ("hidden", false, Replication::Default, Retention::Forever),
            ("wide", true, Replication::All, Retention::Forever),
            (BRIEF, true, Replication::Default, Retention::Period { seconds }),
        ] {
            let wanted = CreateCacheRequest {
                name: name.parse().expect("a cache name"),
                public,
                priority: 41,
                store_dir: StoreDir::default(),
                upstream_cache_key_names: Vec::new(),
                retention_period,
                replication,
                mission: None,
            };
            caches.push(create(world, &wanted).await?);
        }
        Ok(Self { caches })
    }

    pub(super) fn cache(&self, name: &CacheName) -> Option<&DataCache> {
        self.caches.iter().find(|cache| cache.name == *name)
    }
}

async fn create(world: &World, wanted: &CreateCacheRequest) -> Result<DataCache, String> {
    let began = world.now();
    loop {
        let asked = Asked::new(Method::POST, "/api/v1/caches", world.root()).json(wanted);
        let reply = ask(world, &world.station(0), asked).await;
        if let Some(answer) = reply.success()
            && let Some(info) = parsed::<CacheInfo>(answer)
        {
            world.trace(format_args!(
                "cache {} is created at {:?}",
                info.name,
                index_of(answer)
            ));
            return Ok(DataCache {
                name: info.name,
                public: info.public,
                public_key: info.public_key,
            });
        }
        if world.now() - began > PATIENCE {
            let why = match &reply {
                Reply::Answer(answer) => told(answer),
                other => format!("{other:?}"),
            };
            return Err(format!("cache {} cannot be created: {why}", wanted.name));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
