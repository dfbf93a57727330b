//! Publishing paths.

use tetryx_protocol::hash::NarHash;
use tetryx_state::command::{ConfigureCache, PublishPaths};
use tetryx_state::{Outcome, query};

use crate::fixture::{
    START_DAY, World, cache, create_cache, hash, new_nar, new_path, node, publish, signature, store_path,
    store_paths, with_content,
};

fn published(published: u64, updated: u64, unchanged: u64) -> Outcome {
    Outcome::Published {
        published,
        updated,
        unchanged,
    }
}

#[test]
fn a_published_path_is_found_with_all_that_was_said_about_it() {
    let mut world = World::with_cache();
    let mut hello = new_path("hello", &["hello"]);
    hello.deriver = Some(store_path("hello.drv"));
    hello.system = Some("x86_64-linux".to_owned());
    hello.signatures = vec![signature("z-1"), signature("a-1"), signature("z-1")];
    assert_eq!(world.publish([hello.clone()]), published(1, 0, 0));
    let record = world.path("hello").expect("it was published");
    assert_eq!(record.store_path, hello.store_path);
    assert_eq!(
        (record.deriver, record.system, record.ca),
        (hello.deriver, hello.system, None)
    );
    assert_eq!(
        record.signatures,
        [signature("a-1"), signature("z-1")],
        "in order, each once"
    );
    assert_eq!((record.created, record.created_by.as_str()), (world.now, "alice"));
    assert_eq!((record.last_access_day, record.pinned), (START_DAY, None));
}

#[test]
fn two_pushes_of_one_path_change_nothing() {
    let mut world = World::with_cache();
    let batch = [new_path("glibc", &[]), new_path("hello", &["glibc"])];
    assert_eq!(world.publish(batch.clone()), published(2, 0, 0));
    let before = world.path("hello");
    world.by = "bob".to_owned();
    assert_eq!(world.publish(batch), published(0, 0, 2));
    assert_eq!(world.path("hello"), before);
    assert_eq!(world.nar_references("hello"), Some(1));
}

#[test]
fn a_second_push_adds_its_signatures_and_nothing_else() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    let mut signed = new_path("hello", &[]);
    signed.signatures = vec![signature("build-1")];
    signed.deriver = Some(store_path("hello.drv"));
    assert_eq!(world.publish([signed.clone()]), published(0, 1, 0));
    let record = world.path("hello").expect("it was published");
    assert_eq!(
        (record.signatures, record.deriver),
        (vec![signature("build-1")], None)
    );
    assert_eq!(world.publish([signed]), published(0, 0, 1));
}

#[test]
fn paths_of_one_batch_may_refer_to_each_other_in_any_order_and_in_circles() {
    let mut world = World::with_cache();
    let batch = [
        new_path("a", &["b", "c"]),
        new_path("b", &["a"]),
        new_path("c", &[]),
        new_path("self", &["self", "a"]),
    ];
    assert_eq!(world.publish(batch), published(4, 0, 0));
    assert_eq!(
        world.path("a").expect("published").references,
        store_paths(&["b", "c"])
    );
    let referrers = query::referrers(&world.tables, &cache("main"), &hash("a"), 10).unwrap();
    let mut expected = vec![hash("b"), hash("self")];
    expected.sort();
    assert_eq!(referrers, expected);
}

#[test]
fn references_are_kept_in_the_order_of_nix_each_once() {
    let mut world = World::with_cache();
    world.publish([new_path("a", &[]), new_path("b", &[])]);
    let mut path = new_path("user", &[]);
    let mut references = store_paths(&["a", "b", "user"]);
    references.reverse();
    path.references = [references.clone(), references].concat();
    world.publish([path]);
    assert_eq!(
        world.path("user").expect("published").references,
        store_paths(&["a", "b", "user"])
    );
}

#[test]
fn a_path_named_twice_in_one_batch_is_published_once() {
    let mut world = World::with_cache();
    let hello = new_path("hello", &[]);
    assert_eq!(world.publish([hello.clone(), hello]), published(1, 0, 0));
    assert_eq!(world.nar_references("hello"), Some(1));
}

#[test]
fn an_empty_batch_publishes_nothing() {
    let mut world = World::with_cache();
    assert_eq!(world.publish([]), published(0, 0, 0));
}

#[test]
fn a_nar_is_counted_by_the_paths_that_have_it_in_whatever_cache() {
    let mut world = World::with_cache();
    world.done(create_cache("other"));
    let same = ["one", "two"].map(|name| with_content(new_path(name, &[]), "same"));
    world.publish(same.clone());
    world.done(publish("other", same));
    assert_eq!(world.nar_references("same"), Some(4));
    assert_eq!(query::live_manifests(&world.tables, None, 10).unwrap().len(), 1);
}

