//! Every refusal, in the order of precedence, with what it says; then what wins when several fit.
//!
//! The refusals of proposals (finished, too many open) are in `proposals.rs`.

use std::time::Duration;

use tetryx_protocol::cache::{Replication, Retention};
use tetryx_protocol::store_path::StorePath;
use tetryx_state::command::{
    Body, ConfigureCache, CreateCache, DestroyCache, PublishPaths, RegisterToken, RevokeToken, UpsertMember,
};
use tetryx_state::limits::{LISTED_MAX, Limit, check_limits};
use tetryx_state::reply::Difference;
use tetryx_state::{Command, Refusal, Reply};

use crate::fixture::{
    World, cache, create_cache, delete, grants, hash, init_cluster, key_name, key_pair, new_path, node,
    parse, pin, publish, register_token, signature, store_path, store_paths, token, upsert_member,
    with_content,
};

fn long(limit: Limit) -> String {
    "x".repeat(too_many(limit))
}

fn too_many(limit: Limit) -> usize {
    usize::try_from(limit.bound() + 1).unwrap()
}

fn over(limit: Limit) -> Refusal {
    Refusal::OverLimit {
        limit,
        found: limit.bound() + 1,
    }
}

/// What exceeds each limit by one, and nothing else.
fn exceeding(limit: Limit) -> Body {
    let one = |change: &dyn Fn(&mut tetryx_state::command::NewPath)| {
        let mut path = new_path("hello", &[]);
        change(&mut path);
        publish("main", [path]).into()
    };
    let numbered = |count: usize| {
        (0..count)
            .map(|number| store_path(&format!("p{number}")))
            .collect::<Vec<StorePath>>()
    };
    match limit {
        Limit::Subject => RegisterToken {
            subject: long(limit),
            ..register_token(1)
        }
        .into(),
        Limit::PathsPerCommand => publish("main", vec![new_path("hello", &[]); too_many(limit)]).into(),
        Limit::ReferencesPerPath => one(&|path| path.references = numbered(too_many(limit))),
        Limit::ReferencesPerCommand => {
            let upstream = vec![store_path("glibc"); too_many(limit)];
            PublishPaths {
                upstream,
                ..publish("main", [])
            }
            .into()
        }
        Limit::SignaturesPerPath => one(&|path| path.signatures = vec![signature("a-1"); too_many(limit)]),
        Limit::PathAttribute => one(&|path| path.ca = Some(long(limit))),
        Limit::UpstreamKeyNames => CreateCache {
            upstream_key_names: vec![key_name("a-1"); too_many(limit)],
            ..create_cache("new")
        }
        .into(),
        Limit::SealedKey => {
            let mut create = create_cache("new");
            create.key_pair.sealed_secret_key = vec![0; too_many(limit)];
            create.into()
        }
        Limit::MissionName => CreateCache {
            mission: Some(long(limit)),
            ..create_cache("new")
        }
        .into(),
        Limit::GrantPatterns => {
            let patterns = (0..too_many(limit)).map(|number| grants(&format!("c{number}-*")).caches);
            let mut register = register_token(1);
            register.grants.caches = patterns.flatten().collect();
            register.into()
        }
        Limit::GrantMissions => {
            let mut register = register_token(1);
            register.grants.missions = vec!["lander".to_owned(); too_many(limit)];
            register.into()
        }
        Limit::MemberName => UpsertMember {
            name: long(limit),
            ..upsert_member(1, "")
        }
        .into(),
        Limit::MemberAddresses => UpsertMember {
            addresses: vec!["a".to_owned(); too_many(limit)],
            ..upsert_member(1, "north")
        }
        .into(),
        Limit::MemberAddress => UpsertMember {
            addresses: vec![long(limit)],
            ..upsert_member(1, "north")
        }
        .into(),
    }
}

