//! Members that change, drain and leave; epochs, feature levels, and what replicas say of their states.

use std::time::Duration;

use tetryx_state::command::{AdvanceEpoch, CheckState, Role, SetFeatureLevel, UpdateMember, UpsertMember};
use tetryx_state::limits::{CHECK_HASHES_MAX, CHECKS_KEPT};
use tetryx_state::records::{AuditAction, MemberRecord, MemberState, Record};
use tetryx_state::{Outcome, Refusal, query};

use crate::fixture::{World, check_state, create_cache, drain, node, remove, update_member, upsert_member};

/// A cluster of nodes 1, `north`, and 2, `south`.
fn world() -> World {
    let mut world = World::initialised();
    world.done(upsert_member(1, "north"));
    world.done(upsert_member(2, "south"));
    world
}

fn member(world: &World, number: u8) -> MemberRecord {
    let member = query::member(&world.tables, &node(number)).unwrap();
    member.expect("there is such a member")
}

fn level(level: u32) -> SetFeatureLevel {
    SetFeatureLevel { level }
}

#[test]
fn a_member_says_everything_about_itself() {
    let mut world = world();
    let added = world.now;
    world.now = world.now.plus(Duration::from_secs(1));
    assert_eq!(world.done(update_member(2, "west")), Outcome::MemberUpdated);
    let said = update_member(2, "west");
    let expected = MemberRecord {
        name: said.name,
        zone: said.zone,
        addresses: said.addresses,
        gossip: said.gossip,
        http_url: said.http_url,
        role: Role::Learner,
        weight: 300,
        state: MemberState::Active,
        added,
        feature_level: 2,
    };
    assert_eq!(member(&world, 2), expected);
    assert_eq!(world.done(update_member(2, "west")), Outcome::Unchanged);
}

#[test]
fn a_member_that_does_not_speak_of_its_role_keeps_it() {
    let mut world = world();
    let silent = UpdateMember {
        role: None,
        ..update_member(2, "south")
    };
    world.done(silent);
    assert_eq!(member(&world, 2).role, Role::Voter);
}

#[test]
fn what_an_older_build_says_of_a_member_leaves_the_rest_as_it_is() {
    let mut world = world();
    world.done(update_member(2, "south"));
    world.done(drain(2));
    let before = member(&world, 2);
    let upsert = upsert_member(2, "west");
    world.done(upsert.clone());
    let expected = MemberRecord {
        name: upsert.name,
        zone: upsert.zone,
        addresses: upsert.addresses,
        role: upsert.role,
        ..before
    };
    assert_eq!(member(&world, 2), expected);
}

#[test]
fn only_a_member_can_be_changed_drained_or_removed() {
    let mut world = world();
    let stranger = Refusal::NoSuchMember { node: node(3) };
    assert_eq!(world.refused(update_member(3, "east")), stranger);
    assert_eq!(world.refused(drain(3)), stranger);
    assert_eq!(world.refused(remove(3)), stranger);
    let text = format!(
        "there is no member {}; 'tetryx-cli node list' shows who there is",
        node(3)
    );
    assert_eq!(stranger.to_string(), text);
}

#[test]
fn a_member_cannot_take_the_name_of_another() {
    let refusal = world().refused(update_member(2, "north"));
    let name = "north".to_owned();
    assert_eq!(refusal, Refusal::MemberNameTaken { name, node: node(1) });
}

#[test]
fn a_draining_member_stays_a_member_but_nothing_is_placed_on_it() {
    let mut world = world();
    assert_eq!(world.done(drain(2)), Outcome::MemberDraining);
    let since = world.now;
    assert_eq!(member(&world, 2).state, MemberState::Draining { since });
    world.now = world.now.plus(Duration::from_secs(1));
    assert_eq!(world.done(drain(2)), Outcome::Unchanged);
    assert_eq!(query::active_members(&world.tables).unwrap().len(), 2);
    let candidates = query::placement_candidates(&world.tables).unwrap();
    let candidates: Vec<_> = candidates.into_iter().map(|candidate| candidate.node).collect();
    assert_eq!(candidates, [node(1)]);
}

#[test]
fn a_removed_member_is_refused_for_ever_and_its_name_is_free() {
    let mut world = world();
    assert_eq!(world.done(remove(2)), Outcome::MemberRemoved);
    let at = world.now;
    assert_eq!(world.done(remove(2)), Outcome::Unchanged);
    let removed = Refusal::MemberRemoved { node: node(2), at };
    assert_eq!(world.refused(upsert_member(2, "south")), removed);
    assert_eq!(world.refused(update_member(2, "south")), removed);
    assert_eq!(world.refused(drain(2)), removed);
    assert_eq!(query::active_members(&world.tables).unwrap().len(), 1);
    assert_eq!(world.done(upsert_member(3, "south")), Outcome::MemberAdded);
    assert_eq!(query::members(&world.tables).unwrap().len(), 3);
}

#[test]
fn the_last_active_member_can_neither_be_drained_nor_removed() {
    let mut world = world();
    world.done(drain(2));
    let last = Refusal::LastMember { node: node(1) };
    assert_eq!(world.refused(drain(1)), last);
    assert_eq!(world.refused(remove(1)), last);
    let text = format!(
        "node {} is the last active member; let another one join before it leaves",
        node(1)
    );
    assert_eq!(last.to_string(), text);
    world.done(remove(2));
    assert_eq!(world.refused(remove(1)), last);
}

#[test]
fn what_was_removed_comes_before_whose_name_it_is() {
    let mut world = world();
    world.done(remove(2));
    let both = UpsertMember {
        name: "north".to_owned(),
        ..upsert_member(2, "")
    };
    assert!(matches!(world.refused(both), Refusal::MemberRemoved { .. }));
}

