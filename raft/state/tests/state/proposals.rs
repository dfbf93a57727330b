//! A proposal is applied at most once.

use std::ops::Bound;
use std::time::Duration;

use tetryx_protocol::id::ProposalId;
use tetryx_state::limits::{CLIENT_KEPT, OPEN_PROPOSALS_MAX};
use tetryx_state::{Command, Outcome, ReadTables, Refusal, Reply, Table, query};

use crate::fixture::{World, cache, client, create_cache, init_cluster, new_path, publish};

fn remembered(world: &World) -> usize {
    world
        .tables
        .range(Table::Proposals, Bound::Unbounded, Bound::Unbounded, usize::MAX)
        .unwrap()
        .len()
}

/// A command of another client.
fn from(world: &World, number: u8, serial: u64, oldest_open: u64, name: &str) -> Command {
    Command {
        proposal: ProposalId {
            client: client(number),
            serial,
        },
        oldest_open,
        proposed_at: world.now,
        by: "bob".to_owned(),
        body: create_cache(name).into(),
    }
}

#[test]
fn a_repeated_proposal_gets_its_reply_again_and_changes_nothing() {
    let mut world = World::initialised();
    let command = world.command(create_cache("main"));
    let reply = world.apply(&command);
    let before = world.tables.clone();
    assert_eq!(world.apply(&command), reply);
    let remembered = query::reply(&world.tables, &command.proposal).unwrap();
    assert_eq!(remembered.as_ref(), Some(&reply));
    assert_eq!(
        reply,
        Reply::Done(Outcome::CacheCreated),
        "and not 'exists already'"
    );
    assert_eq!(world.tables, before);
}

#[test]
fn a_repeated_refusal_is_the_same_refusal_though_it_might_be_done_by_now() {
    let mut world = World::with_cache();
    let command = world.command(publish("main", [new_path("hello", &["glibc"])]));
    let refused = world.apply(&command);
    assert!(matches!(
        refused,
        Reply::Refused(Refusal::MissingReferences { .. })
    ));
    let next = Command {
        oldest_open: command.oldest_open,
        ..world.command(publish("main", [new_path("glibc", &[])]))
    };
    world
        .apply(&next)
        .into_result()
        .expect("the reference is published now");
    assert_eq!(world.apply(&command), refused);
    assert_eq!(world.path("hello"), None, "its client was told it is not");
}

#[test]
fn a_proposal_refused_before_the_cluster_exists_stays_refused() {
    let mut world = World::empty();
    let early = world.command(create_cache("main"));
    let refused = world.apply(&early);
    assert_eq!(refused, Reply::Refused(Refusal::NotInitialised));
    let init = Command {
        oldest_open: early.oldest_open,
        ..world.command(init_cluster())
    };
    world.apply(&init).into_result().expect("the cluster is founded");
    assert_eq!(world.apply(&early), refused);
    assert_eq!(query::cache(&world.tables, &cache("main")).unwrap(), None);
}

#[test]
fn serials_may_arrive_in_any_order() {
    let mut world = World::initialised();
    for (serial, name) in [(7, "c"), (5, "a"), (6, "b")] {
        let command = from(&world, 9, serial, 5, name);
        assert_eq!(world.apply(&command), Reply::Done(Outcome::CacheCreated));
    }
}

#[test]
fn the_same_serial_of_two_clients_is_two_proposals() {
    let mut world = World::initialised();
    let (one, two) = (from(&world, 8, 1, 1, "one"), from(&world, 9, 1, 1, "two"));
    assert_eq!(world.apply(&one), Reply::Done(Outcome::CacheCreated));
    assert_eq!(world.apply(&two), Reply::Done(Outcome::CacheCreated));
}

