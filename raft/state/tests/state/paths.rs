//! Deleting, pinning and unpinning paths.

use tetryx_protocol::hash::NarHash;
use tetryx_state::command::{DeletePath, UnpinPath};
use tetryx_state::records::PathPin;
use tetryx_state::{Outcome, Refusal, query};

use crate::fixture::{World, cache, delete, hash, new_path, pin, store_paths, with_content};

fn force(name: &str) -> DeletePath {
    DeletePath {
        force: true,
        ..delete(name)
    }
}

fn unpin(name: &str) -> UnpinPath {
    UnpinPath {
        cache: cache("main"),
        path: hash(name),
    }
}

#[test]
fn a_deleted_path_is_gone_and_its_nar_with_it() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &["hello"])]);
    assert_eq!(
        world.done(delete("hello")),
        Outcome::PathDeleted { nar_removed: true }
    );
    assert_eq!((world.path("hello"), world.nar_references("hello")), (None, None));
}

#[test]
fn a_nar_goes_with_the_last_path_that_has_it() {
    let mut world = World::with_cache();
    world.publish(["one", "two"].map(|name| with_content(new_path(name, &[]), "same")));
    assert_eq!(
        world.done(delete("one")),
        Outcome::PathDeleted { nar_removed: false }
    );
    assert_eq!(world.nar_references("same"), Some(1));
    assert_eq!(
        world.done(delete("two")),
        Outcome::PathDeleted { nar_removed: true }
    );
    assert_eq!(world.nar_references("same"), None);
}

#[test]
fn the_paths_of_a_cache_with_one_content_are_found_by_it() {
    let mut world = World::with_cache();
    world.publish(["one", "two"].map(|name| with_content(new_path(name, &[]), "same")));
    world.publish([new_path("other", &[])]);
    let same = NarHash::of(b"same");
    let mut expected = ["one", "two"].map(hash);
    expected.sort_unstable();
    let found = query::holders(&world.tables, &cache("main"), &same, 9).expect("memory never fails");
    assert_eq!(found, expected);
    assert_eq!(
        query::holders(&world.tables, &cache("main"), &same, 1)
            .expect("memory never fails")
            .len(),
        1
    );
    assert_eq!(
        query::holders(&world.tables, &cache("else"), &same, 9).expect("memory never fails"),
        []
    );
}

#[test]
fn a_path_can_be_deleted_once_nothing_refers_to_it() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world.refused(delete("glibc"));
    world.done(delete("hello"));
    world.done(delete("glibc"));
    assert_eq!(world.path("glibc"), None);
}

#[test]
fn a_path_deleted_by_force_is_known_to_be_absent_where_it_is_referred_to() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc", "hello"])]);
    assert_eq!(
        world.done(force("glibc")),
        Outcome::PathDeleted { nar_removed: true }
    );
    let hello = world.path("hello").expect("it is still there");
    assert_eq!(hello.references, store_paths(&["glibc", "hello"]));
    assert_eq!(hello.absent_references, store_paths(&["glibc"]));
}

#[test]
fn a_path_that_came_back_is_guarded_by_its_old_referrers() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world.done(force("glibc"));
    world.publish([new_path("glibc", &[])]);
    assert!(matches!(
        world.refused(delete("glibc")),
        Refusal::PathReferenced { .. }
    ));
    world.done(force("glibc"));
    assert_eq!(
        world.path("hello").expect("it is still there").absent_references,
        store_paths(&["glibc"])
    );
}

#[test]
fn a_pin_says_who_and_when_and_the_first_one_stays() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    assert_eq!(world.done(pin("hello")), Outcome::PathPinned);
    let pinned = Some(PathPin {
        by: "alice".to_owned(),
        at: world.now,
        until: None,
    });
    assert_eq!(world.path("hello").expect("published").pinned, pinned);
    world.by = "bob".to_owned();
    assert_eq!(world.done(pin("hello")), Outcome::Unchanged);
    assert_eq!(world.path("hello").expect("published").pinned, pinned);
}

#[test]
fn force_does_not_lift_a_pin() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    world.done(pin("hello"));
    assert!(matches!(
        world.refused(force("hello")),
        Refusal::PathPinned { .. }
    ));
    assert_eq!(world.done(unpin("hello")), Outcome::PathUnpinned);
    assert_eq!(world.done(unpin("hello")), Outcome::Unchanged);
    world.done(delete("hello"));
}

#[test]
fn publishing_a_pinned_path_again_leaves_it_pinned() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    world.done(pin("hello"));
    world.publish([new_path("hello", &[])]);
    assert!(world.path("hello").expect("published").pinned.is_some());
}
