//! The policy on voters, step by step and on random clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tetryx_protocol::id::NodeId;

use crate::profile::Profile;
use crate::supervisor::{Change, MemberHealth, Patience, Roll, Standing, plan};
use crate::testing::node;

const LONG: Duration = Duration::from_secs(3_600);

fn patience() -> Patience {
    Patience::for_profile(Profile::Lan)
}

/// A member that has been well for long.
fn member(number: u8, zone: &str) -> MemberHealth {
    MemberHealth {
        node: node(number),
        zone: zone.to_owned(),
        standing: Standing::Preferred,
        reachable_for: Some(LONG),
        unreachable_for: None,
        caught_up: true,
    }
}

fn dead(number: u8, zone: &str) -> MemberHealth {
    MemberHealth {
        reachable_for: None,
        unreachable_for: Some(LONG),
        caught_up: false,
        ..member(number, zone)
    }
}

fn standing(standing: Standing, member: MemberHealth) -> MemberHealth {
    MemberHealth { standing, ..member }
}

fn ids<const N: usize>(numbers: [u8; N]) -> BTreeSet<NodeId> {
    numbers.into_iter().map(node).collect()
}

/// A roll led by node 1.
fn roll<const V: usize, const L: usize>(voters: [u8; V], learners: [u8; L]) -> Roll {
    Roll {
        leader: node(1),
        voters: ids(voters),
        learners: ids(learners),
        unchanged_for: LONG,
    }
}

fn votes<const N: usize>(numbers: [u8; N]) -> Option<Change> {
    Some(Change::Voters(ids(numbers)))
}

#[test]
fn a_newcomer_follows_before_anything_else() {
    let members = [member(1, "a"), member(2, "b"), member(3, "c")];
    assert_eq!(
        plan(&members, &roll([1], [2]), &patience()),
        Some(Change::Admit(node(3)))
    );
}

#[test]
fn a_learner_gets_a_vote_only_when_it_is_stable_and_has_the_log() {
    let young = MemberHealth {
        reachable_for: Some(Duration::from_secs(1)),
        ..member(3, "c")
    };
    let behind = MemberHealth {
        caught_up: false,
        ..member(3, "c")
    };
    for not_yet in [young, behind] {
        let members = [member(1, "a"), member(2, "b"), not_yet];
        assert_eq!(plan(&members, &roll([1], [2, 3]), &patience()), None);
    }
    let members = [member(1, "a"), member(2, "b"), member(3, "c")];
    assert_eq!(plan(&members, &roll([1], [2, 3]), &patience()), votes([1, 2, 3]));
}

#[test]
fn preferred_members_vote_before_others_and_zones_before_neighbours() {
    let members = [
        member(1, "a"),
        standing(Standing::Allowed, member(2, "b")),
        member(3, "a"),
        member(4, "c"),
    ];
    assert_eq!(
        plan(&members, &roll([1], [2, 3, 4]), &patience()),
        votes([1, 3, 4])
    );
    let members = [member(1, "a"), member(2, "a"), member(3, "b"), member(4, "c")];
    assert_eq!(
        plan(&members, &roll([1], [2, 3, 4]), &patience()),
        votes([1, 3, 4])
    );
}

#[test]
fn a_dead_voter_without_a_spare_stays() {
    let members = [member(1, "a"), member(2, "b"), dead(3, "c")];
    assert_eq!(plan(&members, &roll([1, 2, 3], []), &patience()), None);
}

#[test]
fn a_dead_voter_is_replaced_when_the_voters_have_been_the_same_for_long_enough() {
    let members = [member(1, "a"), member(2, "b"), dead(3, "c"), member(4, "c")];
    let mut roll = roll([1, 2, 3], [4]);
    assert_eq!(plan(&members, &roll, &patience()), votes([1, 2, 4]));
    roll.unchanged_for = Duration::from_secs(1);
    assert_eq!(plan(&members, &roll, &patience()), None);
}

#[test]
fn one_dead_voter_is_replaced_at_a_time() {
    let members = [
        member(1, "a"),
        member(2, "b"),
        member(3, "c"),
        dead(4, "d"),
        dead(5, "e"),
        member(6, "f"),
        member(7, "g"),
    ];
    let Some(Change::Voters(voters)) = plan(&members, &roll([1, 2, 3, 4, 5], [6, 7]), &patience()) else {
        panic!("there is a spare");
    };
    assert_eq!(voters, ids([1, 2, 3, 5, 6]));
}

#[test]
fn a_leader_that_leaves_hands_over_to_a_voter_that_answers() {
    let leaving = standing(Standing::Leaving, member(1, "a"));
    let silent = MemberHealth {
        reachable_for: None,
        unreachable_for: Some(Duration::from_secs(5)),
        ..member(2, "b")
    };
    let members = [leaving, silent, member(3, "c"), member(4, "d")];
    assert_eq!(
        plan(&members, &roll([1, 2, 3], [4]), &patience()),
        Some(Change::HandOver(node(3)))
    );
}

