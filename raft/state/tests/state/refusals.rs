//! Every refusal, in the order of precedence, with what it says.
//!
//! Those of proposals (finished, too many open) are in `proposals.rs`, those of sizes in `limits.rs`, those about
//! members and invitations in `members.rs` and `invites.rs`, and what wins
//! when several fit in `precedence.rs`.

use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::store_path::StorePath;
use tetryx_protocol::time::UtcTime;
use tetryx_state::Refusal;
use tetryx_state::command::{
    AdvanceEpoch, Body, ConfigureCache, CreateCache, DestroyCache, ExpirePaths, NewPath, RegisterToken,
    RevokeInvite, RevokeToken, SetFeatureLevel, UnpinPath,
};
use tetryx_state::limits::LISTED_MAX;
use tetryx_state::reply::Difference;
use tetryx_state::retention;

use crate::fixture::{
    START_DAY, START_MS, World, cache, check_state, create_cache, create_invite, delete, drain, expire, hash,
    init_cluster, invite, new_path, node, parse, pin, pin_until, publish, pulled, redeem, register_token,
    remove, store_path, store_paths, token, update_member, upsert_member, with_content,
};

/// Within every pin of these tests that ends.
fn tomorrow() -> UtcTime {
    UtcTime::from_unix_ms(START_MS).plus(retention::DAY)
}

#[test]
fn a_member_without_a_name_is_refused() {
    let refusal = World::initialised().refused(upsert_member(1, ""));
    assert_eq!(refusal, Refusal::MemberWithoutName { node: node(1) });
    assert_eq!(
        refusal.to_string(),
        format!("node {} has no name; give it one with --name", node(1))
    );
}

