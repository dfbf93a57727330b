//! Every invariant, broken on purpose: a check that never finds anything proves nothing.

use std::time::Duration;

use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::UtcTime;
use tetryx_state::records::{
    CacheRecord, CheckRecord, ClientRecord, ClockRecord, InviteRecord, InviteUse, MemberRecord, MemberState,
    NarRecord, PathPin, PathRecord, Record, TokenRecord,
};
use tetryx_state::snapshot::dump;
use tetryx_state::{MemoryTables, ReadTables, Table, Tables, Violation, check};

use crate::fixture::{
    START_MS, World, create_cache, hash, invite, new_path, node, register_token, signature, store_path,
    store_paths, upsert_member,
};

fn world() -> World {
    let mut world = World::with_cache();
    world.done(upsert_member(1, "north"));
    world.done(upsert_member(2, "south"));
    world.done(register_token(1));
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world
}

/// The key of the only row of a table whose key satisfies a condition.
fn key(tables: &MemoryTables, table: Table, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let rows = dump(tables).map(|row| row.expect("memory never fails"));
    let mut keys = rows
        .filter(|(of, key, _)| *of == table && is_it(key))
        .map(|(_, key, _)| key);
    let key = keys.next().expect("there is such a row");
    assert_eq!(keys.next(), None, "there is only one such row");
    key
}

fn path_key(tables: &MemoryTables, name: &str) -> Vec<u8> {
    let mut end = *hash(name).as_bytes();
    end.reverse();
    key(tables, Table::Paths, |key| key.ends_with(&end))
}

fn change<R: Record>(tables: &mut MemoryTables, key: &[u8], change: impl FnOnce(&mut R)) {
    let value = tables.get(R::TABLE, key).unwrap().expect("the row exists");
    let mut record = R::decode(key, &value).unwrap();
    change(&mut record);
    tables.put(R::TABLE, key, &record.encode()).unwrap();
}

/// Breaks a sound state and says what the check finds.
fn broken(break_it: impl FnOnce(&mut MemoryTables)) -> Vec<String> {
    let mut world = world();
    assert_eq!(check(&world.tables), []);
    break_it(&mut world.tables);
    check(&world.tables).iter().map(violation).collect()
}

/// The name of a violation.
fn violation(violation: &Violation) -> String {
    let debug = format!("{violation:?}");
    assert!(!violation.to_string().is_empty());
    debug.split([' ', '(']).next().expect("a name").to_owned()
}

#[test]
fn a_row_that_does_not_decode_is_found() {
    let found = broken(|tables| {
        for (table, value) in [
            (Table::Members, &b""[..]),
            (Table::Tokens, b"\xff"),
            (Table::Nars, b"\x01\x05"),
        ] {
            tables
                .put(
                    table,
                    &[9; 32][..if table == Table::Tokens { 16 } else { 32 }],
                    value,
                )
                .unwrap();
        }
    });
    assert_eq!(found, ["Corrupt", "Corrupt", "Corrupt"]);
}

#[test]
fn a_row_with_bytes_after_its_record_is_found() {
    let found = broken(|tables| {
        let key = key(tables, Table::Caches, |key| key == b"main");
        let value = tables
            .get(Table::Caches, &key)
            .unwrap()
            .expect("the cache exists");
        tables
            .put(Table::Caches, &key, &[&value[..], b"x"].concat())
            .unwrap();
    });
    assert!(found.contains(&"Corrupt".to_owned()), "{found:?}");
}

#[test]
fn a_row_under_a_key_of_another_kind_is_found() {
    let found = broken(|tables| {
        tables.put(Table::Cluster, b"other", b"\x01").unwrap();
        tables.put(Table::Audit, b"short", b"\x01").unwrap();
        tables.put(Table::Referrers, b"main\x00short", b"").unwrap();
        tables.put(Table::Holders, b"no end of name", b"").unwrap();
        tables.put(Table::Proposals, b"\x07short", b"\x01").unwrap();
    });
    assert_eq!(found, ["Corrupt"; 5]);
}

#[test]
fn rows_before_the_cluster_exists_are_found() {
    let found = broken(|tables| tables.delete(Table::Cluster, b"cluster").unwrap());
    assert_eq!(found, ["BeforeInit"; 8]);
}

#[test]
fn a_pin_that_ends_before_it_was_made_is_found() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change::<PathRecord>(tables, &key, |path| {
            let at = UtcTime::from_unix_ms(START_MS);
            path.pinned = Some(PathPin {
                by: "alice".to_owned(),
                at,
                until: Some(at),
            });
        });
    });
    assert_eq!(found, ["PinNeverValid"]);
}

#[test]
fn a_day_of_use_before_publication_or_after_now_is_found() {
    let found = broken(|tables| {
        let (glibc, hello) = (path_key(tables, "glibc"), path_key(tables, "hello"));
        change::<PathRecord>(tables, &glibc, |path| path.last_access_day -= 1);
        change::<PathRecord>(tables, &hello, |path| path.last_access_day += 1);
    });
    assert_eq!(found, ["BadAccessDay"; 2]);
}

