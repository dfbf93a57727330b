//! Invitations: each admits one node, once, until it expires.

use std::time::Duration;

use tetryx_state::command::{CreateInvite, RedeemInvite, RevokeInvite, Role};
use tetryx_state::limits::INVITE_KEPT;
use tetryx_state::records::{InviteUse, MemberRecord, MemberState};
use tetryx_state::{Outcome, Refusal, query};

use crate::fixture::{
    START_MS, World, create_cache, create_invite, invite, node, redeem, remove, update_member, upsert_member,
};

/// A cluster of node 1, `north`, with invitation 2.
fn world() -> World {
    let mut world = World::initialised();
    world.done(upsert_member(1, "north"));
    world.done(create_invite(2));
    world
}

fn member(world: &World, number: u8) -> Option<MemberRecord> {
    query::member(&world.tables, &node(number)).unwrap()
}

fn revoke(number: u8) -> RevokeInvite {
    RevokeInvite {
        secret_hash: invite(number),
    }
}

#[test]
fn a_node_with_an_invitation_becomes_a_member() {
    let mut world = world();
    assert_eq!(world.done(redeem(2, "south")), Outcome::Joined);
    let expected = redeem(2, "south");
    let expected = MemberRecord {
        name: expected.name,
        zone: expected.zone,
        addresses: expected.addresses,
        gossip: expected.gossip,
        http_url: expected.http_url,
        role: Role::Voter,
        weight: 200,
        state: MemberState::Active,
        added: world.now,
        feature_level: 2,
    };
    assert_eq!(member(&world, 2), Some(expected));
    let record = query::invite(&world.tables, &invite(2))
        .unwrap()
        .expect("it is kept");
    let at = world.now;
    assert_eq!(record.used, Some(InviteUse { by: node(2), at }));
}

#[test]
fn the_invitation_decides_zone_and_vote() {
    let mut world = world();
    world.done(CreateInvite {
        zone: Some("svalbard".to_owned()),
        voter: false,
        ..create_invite(3)
    });
    world.done(redeem(3, "east"));
    let member = member(&world, 3).expect("it joined");
    assert_eq!((member.zone.as_str(), member.role), ("svalbard", Role::Learner));
}

#[test]
fn who_joined_and_did_not_hear_it_may_ask_again() {
    let mut world = world();
    world.done(redeem(2, "south"));
    let added = world.now;
    world.now = world.now.plus(Duration::from_secs(7_200));
    assert_eq!(
        world.done(redeem(2, "south")),
        Outcome::Unchanged,
        "even after it expired"
    );
    let moved = RedeemInvite {
        addresses: vec!["[2001:db8::9]:4480".to_owned()],
        ..redeem(2, "south")
    };
    assert_eq!(world.done(moved.clone()), Outcome::Joined);
    let member = member(&world, 2).expect("it joined");
    assert_eq!((member.addresses, member.added), (moved.addresses, added));
}

#[test]
fn an_unknown_invitation_is_refused() {
    let refusal = world().refused(redeem(3, "east"));
    assert_eq!(refusal, Refusal::NoSuchInvite { invite: invite(3) });
    assert_eq!(
        refusal.to_string(),
        "there is no invitation 0303030303; ask for a new ticket with 'tetryx-cli node invite'"
    );
}