#[test]
fn replies_are_forgotten_when_their_client_needs_them_no_more() {
    let mut world = World::initialised();
    for serial in 1..=20 {
        let command = from(&world, 9, serial, 1, &format!("c{serial}"));
        world.apply(&command).into_result().expect("created");
    }
    let full = remembered(&world);
    let command = from(&world, 9, 21, 21, "last");
    world.apply(&command).into_result().expect("created");
    assert_eq!(remembered(&world), full - 19, "20 replies went, one came");
}

#[test]
fn a_late_duplicate_of_a_finished_proposal_is_not_applied() {
    let mut world = World::initialised();
    let late = from(&world, 9, 1, 1, "late");
    let next = from(&world, 9, 2, 2, "next");
    world.apply(&next).into_result().expect("created");
    assert_eq!(
        world.apply(&late),
        Reply::Refused(Refusal::ProposalFinished { serial: 1, floor: 2 })
    );
}

#[test]
fn a_client_may_have_many_proposals_open_but_not_more_than_the_limit() {
    let mut world = World::initialised();
    let last = from(&world, 9, OPEN_PROPOSALS_MAX, 1, "last");
    let over = from(&world, 9, OPEN_PROPOSALS_MAX + 1, 1, "over");
    let refusal = Refusal::TooManyOpenProposals {
        serial: OPEN_PROPOSALS_MAX + 1,
        floor: 1,
    };
    assert_eq!(world.apply(&over), Reply::Refused(refusal));
    assert_eq!(world.apply(&last), Reply::Done(Outcome::CacheCreated));
    let settled = Command {
        oldest_open: 2,
        ..over
    };
    assert_eq!(
        world.apply(&settled),
        Reply::Done(Outcome::CacheCreated),
        "once it declared one finished"
    );
}

#[test]
fn serials_at_the_end_of_their_range_are_serials_like_others() {
    let mut world = World::initialised();
    let command = from(&world, 9, u64::MAX, u64::MAX, "last");
    let reply = world.apply(&command);
    assert_eq!(reply, Reply::Done(Outcome::CacheCreated));
    assert_eq!(world.apply(&command), reply);
}

#[test]
fn a_client_unheard_of_for_a_day_is_forgotten_when_another_appears() {
    let mut world = World::initialised();
    let old = from(&world, 8, 1, 1, "old");
    world.apply(&old).into_result().expect("created");
    world.now = world.now.plus(CLIENT_KEPT);
    let middle = from(&world, 9, 1, 1, "middle");
    world.apply(&middle).into_result().expect("created");
    assert!(
        matches!(world.apply(&old), Reply::Done(Outcome::CacheCreated)),
        "a day is not over a day"
    );
    world.now = world.now.plus(Duration::from_millis(1));
    let newest = from(&world, 10, 1, 1, "newest");
    world.apply(&newest).into_result().expect("created");
    assert!(
        matches!(world.apply(&old), Reply::Refused(Refusal::CacheExists { .. })),
        "it is no duplicate any more"
    );
}

#[test]
fn a_client_that_keeps_proposing_is_not_forgotten() {
    let mut world = World::initialised();
    let first = from(&world, 8, 1, 1, "first");
    world.apply(&first).into_result().expect("created");
    for day in 1..=3 {
        world.now = world.now.plus(CLIENT_KEPT);
        let command = from(&world, 8, 1 + day, 1, &format!("day-{day}"));
        world.apply(&command).into_result().expect("created");
        let stranger = from(
            &world,
            20 + u8::try_from(day).unwrap(),
            1,
            1,
            &format!("stranger-{day}"),
        );
        world.apply(&stranger).into_result().expect("created");
    }
    assert_eq!(world.apply(&first), Reply::Done(Outcome::CacheCreated));
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_without_memory_answers_a_repeated_proposal_anew() {
    let mut world = World::initialised();
    let command = world.command(create_cache("main"));
    assert_eq!(world.apply(&command), Reply::Done(Outcome::CacheCreated));
    tetryx_environment::mutant::Mutant::ApplyWithoutDedup.activate();
    let again = world.apply(&command);
    assert!(matches!(again, Reply::Refused(_)), "{again:?}");
}
