//! Caches.

use tetryx_protocol::cache::{Replication, Retention};
use tetryx_state::command::{ConfigureCache, DestroyCache};
use tetryx_state::records::CacheRecord;
use tetryx_state::{Outcome, query};

use crate::fixture::{World, cache, create_cache, key_name, key_pair, new_path, parse, pin, publish};

fn main_cache(world: &World) -> CacheRecord {
    query::cache(&world.tables, &cache("main"))
        .unwrap()
        .expect("the cache exists")
}

#[test]
fn a_new_cache_is_as_asked_for() {
    let mut world = World::initialised();
    assert_eq!(world.done(create_cache("main")), Outcome::CacheCreated);
    let record = main_cache(&world);
    assert_eq!((record.public, record.priority), (false, 41));
    assert_eq!(record.public_key, key_pair(4).public_key);
    assert_eq!(record.created, world.now);
}

#[test]
fn caches_are_listed_by_name() {
    let mut world = World::initialised();
    for name in ["b", "a-1", "a", "B"] {
        world.done(create_cache(name));
    }
    let names: Vec<_> = query::caches(&world.tables)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(names, ["B", "a", "a-1", "b"]);
}

#[test]
fn configuring_one_setting_leaves_the_others_alone() {
    let mut world = World::with_cache();
    world.done(ConfigureCache {
        retention: Some(Retention::Period { seconds: 60 }),
        ..ConfigureCache::new(cache("main"))
    });
    let before = main_cache(&world);
    let public = ConfigureCache {
        public: Some(true),
        ..ConfigureCache::new(cache("main"))
    };
    assert_eq!(world.done(public), Outcome::CacheConfigured);
    assert_eq!(
        main_cache(&world),
        CacheRecord {
            public: true,
            ..before
        },
        "above all not the retention"
    );
}

#[test]
fn every_setting_of_a_cache_can_change() {
    let mut world = World::with_cache();
    let created = main_cache(&world).created;
    world.done(ConfigureCache {
        cache: cache("main"),
        public: Some(true),
        priority: Some(30),
        store_dir: Some(parse("/gnu/store")),
        upstream_key_names: Some(vec![key_name("other-1")]),
        retention: Some(Retention::Forever),
        replication: Some(Replication::All),
        key_pair: Some(key_pair(9)),
        mission: Some(Some("lander".to_owned())),
    });
    let expected = CacheRecord {
        public: true,
        priority: 30,
        store_dir: parse("/gnu/store"),
        upstream_key_names: vec![key_name("other-1")],
        retention: Retention::Forever,
        replication: Replication::All,
        public_key: key_pair(9).public_key,
        sealed_secret_key: key_pair(9).sealed_secret_key,
        mission: Some("lander".to_owned()),
        created,
    };
    assert_eq!(main_cache(&world), expected);
}

#[test]
fn configuring_what_is_so_already_changes_nothing() {
    let mut world = World::with_cache();
    let same = ConfigureCache {
        priority: Some(41),
        ..ConfigureCache::new(cache("main"))
    };
    assert_eq!(world.done(same), Outcome::Unchanged);
    world.publish([new_path("glibc", &[])]);
    let same_dir = ConfigureCache {
        store_dir: Some(parse("/nix/store")),
        ..ConfigureCache::new(cache("main"))
    };
    assert_eq!(
        world.done(same_dir),
        Outcome::Unchanged,
        "a cache with paths may be told its store directory"
    );
}

#[test]
fn a_destroyed_cache_takes_its_paths_with_it_pinned_ones_too() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world.done(pin("hello"));
    let destroyed = world.done(DestroyCache { cache: cache("main") });
    assert_eq!(destroyed, Outcome::CacheDestroyed { paths: 2, nars: 2 });
    assert_eq!(query::cache(&world.tables, &cache("main")).unwrap(), None);
    assert_eq!(query::live_manifests(&world.tables, None, 10).unwrap(), []);
    world.done(create_cache("main"));
    assert_eq!(world.path("hello"), None, "a new cache of that name is empty");
}

#[test]
fn a_destroyed_cache_leaves_what_other_caches_have() {
    let mut world = World::with_cache();
    world.done(create_cache("main-2"));
    world.publish([new_path("glibc", &[])]);
    world.done(publish(
        "main-2",
        [new_path("glibc", &[]), new_path("hello", &["glibc"])],
    ));
    assert_eq!(world.nar_references("glibc"), Some(2));
    let destroyed = world.done(DestroyCache {
        cache: cache("main-2"),
    });
    assert_eq!(destroyed, Outcome::CacheDestroyed { paths: 2, nars: 1 });
    assert_eq!(world.nar_references("glibc"), Some(1));
    assert!(world.path("glibc").is_some());
}

#[test]
fn a_cache_with_more_paths_than_a_page_is_destroyed_whole() {
    let mut world = World::with_cache();
    world.publish((0..600).map(|number| new_path(&format!("path-{number}"), &[])));
    let destroyed = world.done(DestroyCache { cache: cache("main") });
    assert_eq!(
        destroyed,
        Outcome::CacheDestroyed {
            paths: 600,
            nars: 600
        }
    );
}
