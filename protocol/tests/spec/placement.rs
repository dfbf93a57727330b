//! Where NARs are placed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::placement::{Copies, PlaceCandidate, place};

use crate::fixtures::assert_golden_text;

const GOLDEN: &str = include_str!("../golden/placement_v1.txt");

fn member(number: u8, zone: &str, weight: u32) -> PlaceCandidate {
    PlaceCandidate {
        node: NodeId::from_bytes([number; 32]),
        zone: zone.to_owned(),
        weight,
    }
}

/// Members 1 to `count`, in as many zones.
fn members(count: u8) -> Vec<PlaceCandidate> {
    (1..=count)
        .map(|number| member(number, &format!("z{number}"), 100))
        .collect()
}

fn nar(number: u32) -> NarHash {
    NarHash::of(&number.to_le_bytes())
}

/// How often each node is among the holders of `nars` NARs.
fn shares(members: &[PlaceCandidate], copies: Copies, nars: u32) -> BTreeMap<NodeId, u32> {
    let mut shares = BTreeMap::new();
    for number in 0..nars {
        for node in place(&nar(number), members, copies) {
            *shares.entry(node).or_insert(0) += 1;
        }
    }
    shares
}

#[test]
fn placement_is_the_same_for_ever() {
    let members = [
        member(1, "north", 100),
        member(2, "north", 200),
        member(3, "south", 100),
        member(4, "south", 50),
        member(5, "east", 1),
    ];
    let mut text = String::new();
    for number in 0..16 {
        let holders = place(&nar(number), &members, Copies::Exactly(3));
        let holders: Vec<_> = holders
            .iter()
            .map(|node| node.as_bytes()[0].to_string())
            .collect();
        writeln!(text, "{} {}", nar(number), holders.join(" ")).unwrap();
    }
    assert_golden_text("placement_v1.txt", GOLDEN, &text);
}

#[test]
fn as_many_copies_as_asked_for_or_as_there_are_members() {
    let members = members(5);
    assert_eq!(place(&nar(0), &members, Copies::Exactly(0)), []);
    assert_eq!(place(&nar(0), &members, Copies::Exactly(3)).len(), 3);
    assert_eq!(place(&nar(0), &members, Copies::Exactly(9)).len(), 5);
    assert_eq!(place(&nar(0), &members, Copies::All).len(), 5);
    assert_eq!(place(&nar(0), &[], Copies::All), []);
}

#[test]
fn a_member_without_weight_holds_nothing() {
    let members = [member(1, "north", 0), member(2, "north", 1)];
    assert_eq!(place(&nar(0), &members, Copies::All), [members[1].node]);
}

#[test]
fn zones_are_covered_before_any_gets_a_second_copy() {
    // The lone member of the east is by far the lightest, and yet always chosen.
    let members = [
        member(1, "north", 1_000),
        member(2, "north", 1_000),
        member(3, "south", 1_000),
        member(4, "south", 1_000),
        member(5, "east", 1),
    ];
    for number in 0..500 {
        let zones: BTreeSet<_> = place(&nar(number), &members, Copies::Exactly(3))
            .iter()
            .map(|node| &members.iter().find(|member| member.node == *node).unwrap().zone)
            .collect();
        assert_eq!(zones.len(), 3);
    }
}

#[test]
fn equal_members_get_equal_shares() {
    let shares = shares(&members(7), Copies::Exactly(3), 14_000);
    for (node, share) in shares {
        // 3/7 of 14,000, whose deviation is about 58.
        assert!(share.abs_diff(6_000) < 300, "{node} holds {share}");
    }
}

#[test]
fn the_first_copy_goes_to_each_in_proportion_to_its_weight() {
    let members = [
        member(1, "a", 100),
        member(2, "b", 200),
        member(3, "c", 300),
        member(4, "d", 400),
    ];
    let shares = shares(&members, Copies::Exactly(1), 20_000);
    for (number, expected) in [(0, 2_000), (1, 4_000), (2, 6_000), (3, 8_000)] {
        let share = shares[&members[number].node];
        assert!(
            share.abs_diff(expected) < 350,
            "{number} holds {share}, not {expected}"
        );
    }
}

#[test]
fn a_member_that_comes_takes_its_share_and_moves_nothing_else() {
    let (before, after) = (members(9), members(10));
    let newcomer = after[9].node;
    let mut taken = 0;
    for number in 0..5_000 {
        let old = place(&nar(number), &before, Copies::Exactly(3));
        let new = place(&nar(number), &after, Copies::Exactly(3));
        if new.contains(&newcomer) {
            taken += 1;
            let kept: Vec<_> = new.into_iter().filter(|node| *node != newcomer).collect();
            assert_eq!(kept, old[..2], "it takes the place of the last");
        } else {
            assert_eq!(new, old);
        }
    }
    // 3/10 of 5,000, whose deviation is about 32.
    assert!(1_500_u32.abs_diff(taken) < 160, "{taken}");
}

#[test]
fn two_million_draws_apart_weights_still_count() {
    let members = [member(1, "a", 1), member(2, "b", 1_000_000)];
    let shares = shares(&members, Copies::Exactly(1), 5_000);
    assert!(shares.get(&members[0].node).copied().unwrap_or(0) <= 2);
}

fn any_members() -> impl Strategy<Value = Vec<PlaceCandidate>> {
    prop::collection::btree_map(any::<u8>(), (0..4_u8, 0..500_u32), 1..12).prop_map(|members| {
        members
            .into_iter()
            .map(|(number, (zone, weight))| member(number, &format!("z{zone}"), weight))
            .collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_the_members_does_not_matter(
        (members, shuffled) in any_members().prop_flat_map(|members| {
            (Just(members.clone()), Just(members).prop_shuffle())
        }),
        number in any::<u32>(),
        copies in 0..6_u8,
    ) {
        let copies = Copies::Exactly(copies);
        prop_assert_eq!(place(&nar(number), &members, copies), place(&nar(number), &shuffled, copies));
    }

    #[test]
    fn a_member_that_goes_moves_only_what_it_held(
        members in any_members(),
        number in any::<u32>(),
        gone in any::<prop::sample::Index>(),
        copies in 1..5_u8,
    ) {
        let copies = Copies::Exactly(copies);
        let before = place(&nar(number), &members, copies);
        let gone = members[gone.index(members.len())].node;
        let rest: Vec<_> = members.into_iter().filter(|member| member.node != gone).collect();
        let after = place(&nar(number), &rest, copies);
        if before.contains(&gone) {
            let new = after.iter().filter(|node| !before.contains(node)).count();
            prop_assert!(new <= 1, "{} new holders for one that went", new);
        } else {
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn holders_are_different_members_and_spread_over_zones(
        members in any_members(),
        number in any::<u32>(),
        copies in 0..12_u8,
    ) {
        let weighted: Vec<_> = members.iter().filter(|member| member.weight > 0).collect();
        let zones: BTreeSet<_> = weighted.iter().map(|member| &member.zone).collect();
        let holders = place(&nar(number), &members, Copies::Exactly(copies));
        prop_assert_eq!(holders.len(), usize::from(copies).min(weighted.len()));
        prop_assert_eq!(holders.iter().collect::<BTreeSet<_>>().len(), holders.len());
        let zone = |node: &NodeId| &weighted.iter().find(|member| member.node == *node).unwrap().zone;
        let covered: BTreeSet<_> = holders.iter().map(zone).collect();
        prop_assert_eq!(covered.len(), holders.len().min(zones.len()));
    }
}