#[test]
fn a_retention_period_of_zero_is_refused() {
    let nothing = Retention::Period { seconds: 0 };
    let mut world = World::with_cache();
    let refusal = world.refused(CreateCache {
        retention: nothing,
        ..create_cache("new")
    });
    assert_eq!(refusal, Refusal::RetentionOfNothing);
    let configure = ConfigureCache {
        retention: Some(nothing),
        ..ConfigureCache::new(cache("main"))
    };
    assert_eq!(world.refused(configure), Refusal::RetentionOfNothing);
    let expire = ExpirePaths {
        default_seconds: Some(0),
        ..expire(&["hello"])
    };
    assert_eq!(world.refused(expire), Refusal::RetentionOfNothing);
    let text = "a retention period of 0 seconds would keep nothing; choose a longer one, or 'forever'";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_replication_of_zero_copies_is_refused() {
    let nothing = Replication::Copies(0);
    let mut world = World::with_cache();
    let refusal = world.refused(CreateCache {
        replication: nothing,
        ..create_cache("new")
    });
    assert_eq!(refusal, Refusal::ReplicationOfNothing);
    let configure = ConfigureCache {
        replication: Some(nothing),
        ..ConfigureCache::new(cache("main"))
    };
    assert_eq!(world.refused(configure), Refusal::ReplicationOfNothing);
    assert_eq!(
        refusal.to_string(),
        "0 copies would keep nothing; choose at least 1, or 'all'"
    );
}

#[test]
fn a_token_that_expires_before_it_is_issued_is_refused() {
    let mut register = register_token(1);
    register.expires = register.issued;
    let expires = register.expires;
    let refusal = World::initialised().refused(register);
    assert_eq!(
        refusal,
        Refusal::TokenNeverValid {
            token: token(1),
            expires
        }
    );
    let text = format!(
        "token {} would expire at 2026-03-02T12:00:00.000Z, before it is issued; choose a longer validity",
        token(1)
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn nothing_is_done_before_the_cluster_is_initialised() {
    let bodies: [Body; 22] = [
        upsert_member(1, "north").into(),
        create_cache("main").into(),
        ConfigureCache::new(cache("main")).into(),
        DestroyCache { cache: cache("main") }.into(),
        publish("main", []).into(),
        delete("hello").into(),
        pin("hello").into(),
        UnpinPath {
            cache: cache("main"),
            path: hash("hello"),
        }
        .into(),
        register_token(1).into(),
        RevokeToken { token: token(1) }.into(),
        create_invite(1).into(),
        RevokeInvite {
            secret_hash: invite(1),
        }
        .into(),
        redeem(1, "north").into(),
        update_member(1, "north").into(),
        drain(1).into(),
        remove(1).into(),
        AdvanceEpoch { epoch: 2 }.into(),
        check_state(1, 0).into(),
        SetFeatureLevel { level: 2 }.into(),
        expire(&["hello"]).into(),
        pulled(START_DAY, &["hello"]).into(),
        pin_until("hello", tomorrow()).into(),
    ];
    for body in bodies {
        assert_eq!(World::empty().refused(body), Refusal::NotInitialised);
    }
    let text = "this cluster is not initialised; the node that founds it must propose InitCluster first";
    assert_eq!(Refusal::NotInitialised.to_string(), text);
}

#[test]
fn a_cluster_is_not_initialised_twice() {
    let refusal = World::initialised().refused(init_cluster());
    assert_eq!(
        refusal,
        Refusal::AlreadyInitialised {
            cluster: init_cluster().cluster
        }
    );
    let text = "this log already belongs to cluster 01010101010101010101010101010101; \
                a node with an empty data directory can found another";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn two_members_do_not_share_a_name() {
    let mut world = World::initialised();
    world.done(upsert_member(1, "north"));
    let refusal = world.refused(upsert_member(2, "north"));
    assert_eq!(
        refusal,
        Refusal::MemberNameTaken {
            name: "north".to_owned(),
            node: node(1)
        }
    );
    let text = format!(
        "the name 'north' belongs to member {}; choose another with --name",
        node(1)
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_cache_that_is_not_there_is_refused_by_every_command_about_it() {
    let bodies: [Body; 8] = [
        ConfigureCache::new(cache("main")).into(),
        DestroyCache { cache: cache("main") }.into(),
        publish("main", []).into(),
        delete("hello").into(),
        pin("hello").into(),
        UnpinPath {
            cache: cache("main"),
            path: hash("hello"),
        }
        .into(),
        expire(&["hello"]).into(),
        pin_until("hello", tomorrow()).into(),
    ];
    for body in bodies {
        assert_eq!(
            World::initialised().refused(body),
            Refusal::NoSuchCache { cache: cache("main") }
        );
    }
    let text = "there is no cache 'main'; create it with 'tetryx-cli cache create main'";
    assert_eq!(Refusal::NoSuchCache { cache: cache("main") }.to_string(), text);
}

#[test]
fn a_cache_is_not_created_twice() {
    let refusal = World::with_cache().refused(create_cache("main"));
    assert_eq!(refusal, Refusal::CacheExists { cache: cache("main") });
    let text =
        "cache 'main' exists already; choose another name, or change it with 'tetryx-cli cache configure'";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn the_store_directory_of_a_cache_with_paths_does_not_change() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    let elsewhere = ConfigureCache {
        store_dir: Some(parse("/gnu/store")),
        ..ConfigureCache::new(cache("main"))
    };
    let refusal = world.refused(elsewhere);
    assert_eq!(refusal, Refusal::CacheNotEmpty { cache: cache("main") });
    let text = "cache 'main' holds paths, so its store directory cannot change; \
                create another cache, or delete its paths first";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_batch_does_not_say_two_things_about_one_path() {
    let batch = [
        new_path("hello", &[]),
        with_content(new_path("hello", &[]), "other"),
    ];
    let refusal = World::with_cache().refused(publish("main", batch));
    assert_eq!(
        refusal,
        Refusal::DuplicatePath {
            path: store_path("hello")
        }
    );
    let text = format!(
        "the batch names {} twice with different content; push each path once",
        store_path("hello")
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_path_that_is_there_with_other_content_is_a_conflict() {
    let mut world = World::with_cache();
    let hello = new_path("hello", &["hello"]);
    world.publish([hello.clone()]);
    let conflict = |what| Refusal::PathConflict {
        cache: cache("main"),
        path: store_path("hello"),
        what,
        nar_hash: hello.nar_hash,
    };
    let mut renamed = with_content(hello.clone(), "other");
    renamed.store_path = StorePath::new(hash("hello"), parse("other-name"));
    assert_eq!(
        world.refused(publish("main", [renamed])),
        conflict(Difference::Name)
    );
    let other = with_content(hello.clone(), "other");
    let refusal = world.refused(publish("main", [other]));
    assert_eq!(refusal, conflict(Difference::Content));
    let other = NewPath {
        references: Vec::new(),
        ..hello.clone()
    };
    assert_eq!(
        world.refused(publish("main", [other])),
        conflict(Difference::References)
    );
    let text = format!(
        "cache 'main' has {} already, with another content; \
         delete it there first, or push what you have to another cache",
        store_path("hello")
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_path_whose_references_are_nowhere_is_refused() {
    let mut world = World::with_cache();
    let refusal = world.refused(publish("main", [new_path("hello", &["glibc", "gcc"])]));
    let missing = store_paths(&["glibc", "gcc"]);
    assert_eq!(
        refusal,
        Refusal::MissingReferences {
            path: store_path("hello"),
            missing: missing.clone(),
            more: 0
        }
    );
    let text = format!(
        "{} refers to {}, {}, which are neither in the cache nor in the batch; \
         push the closure, dependencies first",
        store_path("hello"),
        missing[0],
        missing[1]
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_reference_is_missing_if_only_its_hash_is_there() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[])]);
    let mut hello = new_path("hello", &[]);
    let renamed = StorePath::new(hash("glibc"), parse("other-name"));
    hello.references = vec![renamed.clone()];
    let refusal = world.refused(publish("main", [hello.clone()]));
    let missing = Refusal::MissingReferences {
        path: store_path("hello"),
        missing: vec![renamed],
        more: 0,
    };
    assert_eq!(refusal, missing);
    assert_eq!(
        World::with_cache().refused(publish("main", [hello, new_path("glibc", &[])])),
        missing
    );
}

#[test]
fn a_long_list_of_missing_references_is_cut_and_counted() {
    let names: Vec<String> = (0..LISTED_MAX + 5).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let refusal = World::with_cache().refused(publish("main", [new_path("hello", &names)]));
    let missing = store_paths(&names)[..LISTED_MAX].to_vec();
    assert_eq!(
        refusal,
        Refusal::MissingReferences {
            path: store_path("hello"),
            missing,
            more: 5
        }
    );
    assert!(
        refusal.to_string().contains(" and 5 more, which are neither"),
        "{refusal}"
    );
}

#[test]
fn a_path_that_is_not_there_is_refused() {
    let mut world = World::with_cache();
    world.done(create_cache("other"));
    world.done(publish("other", [new_path("hello", &[])]));
    let refusal = Refusal::NoSuchPath {
        cache: cache("main"),
        path: hash("hello"),
    };
    assert_eq!(world.refused(delete("hello")), refusal);
    assert_eq!(world.refused(pin("hello")), refusal);
    let unpin = UnpinPath {
        cache: cache("main"),
        path: hash("hello"),
    };
    assert_eq!(world.refused(unpin), refusal);
    assert_eq!(world.refused(pin_until("hello", tomorrow())), refusal);
    let text = format!(
        "cache 'main' has no path {}; 'tetryx-cli path list main' shows what it has",
        hash("hello")
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_pinned_path_is_not_deleted() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    world.done(pin("hello"));
    let refusal = world.refused(delete("hello"));
    let path = store_path("hello");
    assert_eq!(
        refusal,
        Refusal::PathPinned {
            path: path.clone(),
            by: "alice".to_owned(),
            at: world.now
        }
    );
    let text = format!(
        "{path} was pinned by alice at 2026-03-02T12:00:00.000Z; unpin it first with 'tetryx-cli path unpin'"
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_pin_that_ends_in_the_past_is_refused() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    let until = world.now;
    let refusal = world.refused(pin_until("hello", until));
    assert_eq!(refusal, Refusal::PinNeverValid { until });
    let text = "the pin would end at 2026-03-02T12:00:00.000Z, which is past; choose a later end";
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_path_that_others_refer_to_is_not_deleted() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    let refusal = world.refused(delete("glibc"));
    let by = vec![store_path("hello")];
    assert_eq!(
        refusal,
        Refusal::PathReferenced {
            path: store_path("glibc"),
            by,
            more: 0
        }
    );
    let text = format!(
        "{} is referred to by {}; delete them first, or use --force",
        store_path("glibc"),
        store_path("hello")
    );
    assert_eq!(refusal.to_string(), text);
}

#[test]
fn a_token_id_is_not_used_twice() {
    let mut world = World::initialised();
    world.done(register_token(1));
    let refusal = world.refused(RegisterToken {
        subject: "other".to_owned(),
        ..register_token(1)
    });
    assert_eq!(refusal, Refusal::TokenExists { token: token(1) });
    assert_eq!(
        refusal.to_string(),
        format!(
            "token {} is registered with other claims; draw another id",
            token(1)
        )
    );
}

#[test]
fn a_token_that_was_never_issued_is_not_revoked() {
    let refusal = World::initialised().refused(RevokeToken { token: token(1) });
    assert_eq!(refusal, Refusal::NoSuchToken { token: token(1) });
    let text = format!(
        "there is no token {}; 'tetryx-cli token list' shows what was issued",
        token(1)
    );
    assert_eq!(refusal.to_string(), text);
}