#[test]
fn a_ticket_used_twice_is_refused() {
    let mut world = world();
    world.done(redeem(2, "south"));
    let thief = RedeemInvite {
        node: node(3),
        ..redeem(2, "east")
    };
    let refusal = world.refused(thief);
    assert_eq!(refusal, Refusal::InviteUsed { by: node(2) });
    let text = format!(
        "the ticket was used by node {}; each admits one node: make a new one with 'tetryx-cli node invite'",
        node(2)
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn an_expired_ticket_is_refused_by_the_log_clock() {
    let mut world = world();
    let expires = create_invite(2).expires;
    world.now = expires;
    world.done(create_cache("moves-the-clock"));
    world.now = world.now.minus(Duration::from_secs(3_600));
    let refusal = world.refused(redeem(2, "south"));
    assert_eq!(refusal, Refusal::InviteExpired { expires });
    assert_eq!(
        refusal.to_string(),
        "the ticket expired at 2026-03-02T13:00:00.000Z; make a new one with 'tetryx-cli node invite'"
    );
}

#[test]
fn a_member_cannot_join_again_with_another_invitation() {
    let mut world = world();
    let again = RedeemInvite {
        node: node(1),
        ..redeem(2, "north")
    };
    let refusal = world.refused(again);
    assert_eq!(refusal, Refusal::AlreadyMember { node: node(1) });
    let text = format!(
        "node {} is a member already; start it with 'tetryx-node run'",
        node(1)
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_removed_node_cannot_join_again_with_whatever_invitation() {
    let mut world = world();
    world.done(redeem(2, "south"));
    let at = world.now;
    world.done(remove(2));
    let removed = Refusal::MemberRemoved { node: node(2), at };
    assert_eq!(world.refused(redeem(2, "south")), removed);
    world.done(create_invite(3));
    let again = RedeemInvite {
        node: node(2),
        ..redeem(3, "south")
    };
    let refusal = world.refused(again);
    assert_eq!(refusal, removed);
    let text = format!(
        "node {} was removed at 2026-03-02T12:00:00.000Z, and its key is refused for ever; \
         join with an empty data directory",
        node(2)
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_name_that_is_taken_is_refused_and_the_invitation_stays() {
    let mut world = world();
    let taken = Refusal::MemberNameTaken {
        name: "north".to_owned(),
        node: node(1),
    };
    assert_eq!(world.refused(redeem(2, "north")), taken);
    world.done(redeem(2, "south"));
    assert_eq!(
        world.refused(redeem(2, "north")),
        taken,
        "nor when it joins once more"
    );
}

#[test]
fn a_node_without_a_name_is_refused() {
    assert_eq!(
        world().refused(redeem(2, "")),
        Refusal::MemberWithoutName { node: node(2) }
    );
    assert_eq!(
        world().refused(update_member(1, "")),
        Refusal::MemberWithoutName { node: node(1) }
    );
}

#[test]
fn used_comes_before_expired_and_expired_before_the_node() {
    let mut world = world();
    let thief = |name: &str| RedeemInvite {
        node: node(1),
        ..redeem(2, name)
    };
    world.now = create_invite(2).expires;
    assert!(matches!(
        world.refused(thief("north")),
        Refusal::InviteExpired { .. }
    ));
    world = self::world();
    world.done(redeem(2, "south"));
    world.now = create_invite(2).expires;
    assert!(matches!(
        world.refused(thief("south")),
        Refusal::InviteUsed { .. }
    ));
    world = self::world();
    world.done(CreateInvite { ..create_invite(3) });
    world.done(redeem(3, "east"));
    assert!(
        matches!(world.refused(thief("east")), Refusal::AlreadyMember { .. }),
        "the node comes before its name"
    );
}

#[test]
fn an_invitation_that_is_over_before_it_begins_is_refused() {
    let mut world = world();
    let expires = world.now;
    let refusal = world.refused(CreateInvite {
        expires,
        ..create_invite(3)
    });
    assert_eq!(refusal, Refusal::InviteNeverValid { expires });
    assert_eq!(
        refusal.to_string(),
        "the invitation would expire at 2026-03-02T12:00:00.000Z, which is past; choose a longer validity"
    );
}

#[test]
fn an_invitation_made_again_changes_nothing_but_with_other_terms_it_is_refused() {
    let mut world = world();
    assert_eq!(world.done(create_invite(2)), Outcome::Unchanged);
    let refusal = world.refused(CreateInvite {
        voter: false,
        ..create_invite(2)
    });
    assert_eq!(refusal, Refusal::InviteExists { invite: invite(2) });
    assert_eq!(
        refusal.to_string(),
        "invitation 0202020202 exists already with other terms; draw another secret"
    );
}

#[test]
fn a_revoked_invitation_admits_nobody() {
    let mut world = world();
    assert_eq!(world.done(revoke(2)), Outcome::InviteRevoked);
    let unknown = Refusal::NoSuchInvite { invite: invite(2) };
    assert_eq!(world.refused(redeem(2, "south")), unknown);
    assert_eq!(world.refused(revoke(2)), unknown);
}

#[test]
fn a_used_invitation_cannot_be_revoked() {
    let mut world = world();
    world.done(redeem(2, "south"));
    assert_eq!(world.refused(revoke(2)), Refusal::InviteUsed { by: node(2) });
}

#[test]
fn an_invitation_is_forgotten_long_after_it_expired() {
    let mut world = world();
    world.now = create_invite(2).expires.plus(INVITE_KEPT);
    let expires = world.now.plus(Duration::from_secs(1_000));
    world.done(CreateInvite {
        expires,
        ..create_invite(3)
    });
    assert!(query::invite(&world.tables, &invite(2)).unwrap().is_some());
    world.now = world.now.plus(Duration::from_millis(1));
    world.done(CreateInvite {
        expires,
        ..create_invite(4)
    });
    let known = query::invites(&world.tables).unwrap();
    let known: Vec<_> = known.into_iter().map(|(invite, _)| invite).collect();
    assert_eq!(known, [invite(3), invite(4)]);
    assert!(world.now.unix_ms() > START_MS);
}
