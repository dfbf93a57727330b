//! Who did what.

use tetryx_state::command::{ConfigureCache, DestroyCache};
use tetryx_state::limits::AUDIT_KEPT;
use tetryx_state::query;
use tetryx_state::records::{AuditAction, AuditRecord};

use crate::fixture::{World, cache, create_cache, delete, hash, key_pair, new_path, publish, upsert_member};

fn records(world: &World) -> Vec<(u64, AuditRecord)> {
    query::audit(&world.tables, None, usize::MAX).unwrap()
}

fn last(world: &World) -> AuditRecord {
    records(world).pop().expect("something was done").1
}

#[test]
fn the_audit_says_who_did_what_to_what_and_when() {
    let mut world = World::with_cache();
    world.by = "bob".to_owned();
    world.publish([new_path("hello", &[])]);
    let at = world.now;
    let expected = AuditRecord {
        at,
        by: "bob".to_owned(),
        action: AuditAction::PublishPaths,
        cache: Some(cache("main")),
        object: Some(new_path("hello", &[]).store_path.to_string()),
        paths: 1,
    };
    assert_eq!(last(&world), expected);
    world.done(delete("hello"));
    let object = Some(hash("hello").to_string());
    assert_eq!(
        last(&world),
        AuditRecord {
            action: AuditAction::DeletePath,
            object,
            ..expected
        }
    );
}

#[test]
fn what_was_refused_or_changed_nothing_has_no_record() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    let before = records(&world);
    world.publish([new_path("hello", &[])]);
    world.refused(create_cache("main"));
    world.done(ConfigureCache::new(cache("main")));
    let repeated = world.command(ConfigureCache {
        public: Some(true),
        ..ConfigureCache::new(cache("main"))
    });
    for _ in 0..3 {
        world.apply(&repeated).into_result().expect("configured");
    }
    assert_eq!(
        records(&world).len(),
        before.len() + 1,
        "the one that did something"
    );
}

#[test]
fn a_new_key_and_a_new_setting_are_told_apart() {
    let mut world = World::with_cache();
    world.done(ConfigureCache {
        priority: Some(1),
        ..ConfigureCache::new(cache("main"))
    });
    assert_eq!(last(&world).action, AuditAction::ConfigureCache);
    world.done(ConfigureCache {
        key_pair: Some(key_pair(9)),
        ..ConfigureCache::new(cache("main"))
    });
    assert_eq!(last(&world).action, AuditAction::ReplaceCacheKey);
}

#[test]
fn a_new_member_and_a_changed_one_are_told_apart() {
    let mut world = World::initialised();
    world.done(upsert_member(1, "north"));
    assert_eq!(last(&world).action, AuditAction::AddMember);
    world.done(upsert_member(1, "south"));
    assert_eq!(last(&world).action, AuditAction::UpdateMember);
}

#[test]
fn the_audit_counts_the_paths_concerned() {
    let mut world = World::with_cache();
    world.publish([new_path("a", &[]), new_path("b", &[])]);
    world.done(publish("main", [new_path("b", &[]), new_path("c", &[])]));
    assert_eq!(last(&world).paths, 1);
    world.done(DestroyCache { cache: cache("main") });
    assert_eq!(last(&world).paths, 3);
}

#[test]
fn the_audit_reaches_back_a_bounded_number_of_log_indices() {
    let mut world = World::initialised();
    world.index = 100;
    world.done(create_cache("first"));
    world.done(create_cache("second"));
    world.index = 100 + AUDIT_KEPT;
    world.done(create_cache("third"));
    let indices: Vec<u64> = records(&world).into_iter().map(|(index, _)| index).collect();
    assert_eq!(indices, [101, 100 + AUDIT_KEPT]);
}

#[test]
fn the_audit_is_read_page_by_page() {
    let mut world = World::initialised();
    for number in 0..9 {
        world.done(create_cache(&format!("c{number}")));
    }
    let all = records(&world);
    let first = query::audit(&world.tables, None, 4).unwrap();
    let rest = query::audit(&world.tables, Some(first[3].0), 100).unwrap();
    assert_eq!([first, rest].concat(), all);
}
