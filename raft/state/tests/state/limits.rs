//! What is too large is refused, whatever else is wrong with it.

use tetryx_protocol::store_path::StorePath;
use tetryx_state::command::{
    Body, CacheAccesses, ConfigureCache, CreateCache, CreateInvite, ExpirePaths, NewPath, NoteAccesses,
    PublishPaths, RedeemInvite, RegisterToken, UpdateMember, UpsertMember,
};
use tetryx_state::limits::{Limit, check_limits};
use tetryx_state::{Command, Refusal};

use crate::fixture::{
    World, cache, create_cache, create_invite, expire, grants, hash, init_cluster, key_name, key_pair,
    new_path, publish, redeem, register_token, signature, store_path, update_member, upsert_member,
};

pub(crate) fn long(limit: Limit) -> String {
    "x".repeat(too_many(limit))
}

pub(crate) fn too_many(limit: Limit) -> usize {
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
    let one = |change: &dyn Fn(&mut NewPath)| {
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
        Limit::MemberWeight => UpdateMember {
            weight: 1_000_001,
            ..update_member(1, "north")
        }
        .into(),
        Limit::ExpiredPerCommand => ExpirePaths {
            paths: vec![hash("hello"); too_many(limit)],
            ..expire(&[])
        }
        .into(),
        Limit::AccessesPerCommand => accesses(5, too_many(limit) / 5),
        _ => crate::ground::exceeding(limit),
    }
}

/// Pulls of so many paths of so many caches.
fn accesses(caches: usize, each: usize) -> Body {
    let one = |number| CacheAccesses {
        cache: cache(&format!("c{number}")),
        paths: vec![hash("hello"); each],
    };
    let caches = (0..caches).map(one).collect();
    NoteAccesses { day: 0, caches }.into()
}

#[test]
fn whatever_exceeds_a_limit_by_one_is_refused() {
    for limit in Limit::ALL {
        assert_eq!(
            crate::ground::with_full_station().refused(exceeding(limit)),
            over(limit)
        );
    }
}

#[test]
fn the_other_things_under_the_same_limits_are_refused_as_well() {
    let redeem = |change: &dyn Fn(&mut RedeemInvite)| {
        let mut body = redeem(2, "south");
        change(&mut body);
        body.into()
    };
    let update = |change: &dyn Fn(&mut UpdateMember)| {
        let mut body = update_member(2, "south");
        change(&mut body);
        body.into()
    };
    let others: [(Limit, Body); 17] = [
        (
            Limit::MemberName,
            redeem(&|body| body.name = long(Limit::MemberName)),
        ),
        (
            Limit::MemberAddress,
            redeem(&|body| body.addresses = vec![long(Limit::MemberAddress)]),
        ),
        (
            Limit::MemberAddresses,
            redeem(&|body| body.gossip = vec![String::new(); too_many(Limit::MemberAddresses)]),
        ),
        (Limit::MemberWeight, redeem(&|body| body.weight = 1_000_001)),
        (
            Limit::MemberName,
            update(&|body| body.zone = long(Limit::MemberName)),
        ),
        (
            Limit::MemberAddress,
            update(&|body| body.http_url = Some(long(Limit::MemberAddress))),
        ),
        (
            Limit::MemberAddresses,
            update(&|body| body.addresses = vec![String::new(); too_many(Limit::MemberAddresses)]),
        ),
        (
            Limit::MemberName,
            CreateInvite {
                zone: Some(long(Limit::MemberName)),
                ..create_invite(1)
            }
            .into(),
        ),
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
