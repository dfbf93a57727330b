//! What holds for every log.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tetryx_protocol::cache::Retention;
use tetryx_protocol::envelope::{HEADER_LEN, seal};
use tetryx_protocol::ground::{Expected, NewElements};
use tetryx_protocol::id::ProposalId;
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{
    AdvanceEpoch, Body, ConfigureCache, CreateInvite, DeletePath, DestroyCache, ExpirePaths, MAGIC, NewPath,
    PinPath, PublishPaths, PutMission, PutSatellite, PutStation, RedeemInvite, RemoveMaintenance,
    RemoveMission, RemoveSatellite, RemoveStation, RevokeInvite, RevokeToken, SCHEMA, SetFeatureLevel,
    UnpinPath, UpdateMember,
};
use tetryx_state::retention;
use tetryx_state::snapshot::{dump, restore};
use tetryx_state::{Command, MemoryTables, Reply, apply, check, query};

use crate::fixture::{
    START_DAY, START_MS, World, cache, check_state, client, create_cache, create_invite, drain, expire, hash,
    init_cluster, invite, key_name, key_pair, new_path, node, parse, pin_until, publish, pulled, redeem,
    register_token, remove, signature, store_paths, token, update_member, upsert_member, with_content,
};
use crate::ground::{
    elements, put_maintenance, put_mission, put_satellite, put_station, refresh, station_token,
};
use crate::samples::{commands, records};

// A small world, so that commands meet each other.
const CACHES: [&str; 3] = ["main", "main-2", "other"];
const PATHS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
const CONTENTS: [&str; 3] = ["x", "y", "z"];

fn path() -> impl Strategy<Value = NewPath> {
    let references = proptest::sample::subsequence(&PATHS[..], 0..=2);
    (
        select(&PATHS[..]),
        references,
        select(&CONTENTS[..]),
        0..4_u8,
        0..6_u8,
    )
        .prop_map(|(name, references, content, signatures, rarely)| {
            // Mostly each path has its content and its references, so that batches are accepted.
            let mut path = if rarely == 0 {
                with_content(new_path(name, &references), content)
            } else {
                let below: Vec<&str> = PATHS.into_iter().filter(|other| *other < name).take(2).collect();
                with_content(
                    new_path(name, &below),
                    CONTENTS[usize::from(name.as_bytes()[0]) % 3],
                )
            };
            path.signatures = (0..signatures)
                .map(|number| signature(&format!("k{number}")))
                .collect();
            path
        })
}

fn body() -> impl Strategy<Value = Body> {
    let name = || select(&CACHES[..]).prop_map(cache);
    let any_path = || select(&PATHS[..]).prop_map(hash);
    let publish =
        (select(&CACHES[..]), vec(path(), 0..6), any::<bool>()).prop_map(|(cache, paths, upstream)| {
            let upstream = if upstream {
                store_paths(&PATHS[..2])
            } else {
                Vec::new()
            };
            PublishPaths {
                upstream,
                ..publish(cache, paths)
            }
            .into()
        });
    let periods = select(&[None, Some(3_600), Some(200_000)][..]);
    let configure = (
        name(),
        any::<Option<bool>>(),
        any::<bool>(),
        any::<Option<u8>>(),
        periods,
    )
        .prop_map(|(cache, public, upstream, key, period)| {
            let upstream_key_names = Some(if upstream {
                vec![key_name("up-1")]
            } else {
                Vec::new()
            });
            let key_pair = key.map(key_pair);
            ConfigureCache {
                public,
                upstream_key_names,
                key_pair,
                retention: period.map(|seconds| Retention::Period { seconds }),
                ..ConfigureCache::new(cache)
            }
            .into()
        });
    prop_oneof![
        1 => Just(init_cluster().into()),
        2 => (1..4_u8, select(&["north", "south", ""][..])).prop_map(|(node, name)| upsert_member(node, name).into()),
        3 => select(&CACHES[..]).prop_map(|name| create_cache(name).into()),
        2 => configure,
        1 => name().prop_map(|cache| DestroyCache { cache }.into()),
        12 => publish,
        5 => (name(), any_path(), any::<bool>())
            .prop_map(|(cache, path, force)| DeletePath { cache, path, force }.into()),
        4 => (name(), any_path()).prop_map(|(cache, path)| PinPath { cache, path }.into()),
        4 => (name(), any_path()).prop_map(|(cache, path)| UnpinPath { cache, path }.into()),
        2 => (1..6_u8).prop_map(|number| register_token(number).into()),
        1 => (1..6_u8).prop_map(|number| RevokeToken { token: token(number) }.into()),
        8 => membership(),
        8 => retention(),
        12 => ground(),
    ]
}

