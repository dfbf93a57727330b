//! What follows from what was answered.

use super::super::recipe::Contents;
use super::*;

const NOW: Duration = Duration::from_secs(1);

fn one_path() -> (Paths, PathKey) {
    let mut paths = Paths::default();
    let recipe = Recipe {
        seed: 1,
        serial: paths.next_serial(),
        contents: Contents::Own { len: 100 },
        references: Vec::new(),
    };
    let nar_hash = recipe.make().nar_hash();
    let key = paths.introduce(&"main".parse().unwrap(), recipe, nar_hash);
    (paths, key)
}

fn expected(paths: &Paths, key: &PathKey) -> Expected {
    paths.expectation(key, 0).unwrap().expected
}

fn push(paths: &mut Paths, key: &PathKey, index: u64, new: u64) {
    let push = paths.push_begins(std::slice::from_ref(key));
    paths.pushed(push, 0, NOW, index, new).unwrap();
}

fn delete(paths: &mut Paths, key: &PathKey, index: u64) {
    let deletion = paths.deletion_begins(key).unwrap();
    paths.deleted(deletion, index).unwrap();
}

fn decided(paths: &mut Paths, key: &PathKey, state: OutboxState) -> Result<(), String> {
    let hash = paths.recipe(key).unwrap().0.store_path().hash;
    paths.outbox_says(2, &key.cache, &hash, UtcTime::from_unix_ms(5), &state, |_| false)
}

#[test]
fn an_acknowledged_path_is_there_until_somebody_begins_to_delete_it() {
    let (mut paths, key) = one_path();
    assert_eq!(expected(&paths, &key), Expected::Either);
    push(&mut paths, &key, 10, 1);
    assert_eq!(expected(&paths, &key), Expected::Present { from: 10 });
    let deletion = paths.deletion_begins(&key).unwrap();
    assert_eq!(expected(&paths, &key), Expected::Either);
    paths.deleted(deletion, 12).unwrap();
    assert_eq!(expected(&paths, &key), Expected::Gone { from: 12 });
}

#[test]
fn of_a_push_and_a_deletion_at_once_the_later_one_in_the_log_counts() {
    let (mut paths, key) = one_path();
    push(&mut paths, &key, 10, 1);
    let deletion = paths.deletion_begins(&key).unwrap();
    let again = paths.push_begins(std::slice::from_ref(&key));
    paths.deleted(deletion, 11).unwrap();
    assert_eq!(expected(&paths, &key), Expected::Either);
    paths.pushed(again, 0, NOW, 12, 1).unwrap();
    assert_eq!(expected(&paths, &key), Expected::Present { from: 12 });
}

#[test]
fn a_push_that_nobody_heard_of_again_is_unknown_and_not_absent() {
    let (mut paths, key) = one_path();
    let lost = paths.push_begins(std::slice::from_ref(&key));
    paths.push_in_doubt(lost);
    assert_eq!(expected(&paths, &key), Expected::Either);
    push(&mut paths, &key, 9, 0);
    delete(&mut paths, &key, 10);
    assert_eq!(
        expected(&paths, &key),
        Expected::Either,
        "it may be applied a second time yet"
    );
}

#[test]
fn what_changes_during_a_request_excuses_its_answer() {
    let (mut paths, key) = one_path();
    push(&mut paths, &key, 10, 1);
    let before = paths.expectation(&key, 0).unwrap();
    assert!(paths.still_holds(&before));
    delete(&mut paths, &key, 11);
    push(&mut paths, &key, 12, 1);
    assert!(!paths.still_holds(&before));
}

#[test]
fn what_a_station_took_is_served_there_until_it_says_what_became_of_it() {
    let (mut paths, key) = one_path();
    let push = paths.push_begins(std::slice::from_ref(&key));
    paths.taken(push, 2, None);
    assert!(paths.expectation(&key, 2).unwrap().provisional);
    assert!(!paths.expectation(&key, 1).unwrap().provisional);
    decided(&mut paths, &key, OutboxState::Waiting).unwrap();
    decided(&mut paths, &key, OutboxState::Applied { index: 20 }).unwrap();
    assert_eq!(expected(&paths, &key), Expected::Present { from: 20 });
    assert!(paths.waiting().is_empty());
}

#[test]
fn what_was_delivered_twice_is_noticed() {
    let (mut paths, key) = one_path();
    push(&mut paths, &key, 10, 1);
    let again = paths.push_begins(std::slice::from_ref(&key));
    paths.taken(again, 2, None);
    let error = decided(&mut paths, &key, OutboxState::Applied { index: 20 }).unwrap_err();
    assert!(error.contains("has no explanation"), "{error}");
}

#[test]
fn a_refusal_without_a_reason_is_noticed() {
    let (mut paths, key) = one_path();
    let push = paths.push_begins(std::slice::from_ref(&key));
    paths.taken(push, 2, None);
    let reason = "no".to_owned();
    assert!(decided(&mut paths, &key, OutboxState::Refused { reason }).is_err());
}

#[test]
fn what_was_pushed_with_a_token_that_was_revoked_may_be_refused() {
    let (mut paths, key) = one_path();
    let push = paths.push_begins(std::slice::from_ref(&key));
    paths.taken(push, 2, Some(3));
    let reason = "the token was revoked".to_owned();
    decided(&mut paths, &key, OutboxState::Refused { reason }).unwrap();
    assert!(paths.waiting().is_empty());
}

#[test]
fn what_a_station_took_is_lost_with_it_and_nobody_waits_for_it() {
    let (mut paths, key) = one_path();
    let push = paths.push_begins(std::slice::from_ref(&key));
    paths.taken(push, 2, None);
    paths.station_left(2);
    let late = paths.push_begins(std::slice::from_ref(&key));
    paths.taken(late, 2, None);
    assert!(paths.waiting().is_empty());
    assert_eq!(expected(&paths, &key), Expected::Either);
}

#[test]
fn a_read_of_an_acknowledged_path_that_does_not_find_it_is_noticed() {
    let (mut paths, key) = one_path();
    push(&mut paths, &key, 10, 1);
    let read = paths.read_begins(&key).unwrap();
    assert!(paths.read(read, false).is_err());
}
