//! Of several refusals that fit, the first in the documented order is given.

use tetryx_protocol::cache::Retention;
use tetryx_state::command::UpsertMember;
use tetryx_state::limits::Limit;
use tetryx_state::reply::Difference;
use tetryx_state::{Refusal, Reply};

use crate::fixture::{
    World, create_cache, delete, init_cluster, new_path, pin, publish, store_path, store_paths,
    upsert_member, with_content,
};
use crate::limits::{long, too_many};

#[test]
fn what_is_wrong_with_the_proposal_comes_before_what_is_wrong_with_the_command() {
    let mut world = World::empty();
    let mut command = world.command(create_cache("main"));
    command.by = long(Limit::Subject);
    command.oldest_open += 1;
    assert!(matches!(
        world.apply(&command),
        Reply::Refused(Refusal::ProposalFinished { .. })
    ));
}

#[test]
fn what_is_wrong_with_the_command_comes_before_what_is_wrong_with_the_cluster() {
    let mut world = World::empty();
    assert!(matches!(
        world.refused(upsert_member(1, "")),
        Refusal::MemberWithoutName { .. }
    ));
    let mut init = init_cluster();
    init.sealed_token_key = vec![0; too_many(Limit::SealedKey)];
    assert!(matches!(
        World::initialised().refused(init),
        Refusal::OverLimit { .. }
    ));
}

#[test]
fn sizes_come_before_values() {
    let mut create = create_cache("new");
    create.retention = Retention::Period { seconds: 0 };
    create.mission = Some(long(Limit::MissionName));
    assert!(matches!(
        World::with_cache().refused(create),
        Refusal::OverLimit { .. }
    ));
    let unnamed = UpsertMember {
        zone: long(Limit::MemberName),
        ..upsert_member(1, "")
    };
    assert!(matches!(
        World::with_cache().refused(unnamed),
        Refusal::OverLimit { .. }
    ));
}

#[test]
fn the_cache_comes_before_the_path() {
    let batch = [
        new_path("hello", &["nowhere"]),
        with_content(new_path("hello", &[]), "other"),
    ];
    let refusal = World::initialised().refused(publish("main", batch));
    assert!(matches!(refusal, Refusal::NoSuchCache { .. }));
}

#[test]
fn a_batch_is_checked_against_itself_then_path_by_path_in_the_order_of_the_hashes() {
    let mut world = World::with_cache();
    let [first, second] = &store_paths(&["a", "b"])[..] else {
        panic!("two paths")
    };
    let (first, second) = (first.name.as_str(), second.name.as_str());
    world.publish([new_path(first, &[]), new_path(second, &[])]);
    let conflict = with_content(new_path(first, &["nowhere"]), "other");
    let missing = new_path("user", &["nowhere"]);
    let twice = [
        with_content(new_path(second, &[]), "one"),
        with_content(new_path(second, &[]), "two"),
    ];
    let all = [vec![missing.clone(), conflict.clone()], twice.to_vec()].concat();
    assert!(matches!(
        world.refused(publish("main", all)),
        Refusal::DuplicatePath { .. }
    ));

    let both = [with_content(new_path(second, &[]), "one"), conflict];
    let Refusal::PathConflict { path, what, .. } = world.refused(publish("main", both)) else {
        panic!("both conflict")
    };
    assert_eq!(
        (path, what),
        (store_path(first), Difference::Content),
        "the first, for its content"
    );
}

#[test]
fn a_pin_comes_before_the_referrers() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world.done(pin("glibc"));
    assert!(matches!(
        world.refused(delete("glibc")),
        Refusal::PathPinned { .. }
    ));
}
