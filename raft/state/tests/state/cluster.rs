//! The cluster, its clock, its members.

use std::time::Duration;

use tetryx_protocol::time::UtcTime;
use tetryx_state::command::Role;
use tetryx_state::{Outcome, query};

use crate::fixture::{START_MS, World, create_cache, init_cluster, node, upsert_member};

#[test]
fn the_first_command_founds_the_cluster() {
    let mut world = World::empty();
    assert_eq!(world.done(init_cluster()), Outcome::Initialised);
    let cluster = query::cluster(&world.tables).unwrap().unwrap();
    assert_eq!(cluster.id, init_cluster().cluster);
    assert_eq!((cluster.epoch, cluster.feature_level), (1, 1));
    assert_eq!(cluster.created, UtcTime::from_unix_ms(START_MS));
}

#[test]
fn the_log_clock_is_the_largest_time_seen_and_never_runs_backwards() {
    let mut world = World::initialised();
    let ahead = world.now.plus(Duration::from_secs(60));
    world.now = ahead;
    world.done(create_cache("main"));
    world.now = UtcTime::from_unix_ms(START_MS);
    world.done(create_cache("late"));
    assert_eq!(query::clock(&world.tables).unwrap(), ahead);
    let caches = query::caches(&world.tables).unwrap();
    assert!(
        caches.iter().all(|(_, cache)| cache.created == ahead),
        "records carry the log clock"
    );
}

#[test]
fn a_refused_command_moves_the_clock_as_well() {
    let mut world = World::initialised();
    world.now = world.now.plus(Duration::from_secs(5));
    world.refused(init_cluster());
    assert_eq!(query::clock(&world.tables).unwrap(), world.now);
}

#[test]
fn before_the_first_command_the_clock_stands_at_the_epoch() {
    assert_eq!(query::clock(&World::empty().tables).unwrap(), UtcTime::UNIX_EPOCH);
}

#[test]
fn a_member_keeps_the_time_it_was_added_when_it_changes() {
    let mut world = World::initialised();
    let added = world.now;
    assert_eq!(world.done(upsert_member(1, "north")), Outcome::MemberAdded);
    world.now = world.now.plus(Duration::from_secs(9));
    let mut moved = upsert_member(1, "south");
    moved.role = Role::Learner;
    assert_eq!(world.done(moved), Outcome::MemberUpdated);
    let members = query::members(&world.tables).unwrap();
    let [(id, member)] = &members[..] else {
        panic!("one member, not {members:?}")
    };
    assert_eq!(
        (*id, member.name.as_str(), member.role),
        (node(1), "south", Role::Learner)
    );
    assert_eq!(member.added, added);
}

#[test]
fn a_member_that_says_the_same_again_changes_nothing() {
    let mut world = World::initialised();
    world.done(upsert_member(1, "north"));
    assert_eq!(world.done(upsert_member(1, "north")), Outcome::Unchanged);
}