fn retention() -> impl Strategy<Value = Body> {
    let name = || select(&CACHES[..]).prop_map(cache);
    let some = || proptest::sample::subsequence(&PATHS[..], 0..=7);
    prop_oneof![
        4 => (name(), some(), select(&[None, Some(0), Some(50_000)][..])).prop_map(|(cache, paths, default_seconds)| {
            ExpirePaths { cache, default_seconds, ..expire(&paths) }.into()
        }),
        2 => (some(), 0..30_u32).prop_map(|(paths, days)| pulled(START_DAY + days, &paths).into()),
        2 => (select(&PATHS[..]), 0..2_000_000_u64).prop_map(|(path, after_s)| {
            pin_until(path, UtcTime::from_unix_ms(START_MS).plus(Duration::from_secs(after_s))).into()
        }),
    ]
}

fn ground() -> impl Strategy<Value = Body> {
    let satellite = || select(&["NOAA 19", "AQUA"][..]);
    let mission = || select(&["lander", "orbiter"][..]);
    let station = || select(&["north", "south"][..]);
    let expected = || select(&[Expected::Either, Expected::New, Expected::Existing][..]);
    prop_oneof![
        6 => (mission(), expected(), any::<Option<bool>>()).prop_map(|(name, expected, priority)| {
            let priority = priority.map(u32::from);
            PutMission { expected, priority, ..put_mission(name) }.into()
        }),
        4 => mission().prop_map(|name| RemoveMission { mission: parse(name) }.into()),
        5 => (satellite(), expected(), any::<Option<bool>>(), 0..6_i64, 1..4_u32).prop_map(
            |(name, expected, mission, day, number)| {
                let mission = mission.map(|first| parse(if first { "lander" } else { "orbiter" }));
                let new = (day > 0).then(|| NewElements { catalogue_number: number, ..elements(day) });
                PutSatellite { expected, mission, elements: new, ..put_satellite(name) }.into()
            }
        ),
        1 => satellite().prop_map(|name| RemoveSatellite { satellite: parse(name) }.into()),
        4 => vec((satellite(), -3..60_i64, 1..4_u32), 0..40).prop_map(|sets| {
            let mut body = refresh(sets.iter().map(|(name, day, _)| (*name, *day)));
            for (set, (_, _, number)) in body.sets.iter_mut().zip(&sets) {
                set.elements.catalogue_number = *number;
            }
            body.into()
        }),
        4 => (station(), expected(), any::<Option<Option<bool>>>(), any::<bool>()).prop_map(
            |(name, expected, bound, placed)| {
                let bound = bound.map(|to| to.map(|first| node(if first { 1 } else { 2 })));
                let put = put_station(name);
                let place = put.place.filter(|_| placed);
                PutStation { expected, node: bound, place, ..put }.into()
            }
        ),
        1 => station().prop_map(|name| RemoveStation { station: parse(name) }.into()),
        3 => (station(), 0..900_u64).prop_map(|(name, hour)| put_maintenance(name, hour).into()),
        2 => (station(), 0..900_u64).prop_map(|(name, hour)| {
            let from = put_maintenance(name, hour).maintenance.from;
            RemoveMaintenance { station: parse(name), from }.into()
        }),
        1 => (6..9_u8).prop_map(|number| station_token(number).into()),
    ]
}

fn membership() -> impl Strategy<Value = Body> {
    let number = || 1..4_u8;
    let name = || select(&["north", "south", "east"][..]);
    prop_oneof![
        3 => (number(), 0..90_000_u64).prop_map(|(number, after_s)| {
            let expires = UtcTime::from_unix_ms(START_MS).plus(Duration::from_secs(after_s * 10));
            CreateInvite { expires, ..create_invite(number) }.into()
        }),
        1 => number().prop_map(|number| RevokeInvite { secret_hash: invite(number) }.into()),
        4 => (number(), number(), name()).prop_map(|(number, by, name)| {
            RedeemInvite { node: node(by), ..redeem(number, name) }.into()
        }),
        3 => (number(), name(), 1..3_u32).prop_map(|(number, name, feature_level)| {
            UpdateMember { feature_level, ..update_member(number, name) }.into()
        }),
        1 => number().prop_map(|number| drain(number).into()),
        1 => number().prop_map(|number| remove(number).into()),
        1 => (1..4_u64).prop_map(|epoch| AdvanceEpoch { epoch }.into()),
        3 => (number(), 0..90_u64).prop_map(|(number, index)| check_state(number, index).into()),
        1 => (1..4_u32).prop_map(|level| SetFeatureLevel { level }.into()),
    ]
}