#[test]
fn whatever_exceeds_a_limit_by_one_is_refused() {
    for limit in Limit::ALL {
        assert_eq!(World::with_cache().refused(exceeding(limit)), over(limit));
    }
}

#[test]
fn the_other_things_under_the_same_limits_are_refused_as_well() {
    let others: [(Limit, Body); 9] = [
        (Limit::SealedKey, {
            let mut init = init_cluster();
            init.sealed_token_key = vec![0; too_many(Limit::SealedKey)];
            init.into()
        }),
        (
            Limit::MemberName,
            UpsertMember {
                zone: long(Limit::MemberName),
                ..upsert_member(1, "north")
            }
            .into(),
        ),
        (Limit::PathAttribute, {
            let mut path = new_path("hello", &[]);
            path.system = Some(long(Limit::PathAttribute));
            publish("main", [path]).into()
        }),
        (Limit::MissionName, {
            let mut register = register_token(1);
            register.grants.missions = vec![long(Limit::MissionName)];
            register.into()
        }),
        (Limit::ReferencesPerCommand, {
            let mut path = new_path("hello", &[]);
            path.references =
                vec![store_path("glibc"); usize::try_from(Limit::ReferencesPerPath.bound()).unwrap()];
            let mut paths = vec![path; 8];
            paths.push(new_path("one-more", &["glibc"]));
            publish("main", paths).into()
        }),
        (
            Limit::UpstreamKeyNames,
            ConfigureCache {
                upstream_key_names: Some(vec![key_name("a-1"); too_many(Limit::UpstreamKeyNames)]),
                ..ConfigureCache::new(cache("main"))
            }
            .into(),
        ),
        (Limit::SealedKey, {
            let mut pair = key_pair(1);
            pair.sealed_secret_key = vec![0; too_many(Limit::SealedKey)];
            ConfigureCache {
                key_pair: Some(pair),
                ..ConfigureCache::new(cache("main"))
            }
            .into()
        }),
        (
            Limit::MissionName,
            ConfigureCache {
                mission: Some(Some(long(Limit::MissionName))),
                ..ConfigureCache::new(cache("main"))
            }
            .into(),
        ),
        (Limit::SignaturesPerPath, {
            let mut path = new_path("signed", &[]);
            path.signatures = vec![signature("new-1")];
            publish("main", [path]).into()
        }),
    ];
    let mut world = World::with_cache();
    let mut signed = new_path("signed", &[]);
    signed.signatures = (0..Limit::SignaturesPerPath.bound())
        .map(|number| signature(&format!("k{number}")))
        .collect();
    world.publish([signed]);
    for (limit, body) in others {
        assert_eq!(world.refused(body), over(limit));
    }
}

#[test]
fn a_command_on_behalf_of_a_long_subject_is_refused() {
    let mut world = World::with_cache();
    world.by = long(Limit::Subject);
    let refusal = world.refused(create_cache("new"));
    assert_eq!(
        refusal.to_string(),
        "257 bytes of a subject are more than the 256 allowed; shorten it"
    );
}