#[test]
fn every_record_ahead_of_the_clock_is_found() {
    let found = broken(|tables| {
        let earlier = UtcTime::from_unix_ms(START_MS).minus(Duration::from_secs(1));
        tables
            .put(Table::Cluster, b"clock", &ClockRecord { now: earlier }.encode())
            .unwrap();
    });
    assert!(
        found.iter().all(|violation| violation == "AheadOfClock"),
        "{found:?}"
    );
    assert_eq!(
        found.len(),
        1 + 2 + 1 + 2 + 1 + 6,
        "cluster, members, cache, paths, client, audit"
    );
}

#[test]
fn members_with_one_name_are_found() {
    let found = broken(|tables| {
        change(tables, node(2).as_bytes(), |member: &mut MemberRecord| {
            member.name = "north".to_owned()
        });
    });
    assert_eq!(found, ["SharedName"]);
}

#[test]
fn a_removed_member_may_share_its_name() {
    let found = broken(|tables| {
        change(tables, node(2).as_bytes(), |member: &mut MemberRecord| {
            member.name = "north".to_owned();
            let at = UtcTime::from_unix_ms(START_MS);
            member.state = MemberState::Removed { at };
        });
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_cluster_without_an_active_member_is_found() {
    let found = broken(|tables| {
        let at = UtcTime::from_unix_ms(START_MS);
        for (number, state) in [
            (1, MemberState::Draining { since: at }),
            (2, MemberState::Removed { at }),
        ] {
            change(tables, node(number).as_bytes(), |member: &mut MemberRecord| {
                member.state = state
            });
        }
    });
    assert_eq!(found, ["NobodyActive"]);
}

/// Adds an invitation to a sound state and says what the check finds.
fn with_invite(number: u8, change: impl Fn(&mut InviteRecord)) -> Vec<String> {
    let at = UtcTime::from_unix_ms(START_MS);
    let mut record = InviteRecord {
        zone: None,
        voter: true,
        created: at,
        created_by: "alice".to_owned(),
        expires: at.plus(Duration::from_secs(60)),
        used: Some(InviteUse { by: node(1), at }),
    };
    change(&mut record);
    broken(|tables| {
        tables
            .put(Table::Invites, invite(number).as_bytes(), &record.encode())
            .unwrap()
    })
}

#[test]
fn bad_invitations_are_found() {
    assert_eq!(with_invite(1, |_| {}), [""; 0]);
    assert_eq!(
        with_invite(1, |invite| {
            invite.used = None;
            invite.expires = invite.created;
        }),
        ["BadInvite"]
    );
    let late = |invite: &mut InviteRecord| {
        let used = invite.used.as_mut().expect("it was used");
        invite.created = invite.created.minus(Duration::from_secs(60));
        invite.expires = used.at;
    };
    assert_eq!(with_invite(1, late), ["BadInvite"]);
    let stranger = |invite: &mut InviteRecord| invite.used.as_mut().expect("it was used").by = node(9);
    assert_eq!(with_invite(1, stranger), ["BadInvite"]);
}

#[test]
fn a_node_that_joined_twice_is_found() {
    let found = broken(|tables| {
        let at = UtcTime::from_unix_ms(START_MS);
        let record = InviteRecord {
            zone: None,
            voter: true,
            created: at,
            created_by: "alice".to_owned(),
            expires: at.plus(Duration::from_secs(60)),
            used: Some(InviteUse { by: node(1), at }),
        };
        for number in [1, 2] {
            tables
                .put(Table::Invites, invite(number).as_bytes(), &record.encode())
                .unwrap();
        }
    });
    assert_eq!(found, ["JoinedTwice"]);
}

#[test]
fn what_replicas_said_out_of_order_or_without_bound_is_found() {
    let put = |tables: &mut MemoryTables, index: u64, hashes: Vec<(NodeId, [u8; 32])>| {
        let record = CheckRecord { hashes };
        tables
            .put(Table::Checks, &index.to_be_bytes(), &record.encode())
            .unwrap();
    };
    let found = broken(|tables| {
        put(tables, 1, Vec::new());
        put(tables, 2, vec![(node(2), [0; 32]), (node(1), [0; 32])]);
    });
    assert_eq!(found, ["BadCheck"; 2]);
    let found = broken(|tables| (1..=6).for_each(|index| put(tables, index, vec![(node(1), [0; 32])])));
    assert_eq!(found, ["BadCheck"; 2]);
}

#[test]
fn paths_of_no_cache_are_found() {
    let found = broken(|tables| tables.delete(Table::Caches, b"main").unwrap());
    assert_eq!(found, ["PathOutsideCache"; 2]);
}

#[test]
fn a_path_under_the_key_of_another_is_found() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change(tables, &key, |path: &mut PathRecord| {
            path.store_path = store_path("bye")
        });
    });
    assert_eq!(found, ["PathUnderOtherKey"]);
}