#[test]
fn a_member_of_the_first_version_is_read_as_one_of_the_second() {
    let written = crate::fixture::unhex(include_str!("../golden/record-member.hex"));
    let read = MemberRecord::decode(b"", &written).expect("version 1 is read");
    assert_eq!(read.name, "north");
    assert_eq!((read.weight, read.feature_level), (100, 1));
    assert!(read.state.is_active() && read.gossip.is_empty() && read.http_url.is_none());
    assert_eq!(
        read.encode(),
        written,
        "and written as it was, while it says no more"
    );
    let more = MemberRecord { weight: 101, ..read };
    assert_eq!(more.encode()[0], 2);
    assert_eq!(MemberRecord::decode(b"", &more.encode()), Ok(more));
}

#[test]
fn epochs_only_grow() {
    let mut world = world();
    let advance = |epoch| AdvanceEpoch { epoch };
    assert_eq!(world.done(advance(1)), Outcome::Unchanged);
    assert_eq!(world.done(advance(5)), Outcome::EpochAdvanced);
    assert_eq!(query::cluster(&world.tables).unwrap().unwrap().epoch, 5);
    let refusal = world.refused(advance(4));
    assert_eq!(refusal, Refusal::EpochNotNewer { epoch: 4, current: 5 });
    let text = "epoch 4 is not above 5, which the cluster has; recover from the newest member";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_feature_level_is_set_once_every_member_understands_it() {
    let mut world = world();
    world.done(update_member(1, "north"));
    let refusal = world.refused(level(2));
    let expected = Refusal::FeatureLevelNotShared {
        node: node(2),
        name: "south".to_owned(),
        has: 1,
        level: 2,
    };
    assert_eq!(refusal, expected);
    let text = format!(
        "member 'south' ({}) understands only feature level 1, not 2; upgrade it first",
        node(2)
    );
    assert_eq!(refusal.to_string(), text);
    world.done(update_member(2, "south"));
    assert_eq!(world.done(level(2)), Outcome::FeatureLevelSet);
    assert_eq!(world.done(level(2)), Outcome::Unchanged);
    assert_eq!(query::cluster(&world.tables).unwrap().unwrap().feature_level, 2);
}

#[test]
fn a_removed_member_holds_no_feature_level_back() {
    let mut world = world();
    world.done(update_member(1, "north"));
    world.done(remove(2));
    assert_eq!(world.done(level(2)), Outcome::FeatureLevelSet);
}

#[test]
fn feature_levels_are_not_taken_back() {
    let mut world = world();
    world.done(update_member(1, "north"));
    world.done(update_member(2, "south"));
    world.done(level(2));
    let refusal = world.refused(level(1));
    assert_eq!(refusal, Refusal::FeatureLevelNotNewer { level: 1, current: 2 });
    let text = "feature level 1 is below 2, which the cluster has; versions cannot be taken back";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn what_replicas_say_of_their_states_stands_side_by_side() {
    let mut world = world();
    let wrong = CheckState {
        hash: [0xff; 32],
        ..check_state(1, 1)
    };
    assert_eq!(world.done(check_state(2, 1)), Outcome::StateChecked);
    assert_eq!(world.done(wrong.clone()), Outcome::StateChecked);
    let record = query::state_check(&world.tables, 1).unwrap().expect("it is kept");
    assert_eq!(
        record.hashes,
        [(node(1), wrong.hash), (node(2), check_state(2, 1).hash)]
    );
}

#[test]
fn the_first_word_of_a_replica_counts() {
    let mut world = world();
    world.done(check_state(1, 1));
    let other = CheckState {
        hash: [0xff; 32],
        ..check_state(1, 1)
    };
    assert_eq!(world.done(other), Outcome::Unchanged);
}

#[test]
fn only_the_newest_of_what_replicas_said_is_kept() {
    let mut world = world();
    world.index = 100;
    for index in 10..20 {
        world.done(check_state(1, index));
    }
    assert_eq!(world.done(check_state(2, 3)), Outcome::Unchanged, "too old");
    let kept = query::checks(&world.tables).unwrap();
    let kept: Vec<_> = kept.into_iter().map(|(index, _)| index).collect();
    assert_eq!(kept, (20 - CHECKS_KEPT as u64..20).collect::<Vec<_>>());
}

#[test]
fn no_more_replicas_are_noted_than_can_matter() {
    let mut world = world();
    world.index = 100;
    for number in 0..CHECK_HASHES_MAX {
        let number = u8::try_from(number).expect("small");
        assert_eq!(world.done(check_state(number, 10)), Outcome::StateChecked);
    }
    assert_eq!(world.done(check_state(255, 10)), Outcome::Unchanged);
}

#[test]
fn nobody_can_say_what_its_state_will_be() {
    let mut world = world();
    let at = world.index;
    let refusal = world.refused(check_state(1, at));
    assert_eq!(refusal, Refusal::CheckAhead { index: at, at });
    let text = format!(
        "the state at log index {at} cannot be known at {at}; report it as a bug of the proposing node"
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn members_are_in_the_audit_and_what_replicas_say_is_not() {
    let mut world = world();
    world.done(check_state(1, 1));
    world.done(drain(2));
    world.done(remove(2));
    world.done(create_cache("main"));
    let audit = query::audit(&world.tables, None, usize::MAX).unwrap();
    let actions: Vec<_> = audit.iter().map(|(_, record)| record.action).collect();
    let expected = [
        AuditAction::InitCluster,
        AuditAction::AddMember,
        AuditAction::AddMember,
        AuditAction::DrainMember,
        AuditAction::RemoveMember,
        AuditAction::CreateCache,
    ];
    assert_eq!(actions, expected);
    assert_eq!(audit[4].1.object, Some(node(2).to_string()));
}