#[test]
fn a_proposer_can_ask_for_limits_without_a_state() {
    let mut world = World::empty();
    let fine = world.command(create_cache("main"));
    assert_eq!(check_limits(&fine), Ok(()));
    let large = Command {
        by: long(Limit::Subject),
        ..fine
    };
    assert_eq!(check_limits(&large), Err(over(Limit::Subject)));
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
    let bodies: [Body; 10] = [
        upsert_member(1, "north").into(),
        create_cache("main").into(),
        ConfigureCache::new(cache("main")).into(),
        DestroyCache { cache: cache("main") }.into(),
        publish("main", []).into(),
        delete("hello").into(),
        pin("hello").into(),
        tetryx_state::command::UnpinPath {
            cache: cache("main"),
            path: hash("hello"),
        }
        .into(),
        register_token(1).into(),
        RevokeToken { token: token(1) }.into(),
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
    let bodies: [Body; 6] = [
        ConfigureCache::new(cache("main")).into(),
        DestroyCache { cache: cache("main") }.into(),
        publish("main", []).into(),
        delete("hello").into(),
        pin("hello").into(),
        tetryx_state::command::UnpinPath {
            cache: cache("main"),
            path: hash("hello"),
        }
        .into(),
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
    let other = tetryx_state::command::NewPath {
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
    let unpin = tetryx_state::command::UnpinPath {
        cache: cache("main"),
        path: hash("hello"),
    };
    assert_eq!(world.refused(unpin), refusal);
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

#[test]
fn what_is_wrong_with_the_proposal_comes_before_what_is_wrong_with_the_command() {
    let mut world = World::empty();
    let mut command = world.command(create_cache("main"));
    command.by = long(Limit::Subject);
    command.oldest_open += 1;
    assert!(matches!(
        world.apply(&command),
        Reply::Refused(Refusal::ProposalFinished { .. })
    ));
}

#[test]
fn what_is_wrong_with_the_command_comes_before_what_is_wrong_with_the_cluster() {
    let mut world = World::empty();
    assert!(matches!(
        world.refused(upsert_member(1, "")),
        Refusal::MemberWithoutName { .. }
    ));
    let mut init = init_cluster();
    init.sealed_token_key = vec![0; too_many(Limit::SealedKey)];
    assert!(matches!(
        World::initialised().refused(init),
        Refusal::OverLimit { .. }
    ));
}

#[test]
fn sizes_come_before_values() {
    let mut create = create_cache("new");
    create.retention = Retention::Period { seconds: 0 };
    create.mission = Some(long(Limit::MissionName));
    assert!(matches!(
        World::with_cache().refused(create),
        Refusal::OverLimit { .. }
    ));
    let unnamed = UpsertMember {
        zone: long(Limit::MemberName),
        ..upsert_member(1, "")
    };
    assert!(matches!(
        World::with_cache().refused(unnamed),
        Refusal::OverLimit { .. }
    ));
}

#[test]
fn the_cache_comes_before_the_path() {
    let batch = [
        new_path("hello", &["nowhere"]),
        with_content(new_path("hello", &[]), "other"),
    ];
    let refusal = World::initialised().refused(publish("main", batch));
    assert!(matches!(refusal, Refusal::NoSuchCache { .. }));
}

#[test]
fn a_batch_is_checked_against_itself_then_path_by_path_in_the_order_of_the_hashes() {
    let mut world = World::with_cache();
    let [first, second] = &store_paths(&["a", "b"])[..] else {
        panic!("two paths")
    };
    let (first, second) = (first.name.as_str(), second.name.as_str());
    world.publish([new_path(first, &[]), new_path(second, &[])]);
    let conflict = with_content(new_path(first, &["nowhere"]), "other");
    let missing = new_path("user", &["nowhere"]);
    let twice = [
        with_content(new_path(second, &[]), "one"),
        with_content(new_path(second, &[]), "two"),
    ];
    let all = [vec![missing.clone(), conflict.clone()], twice.to_vec()].concat();
    assert!(matches!(
        world.refused(publish("main", all)),
        Refusal::DuplicatePath { .. }
    ));

    let both = [with_content(new_path(second, &[]), "one"), conflict];
    let Refusal::PathConflict { path, what, .. } = world.refused(publish("main", both)) else {
        panic!("both conflict")
    };
    assert_eq!(
        (path, what),
        (store_path(first), Difference::Content),
        "the first, for its content"
    );
}

#[test]
fn a_pin_comes_before_the_referrers() {
    let mut world = World::with_cache();
    world.publish([new_path("glibc", &[]), new_path("hello", &["glibc"])]);
    world.done(pin("glibc"));
    world.now = world.now.plus(Duration::from_secs(1));
    assert!(matches!(
        world.refused(delete("glibc")),
        Refusal::PathPinned { .. }
    ));
}