#[test]
fn lists_out_of_order_are_found() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change(tables, &key, |path: &mut PathRecord| {
            path.references = vec![store_path("glibc"); 2];
            path.absent_references = vec![store_path("glibc"); 2];
            path.signatures = vec![signature("b-1"), signature("a-1")];
        });
    });
    assert_eq!(found, ["OutOfOrder"; 3]);
}

#[test]
fn an_absent_reference_that_is_none_is_found() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change(tables, &key, |path: &mut PathRecord| {
            path.absent_references = store_paths(&["gcc"])
        });
    });
    assert_eq!(found, ["AbsentButNotReferenced"]);
}

#[test]
fn a_dangling_reference_is_found_and_its_missing_row_among_the_referrers() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change(tables, &key, |path: &mut PathRecord| {
            path.references = store_paths(&["gcc", "glibc"])
        });
    });
    assert_eq!(found, ["DanglingReference", "ReferrerMissing"]);
}

#[test]
fn a_referrer_that_refers_to_nothing_is_found() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change(tables, &key, |path: &mut PathRecord| path.references = Vec::new());
    });
    assert_eq!(found, ["ReferrerTooMany"]);
}

#[test]
fn a_nar_that_changed_hands_in_secret_is_found() {
    let found = broken(|tables| {
        let key = path_key(tables, "hello");
        change(tables, &key, |path: &mut PathRecord| {
            path.nar_hash = NarHash::of(b"glibc")
        });
    });
    let mut found = found;
    found.sort();
    assert_eq!(found, ["HolderMissing", "HolderTooMany", "NarCount", "NarCount"]);
}

#[test]
fn a_path_without_a_nar_is_found() {
    let found = broken(|tables| {
        tables
            .delete(Table::Nars, NarHash::of(b"hello").as_bytes())
            .unwrap()
    });
    assert_eq!(found, ["NarMissing"]);
}

#[test]
fn a_nar_without_a_path_is_found() {
    let found = broken(|tables| {
        let record = NarRecord {
            nar_size: 1,
            manifest: new_path("x", &[]).nar.manifest,
            file_size: 1,
            file_hash: new_path("x", &[]).nar.file_hash,
            references: 0,
            origin: node(1),
        };
        tables
            .put(Table::Nars, NarHash::of(b"nobody's").as_bytes(), &record.encode())
            .unwrap();
    });
    assert_eq!(found, ["NarCount"]);
}

#[test]
fn a_token_that_was_never_valid_is_found() {
    let found = broken(|tables| {
        change(tables, &[1; 16], |token: &mut TokenRecord| {
            token.expires = token.issued
        });
    });
    assert_eq!(found, ["TokenNeverValid"]);
}

#[test]
fn replies_nobody_may_ask_for_are_found() {
    let found = broken(|tables| {
        let client = key(tables, Table::Proposals, |key| key[0] == 0);
        change(tables, &client, |client: &mut ClientRecord| client.floor += 1);
    });
    assert_eq!(found, ["ReplyNotOpen"]);
    let found = broken(|tables| {
        let client = key(tables, Table::Proposals, |key| key[0] == 0);
        tables.delete(Table::Proposals, &client).unwrap();
    });
    assert_eq!(found, ["ReplyWithoutClient"]);
}

#[test]
fn an_audit_that_reaches_too_far_back_is_found() {
    let found = broken(|tables| {
        let rows: Vec<_> = dump(tables)
            .map(Result::unwrap)
            .filter(|(table, ..)| *table == Table::Audit)
            .collect();
        tables
            .put(Table::Audit, &1_000_000_u64.to_be_bytes(), &rows[0].2)
            .unwrap();
    });
    assert_eq!(found, ["AuditTooLong"]);
}

#[test]
fn a_state_of_another_version_is_refused_with_what_to_do() {
    let mut world = World::with_cache();
    let value = world
        .tables
        .get(Table::Caches, b"main")
        .unwrap()
        .expect("the cache exists");
    world
        .tables
        .put(Table::Caches, b"main", &[&[2], &value[1..]].concat())
        .unwrap();
    let error = CacheRecord::decode(
        b"main",
        &world.tables.get(Table::Caches, b"main").unwrap().unwrap(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "table caches-1, key 6d61696e: version 2 is unknown to this build (it reads up to 1)"
    );
    let command = world.command(create_cache("other"));
    world.tables.put(Table::Cluster, b"clock", b"").unwrap();
    let error = tetryx_state::apply(&mut world.tables, 9, &command).unwrap_err();
    let text = "the replicated state is damaged; rebuild this replica from a snapshot of another one";
    assert_eq!(error.to_string(), text);
}