#[test]
fn a_voter_that_leaves_keeps_its_vote_while_its_successor_catches_up() {
    let successor = MemberHealth {
        caught_up: false,
        ..member(4, "d")
    };
    let members = [
        member(1, "a"),
        member(2, "b"),
        standing(Standing::Leaving, member(3, "c")),
        successor,
    ];
    assert_eq!(plan(&members, &roll([1, 2, 3], [4]), &patience()), None);
}

#[test]
fn the_last_member_that_can_vote_goes_on_even_if_it_should_leave() {
    let members = [standing(Standing::Leaving, member(1, "a"))];
    assert_eq!(plan(&members, &roll([1], []), &patience()), None);
}

#[test]
fn a_removed_learner_is_dismissed_and_a_removed_voter_loses_its_vote_first() {
    let gone = standing(Standing::Gone, dead(4, "d"));
    let members = [member(1, "a"), member(2, "b"), member(3, "c"), gone.clone()];
    assert_eq!(
        plan(&members, &roll([1, 2, 3], [4]), &patience()),
        Some(Change::Dismiss(node(4)))
    );
    let members = [member(1, "a"), member(2, "b"), member(3, "c"), gone];
    assert_eq!(
        plan(&members, &roll([1, 2, 4], [3]), &patience()),
        votes([1, 2, 3])
    );
}

fn any_member(number: u8) -> impl Strategy<Value = MemberHealth> {
    let standing = prop_oneof![
        6 => Just(Standing::Preferred),
        3 => Just(Standing::Allowed),
        1 => Just(Standing::Leaving),
        1 => Just(Standing::Gone),
    ];
    (standing, 0..4_u8, any::<bool>(), prop::bool::weighted(0.8)).prop_map(
        move |(standing, zone, caught_up, is_well)| {
            let well = if is_well {
                member(number, &zone.to_string())
            } else {
                dead(number, &zone.to_string())
            };
            MemberHealth {
                standing,
                caught_up: well.caught_up && caught_up,
                ..well
            }
        },
    )
}

fn any_cluster() -> impl Strategy<Value = (Vec<MemberHealth>, BTreeSet<NodeId>)> {
    (1..=9_u8).prop_flat_map(|count| {
        let members: Vec<_> = (1..=count).map(any_member).collect();
        let voters = prop::collection::btree_set(1..=count, 0..=5_usize.min(usize::from(count)));
        (members, voters).prop_map(|(mut members, mut voters)| {
            // Whoever leads is there, and knows its own log.
            voters.insert(1);
            let leader = &mut members[0];
            (leader.reachable_for, leader.unreachable_for) = (Some(LONG), None);
            leader.caught_up = true;
            (members, voters.into_iter().map(node).collect())
        })
    })
}

proptest! {
    #[test]
    fn plans_come_to_an_end_and_keep_their_promises((members, voters) in any_cluster()) {
        let by_id: BTreeMap<_, _> = members.iter().map(|member| (member.node, member)).collect();
        let mut roll = Roll {
            leader: node(1),
            learners: BTreeSet::new(),
            voters,
            unchanged_for: LONG,
        };
        for step in 0.. {
            let Some(change) = plan(&members, &roll, &patience()) else { break };
            prop_assert!(step < 40, "it goes round in circles: {change:?} of {roll:?}");
            match change {
                Change::Admit(node) => {
                    prop_assert!(roll.learners.insert(node));
                    prop_assert!(by_id[&node].standing != Standing::Gone);
                }
                Change::Dismiss(node) => {
                    prop_assert!(roll.learners.remove(&node));
                    prop_assert!(by_id[&node].standing == Standing::Gone);
                }
                Change::HandOver(heir) => {
                    prop_assert!(roll.voters.contains(&heir) && heir != roll.leader);
                    prop_assert!(by_id[&heir].unreachable_for.is_none());
                    prop_assert!(by_id[&roll.leader].standing >= Standing::Leaving);
                    roll.leader = heir;
                }
                Change::Voters(wanted) => {
                    prop_assert!(wanted.len() % 2 == 1 && wanted.len() <= 5, "{wanted:?}");
                    for new in wanted.difference(&roll.voters) {
                        let new = by_id[new];
                        prop_assert!(roll.learners.contains(&new.node));
                        prop_assert!(new.caught_up && new.standing < Standing::Leaving);
                        prop_assert!(new.unreachable_for.is_none());
                    }
                    let leader_leaves = by_id[&roll.leader].standing >= Standing::Leaving;
                    prop_assert!(wanted.contains(&roll.leader) || leader_leaves);
                    roll.learners.extend(roll.voters.difference(&wanted).copied());
                    roll.learners.retain(|learner| !wanted.contains(learner));
                    roll.voters = wanted;
                    if !roll.voters.contains(&roll.leader) {
                        roll.leader = *roll.voters.first().expect("there is one");
                    }
                }
            }
        }
    }
}