#[test]
fn what_is_known_about_a_nar_stays_as_the_first_publisher_told_it() {
    let mut world = World::with_cache();
    world.publish([with_content(new_path("one", &[]), "same")]);
    let mut two = with_content(new_path("two", &[]), "same");
    two.nar = new_nar("cut in another way");
    two.nar.origin = node(9);
    world.publish([two]);
    let nar = query::nar(&world.tables, &NarHash::of(b"same"))
        .unwrap()
        .expect("it was published");
    assert_eq!((nar.manifest, nar.origin), (new_nar("same").manifest, node(1)));
    assert_eq!(nar.references, 2);
}

#[test]
fn a_nar_is_held_by_those_caches_only_that_have_a_path_with_it() {
    let mut world = World::with_cache();
    world.done(create_cache("other"));
    world.publish([new_path("hello", &[])]);
    let nar = NarHash::of(b"hello");
    assert!(query::holds(&world.tables, &cache("main"), &nar).unwrap());
    assert!(!query::holds(&world.tables, &cache("other"), &nar).unwrap());
}

#[test]
fn a_reference_that_an_upstream_cache_has_may_be_absent() {
    let mut world = World::with_cache();
    let batch = PublishPaths {
        upstream: store_paths(&["glibc", "unrelated"]),
        ..publish("main", [new_path("hello", &["glibc"])])
    };
    assert_eq!(world.done(batch), published(1, 0, 0));
    assert_eq!(
        world.path("hello").expect("published").absent_references,
        store_paths(&["glibc"])
    );
    assert_eq!(world.path("glibc"), None);
}

#[test]
fn a_reference_that_is_here_is_not_absent_whatever_upstream_has() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[])]);
    let batch = PublishPaths {
        upstream: store_paths(&["glibc"]),
        ..publish("main", [new_path("hello", &["glibc"])])
    };
    world.done(batch);
    assert_eq!(world.path("hello").expect("published").absent_references, []);
}

#[test]
fn a_cache_without_upstream_keys_wants_the_whole_closure() {
    let mut world = World::with_cache();
    world.done(ConfigureCache {
        upstream_key_names: Some(Vec::new()),
        ..ConfigureCache::new(cache("main"))
    });
    world.refused(PublishPaths {
        upstream: store_paths(&["glibc"]),
        ..publish("main", [new_path("hello", &["glibc"])])
    });
}

#[test]
fn of_a_refused_batch_no_path_is_visible() {
    let mut world = World::with_cache();
    world.refused(publish(
        "main",
        [new_path("fine", &[]), new_path("hello", &["nowhere"])],
    ));
    assert_eq!((world.path("fine"), world.path("hello")), (None, None));
    assert_eq!(world.nar_references("fine"), None);
}

#[test]
fn a_cache_says_which_paths_it_has_not() {
    let mut world = World::with_cache();
    world.publish([new_path("b", &[])]);
    let asked = ["c", "b", "a"].map(hash);
    let missing = query::missing_paths(&world.tables, &cache("main"), &asked).unwrap();
    assert_eq!(missing, [hash("c"), hash("a")], "in the order asked");
}

#[test]
fn paths_are_listed_in_the_order_of_their_text_page_by_page() {
    let mut world = World::with_cache();
    world.done(create_cache("main-2"));
    let names: Vec<String> = (0..40).map(|number| format!("path-{number}")).collect();
    world.publish(names.iter().map(|name| new_path(name, &[])));
    world.done(publish("main-2", [new_path("elsewhere", &[])]));
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = query::paths(&world.tables, &cache("main"), after.as_ref(), 7).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.hash());
        listed.extend(page.into_iter().map(|path| path.store_path.to_string()));
    }
    let mut expected: Vec<String> = names.iter().map(|name| store_path(name).to_string()).collect();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn live_manifests_are_listed_page_by_page() {
    let mut world = World::with_cache();
    world.publish((0..20).map(|number| new_path(&format!("path-{number}"), &[])));
    let all = query::live_manifests(&world.tables, None, 100).unwrap();
    let first = query::live_manifests(&world.tables, None, 8).unwrap();
    let rest = query::live_manifests(&world.tables, Some(&first[7].0), 100).unwrap();
    assert_eq!([first, rest].concat(), all);
    assert_eq!(all.len(), 20);
}