/// A log of proposals of three clients that begins with the founding of the cluster. Each proposal is in it once.
/// `step_s` bounds the time between two of them in seconds.
fn log(length: usize, step_s: u64) -> impl Strategy<Value = Vec<Command>> {
    let proposal = (body(), 1..4_u8, 0..3_u64, 0..=step_s, any::<bool>());
    vec(proposal, 1..length).prop_map(|proposals| {
        let mut serials = [0; 4];
        let mut now = UtcTime::from_unix_ms(START_MS);
        let first = (Body::from(init_cluster()), 1, 0, 0, false);
        let created = (Body::from(create_cache("main")), 1, 0, 0, false);
        let proposals = [first, created].into_iter().chain(proposals);
        let commands = proposals.map(|(body, number, open, step, backwards)| {
            let step = Duration::from_secs(step);
            now = if backwards {
                now.minus(step / 4)
            } else {
                now.plus(step)
            };
            let serial = &mut serials[usize::from(number)];
            *serial += 1;
            Command {
                proposal: ProposalId {
                    client: client(number),
                    serial: *serial,
                },
                oldest_open: serial.saturating_sub(open),
                proposed_at: now,
                by: format!("client {number}"),
                body,
            }
        });
        commands.collect()
    })
}

/// The tables after a log, whose entries carry their log indices.
fn replay<'a>(tables: &mut MemoryTables, log: impl IntoIterator<Item = (u64, &'a Command)>) -> Vec<Reply> {
    let apply = |(index, command)| apply(tables, index, command).expect("memory never fails");
    log.into_iter().map(apply).collect()
}

