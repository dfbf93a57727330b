//! The token registry.

use std::time::Duration;

use tetryx_state::command::RevokeToken;
use tetryx_state::limits::TOKEN_KEPT;
use tetryx_state::{Outcome, query};

use crate::fixture::{World, register_token, token};

#[test]
fn a_registered_token_is_listed_until_long_after_it_expired() {
    let mut world = World::initialised();
    assert_eq!(world.done(register_token(1)), Outcome::TokenRegistered);
    let record = query::token(&world.tables, &token(1))
        .unwrap()
        .expect("it was registered");
    assert_eq!((record.subject.as_str(), record.revoked), ("ci", None));
    assert_eq!(query::tokens(&world.tables).unwrap(), [(token(1), record)]);
}

#[test]
fn registering_a_token_again_changes_nothing_not_even_its_revocation() {
    let mut world = World::initialised();
    world.done(register_token(1));
    world.done(RevokeToken { token: token(1) });
    assert_eq!(world.done(register_token(1)), Outcome::Unchanged);
    assert!(
        query::token(&world.tables, &token(1))
            .unwrap()
            .expect("registered")
            .revoked
            .is_some()
    );
}

#[test]
fn a_token_is_revoked_once() {
    let mut world = World::initialised();
    world.done(register_token(1));
    let revoked = world.now;
    assert_eq!(world.done(RevokeToken { token: token(1) }), Outcome::TokenRevoked);
    world.now = world.now.plus(Duration::from_secs(1));
    assert_eq!(world.done(RevokeToken { token: token(1) }), Outcome::Unchanged);
    assert_eq!(
        query::token(&world.tables, &token(1))
            .unwrap()
            .expect("registered")
            .revoked,
        Some(revoked)
    );
}

#[test]
fn tokens_that_expired_long_ago_are_forgotten_as_new_ones_come() {
    let mut world = World::initialised();
    world.done(register_token(5));
    world.done(RevokeToken { token: token(5) });
    world.now = register_token(5).expires.plus(TOKEN_KEPT);
    world.done(register_token(1));
    assert!(
        query::token(&world.tables, &token(5)).unwrap().is_some(),
        "not yet"
    );
    world.now = world.now.plus(Duration::from_millis(1));
    world.done(register_token(2));
    assert_eq!(query::token(&world.tables, &token(5)).unwrap(), None);
}