fn indexed(log: &[Command]) -> impl Iterator<Item = (u64, &Command)> {
    (1..).zip(log)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_keeps_every_invariant(log in log(80, 40_000)) {
        let mut world = World::empty();
        for command in &log {
            // The fixture checks every invariant, and that a refusal changed nothing.
            let _ = world.apply(command);
        }
    }

    #[test]
    fn what_is_planned_to_leave_leaves_in_pieces_of_any_size_and_nothing_else_does(
        log in log(60, 40_000),
        piece in 1..8_usize,
        later_s in 0..300_000_u64,
    ) {
        let mut world = World::empty();
        for command in &log {
            let _ = world.apply(command);
        }
        world.now = query::clock(&world.tables).unwrap().plus(Duration::from_secs(later_s));
        world.serial = 1_000;
        world.by = "gc".to_owned();
        let main = cache("main");
        let Some(record) = query::cache(&world.tables, &main).unwrap() else { return Ok(()) };
        let before = query::paths(&world.tables, &main, None, usize::MAX).unwrap();
        let default = Duration::from_secs(50_000);
        let period = retention::period(record.retention, Some(default)).expect("there is a default");
        let plan = retention::plan(&world.tables, &main, period, world.now).unwrap();
        for piece in plan.chunks(piece) {
            let paths = piece.iter().map(|leaving| leaving.path).collect();
            let _ = world.done(ExpirePaths { default_seconds: Some(default.as_secs()), paths, ..expire(&[]) });
        }
        let planned: BTreeSet<_> = plan.iter().map(|leaving| leaving.path).collect();
        let after = query::paths(&world.tables, &main, None, usize::MAX).unwrap();
        let stayed: BTreeSet<_> = after.iter().map(|path| path.hash()).collect();
        for path in &before {
            let hash = path.hash();
            // A path of a circle that did not fit one command may stay.
            prop_assert!(stayed.contains(&hash) || planned.contains(&hash));
            let is_needed = after.iter().any(|by| by.hash() != hash && by.references.contains(&path.store_path));
            let is_over = retention::is_over(path, period, world.now);
            prop_assert!(is_over || stayed.contains(&hash), "it left before its time");
            prop_assert!(is_needed || !is_over || !stayed.contains(&hash), "nothing keeps it");
            prop_assert!(!is_needed || stayed.contains(&hash), "it is needed");
        }
    }

    #[test]
    fn a_snapshot_at_any_point_and_the_rest_of_the_log_lead_to_the_same_state(
        log in log(60, 40_000),
        at in any::<Index>(),
    ) {
        let mut whole = MemoryTables::new();
        let replies = replay(&mut whole, indexed(&log));
        let at = at.index(log.len());
        let mut leader = MemoryTables::new();
        replay(&mut leader, indexed(&log).take(at));
        let mut follower = MemoryTables::new();
        restore(&mut follower, dump(&leader).map(|row| row.expect("memory never fails"))).unwrap();
        let rest = replay(&mut follower, indexed(&log).skip(at));
        prop_assert_eq!(&rest[..], &replies[at..]);
        prop_assert_eq!(query::state_hash(&follower).unwrap(), query::state_hash(&whole).unwrap());
        prop_assert_eq!(follower, whole);
    }

    #[test]
    fn duplicated_and_reordered_proposals_are_applied_once(
        log in log(40, 600),
        order in vec(any::<Index>(), 1..120),
    ) {
        let delivered: Vec<(u64, &Command)> =
            (1..).zip(order.iter().map(|at| &log[at.index(log.len())])).collect();
        let mut seen = BTreeSet::new();
        let once: Vec<_> =
            delivered.iter().copied().filter(|(_, command)| seen.insert(command.proposal)).collect();
        let (mut with_duplicates, mut without) = (MemoryTables::new(), MemoryTables::new());
        replay(&mut with_duplicates, delivered);
        replay(&mut without, once);
        prop_assert_eq!(with_duplicates, without);
    }

    #[test]
    fn a_proposal_delivered_again_in_its_time_gets_the_same_reply(log in log(40, 600), again in any::<Index>()) {
        let mut tables = MemoryTables::new();
        let at = again.index(log.len());
        let replies = replay(&mut tables, indexed(&log).take(at + 1));
        let before = tables.clone();
        let repeated = replay(&mut tables, [(1_000, &log[at])]);
        prop_assert_eq!(&repeated[0], &replies[at]);
        prop_assert_eq!(tables, before);
    }

    #[test]
    fn every_command_is_read_as_it_was_written(log in log(20, 600)) {
        for command in log {
            prop_assert_eq!(Command::decode(&command.encode()).unwrap(), command);
        }
    }

    #[test]
    fn mutated_bytes_of_a_log_entry_never_panic(
        which in any::<Index>(),
        mutations in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Option<Index>>(),
    ) {
        let commands = commands();
        let mut bytes = which.get(&commands).encode();
        mutate(&mut bytes, &mutations, cut);
        let _ = Command::decode(&bytes);
    }

    #[test]
    fn whatever_mutated_command_still_decodes_is_applied_or_refused(
        log in log(20, 600),
        mutations in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Option<Index>>(),
    ) {
        let mut world = World::empty();
        for command in &log {
            let _ = world.apply(command);
            let mut payload = command.encode().split_off(HEADER_LEN);
            mutate(&mut payload, &mutations, cut);
            if let Ok(mutated) = Command::decode(&seal(MAGIC, SCHEMA, 1, &payload)) {
                let _ = world.apply(&mutated);
            }
        }
    }

    #[test]
    fn mutated_bytes_of_a_record_never_panic(
        which in any::<Index>(),
        mutations in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Option<Index>>(),
    ) {
        let records = records();
        let (_, bytes, decode) = which.get(&records);
        let mut bytes = bytes.clone();
        mutate(&mut bytes, &mutations, cut);
        let _ = decode(&bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[(Index, u8)], cut: Option<Index>) {
    for (at, to) in mutations {
        let at = at.index(bytes.len());
        bytes[at] = *to;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
}

#[test]
fn the_generated_logs_reach_what_they_shall_reach() {
    // Guards the generator: properties over logs in which everything is refused would prove nothing.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..400 {
        let log = log(80, 40_000).new_tree(&mut runner).expect("a log").current();
        let mut tables = MemoryTables::new();
        for reply in replay(&mut tables, indexed(&log)) {
            let debug = match reply {
                Reply::Done(outcome) => format!("{outcome:?}"),
                Reply::Refused(refusal) => format!("{refusal:?}"),
            };
            reached.insert(debug.split(' ').next().expect("a name").to_owned());
        }
        assert_eq!(check(&tables), []);
    }
    let wanted = [
        "AccessesNoted",
        "AlreadyMember",
        "CacheConfigured",
        "CacheCreated",
        "CacheDestroyed",
        "CacheExists",
        "CheckAhead",
        "DuplicatePath",
        "ElementsRefreshed",
        "EpochAdvanced",
        "EpochNotNewer",
        "FeatureLevelNotNewer",
        "FeatureLevelNotShared",
        "FeatureLevelSet",
        "InviteCreated",
        "InviteExists",
        "InviteExpired",
        "InviteNeverValid",
        "InviteRevoked",
        "InviteUsed",
        "ItemAdded",
        "ItemExists",
        "ItemIncomplete",
        "ItemRemoved",
        "ItemUpdated",
        "Joined",
        "LastMember",
        "MemberAdded",
        "MemberDraining",
        "MemberNameTaken",
        "MemberRemoved",
        "MemberUpdated",
        "MissingReferences",
        "MissionInUse",
        "NoSuchCache",
        "NoSuchInvite",
        "NoSuchItem",
        "NoSuchMaintenance",
        "NoSuchMember",
        "NoSuchPath",
        "NoSuchToken",
        "PathConflict",
        "PathDeleted",
        "PathPinned",
        "PathReferenced",
        "PathUnpinned",
        "PathsExpired",
        "PinNeverValid",
        "Published",
        "StateChecked",
        "TokenRegistered",
        "TokenRevoked",
        "Unchanged",
    ];
    for name in wanted {
        assert!(reached.contains(name), "no log reaches {name}: {reached:?}");
    }
}
