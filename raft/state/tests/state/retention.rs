//! How long paths stay: retention, use, pins, and who needs whom.

use std::time::Duration;

use tetryx_protocol::cache::Retention;
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{Body, ConfigureCache, ExpirePaths, NewPath, UnpinPath};
use tetryx_state::limits::Limit;
use tetryx_state::records::{AuditAction, PathPin};
use tetryx_state::retention::{self, DAY};
use tetryx_state::{Outcome, Refusal, query};

use crate::fixture::{
    START_DAY, World, cache, create_cache, delete, expire, hash, new_path, pin, pin_until, publish, pulled,
    store_path, with_content,
};

/// A cache that keeps its paths for so long, with these.
fn kept_for(period: Duration, paths: impl IntoIterator<Item = NewPath>) -> World {
    let mut world = World::with_cache();
    set(&mut world, period);
    world.publish(paths);
    world
}

fn set(world: &mut World, period: Duration) {
    world.done(ConfigureCache {
        retention: Some(Retention::Period {
            seconds: period.as_secs(),
        }),
        ..ConfigureCache::new(cache("main"))
    });
}

const HOUR: Duration = Duration::from_secs(3_600);

fn wait(world: &mut World, duration: Duration) {
    world.now = world.now.plus(duration);
}

fn gone(paths: u64, nars: u64) -> Outcome {
    Outcome::PathsExpired { paths, nars }
}

fn is_there(world: &World, name: &str) -> bool {
    world.path(name).is_some()
}

/// Lets everything go that a proposer would name, in commands of this size; how many paths went.
fn collect(world: &mut World, piece: usize) -> u64 {
    let record = query::cache(&world.tables, &cache("main")).expect("memory never fails");
    let record = record.expect("it exists");
    let Some(period) = retention::period(record.retention, None) else {
        return 0;
    };
    let plan = retention::plan(&world.tables, &cache("main"), period, world.now).expect("memory never fails");
    let mut went = 0;
    for piece in plan.chunks(piece) {
        let body = ExpirePaths {
            paths: piece.iter().map(|leaving| leaving.path).collect(),
            ..expire(&[])
        };
        if let Outcome::PathsExpired { paths, .. } = world.done(body) {
            went += paths;
        }
    }
    assert_eq!(went, plan.len() as u64, "what was planned is what went");
    went
}

#[test]
fn a_path_leaves_when_its_period_has_run_out_and_not_a_moment_earlier() {
    let mut world = kept_for(HOUR, [new_path("hello", &[])]);
    wait(&mut world, HOUR - Duration::from_millis(1));
    assert_eq!(world.done(expire(&["hello"])), Outcome::Unchanged);
    wait(&mut world, Duration::from_millis(1));
    assert_eq!(world.done(expire(&["hello"])), gone(1, 1));
    assert_eq!(
        (is_there(&world, "hello"), world.nar_references("hello")),
        (false, None)
    );
}

#[test]
fn a_path_is_judged_by_the_log_clock_even_if_its_proposer_lags() {
    let mut world = kept_for(HOUR, [new_path("hello", &[])]);
    wait(&mut world, HOUR);
    world.publish([new_path("other", &[])]);
    world.now = world.now.minus(HOUR);
    assert_eq!(world.done(expire(&["hello"])), gone(1, 1));
}

#[test]
fn a_nar_stays_as_long_as_a_path_of_any_cache_has_it() {
    let mut world = kept_for(HOUR, [with_content(new_path("hello", &[]), "same")]);
    world.done(create_cache("other"));
    world.done(publish("other", [with_content(new_path("hello", &[]), "same")]));
    wait(&mut world, HOUR);
    assert_eq!(world.done(expire(&["hello"])), gone(1, 0));
    assert_eq!(world.nar_references("same"), Some(1));
}

#[test]
fn a_cache_without_a_period_goes_by_the_default_of_the_proposer() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    wait(&mut world, HOUR);
    assert_eq!(
        world.done(expire(&["hello"])),
        Outcome::Unchanged,
        "no default keeps"
    );
    let with_default = ExpirePaths {
        default_seconds: Some(HOUR.as_secs()),
        ..expire(&["hello"])
    };
    assert_eq!(world.done(with_default), gone(1, 1));
}

#[test]
fn a_cache_that_keeps_for_ever_does_not_mind_a_default() {
    let mut world = World::with_cache();
    world.done(ConfigureCache {
        retention: Some(Retention::Forever),
        ..ConfigureCache::new(cache("main"))
    });
    world.publish([new_path("hello", &[])]);
    wait(&mut world, 400 * DAY);
    let with_default = ExpirePaths {
        default_seconds: Some(1),
        ..expire(&["hello"])
    };
    assert_eq!(world.done(with_default), Outcome::Unchanged);
}

#[test]
fn a_period_of_days_runs_from_the_end_of_the_day_of_publication() {
    // Published at noon.
    let mut world = kept_for(DAY, [new_path("hello", &[])]);
    wait(&mut world, DAY);
    assert_eq!(world.done(expire(&["hello"])), Outcome::Unchanged);
    wait(&mut world, DAY / 2);
    assert_eq!(world.done(expire(&["hello"])), gone(1, 1));
}

#[test]
fn a_pull_starts_a_period_of_days_again() {
    let mut world = kept_for(7 * DAY, [new_path("pulled", &[]), new_path("unused", &[])]);
    wait(&mut world, 5 * DAY);
    assert_eq!(
        world.done(pulled(START_DAY + 5, &["pulled"])),
        Outcome::AccessesNoted { paths: 1 }
    );
    wait(&mut world, 3 * DAY);
    assert_eq!(world.done(expire(&["pulled", "unused"])), gone(1, 1));
    assert!(is_there(&world, "pulled"));
    wait(&mut world, 5 * DAY);
    assert_eq!(world.done(expire(&["pulled"])), gone(1, 1));
}

#[test]
fn a_period_of_less_than_a_day_runs_from_publication_whoever_pulls() {
    let mut world = kept_for(HOUR, [new_path("hello", &[])]);
    wait(&mut world, HOUR);
    world.done(pulled(START_DAY, &["hello"]));
    assert_eq!(world.done(expire(&["hello"])), gone(1, 1));
}

#[test]
fn a_day_of_use_neither_goes_back_nor_ahead_of_the_log_clock() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    assert_eq!(world.done(pulled(START_DAY - 1, &["hello"])), Outcome::Unchanged);
    assert_eq!(world.done(pulled(START_DAY + 9, &["hello"])), Outcome::Unchanged);
    wait(&mut world, 2 * DAY);
    world.done(pulled(START_DAY + 9, &["hello"]));
    assert_eq!(
        world.path("hello").expect("it is there").last_access_day,
        START_DAY + 2
    );
}

#[test]
fn pulls_of_what_is_not_there_are_left_out() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    wait(&mut world, DAY);
    let mut pulls = pulled(START_DAY + 1, &["nothing", "hello"]);
    pulls.caches[0].cache = cache("nowhere");
    assert_eq!(world.done(pulls), Outcome::Unchanged);
    assert_eq!(
        world.done(pulled(START_DAY + 1, &["nothing", "hello"])),
        Outcome::AccessesNoted { paths: 1 }
    );
}

#[test]
fn a_path_that_a_young_one_refers_to_stays_however_old_it_is() {
    let mut world = kept_for(HOUR, [new_path("glibc", &[]), new_path("zlib", &["glibc"])]);
    wait(&mut world, HOUR);
    world.publish([new_path("hello", &["zlib"])]);
    assert_eq!(world.done(expire(&["zlib", "glibc"])), Outcome::Unchanged);
    wait(&mut world, HOUR);
    assert_eq!(world.done(expire(&["hello", "zlib", "glibc"])), gone(3, 3));
}

#[test]
fn a_path_leaves_with_all_that_refer_to_it_in_whatever_order_they_are_named() {
    let mut world = kept_for(
        HOUR,
        [new_path("glibc", &[]), new_path("hello", &["glibc", "hello"])],
    );
    wait(&mut world, HOUR);
    assert_eq!(
        world.done(expire(&["glibc"])),
        Outcome::Unchanged,
        "hello is not named"
    );
    assert_eq!(world.done(expire(&["glibc", "hello"])), gone(2, 2));
}

#[test]
fn a_pinned_path_stays_with_everything_below_it() {
    let mut world = kept_for(
        HOUR,
        [
            new_path("glibc", &[]),
            new_path("hello", &["glibc"]),
            new_path("other", &["glibc"]),
        ],
    );
    world.done(pin("hello"));
    wait(&mut world, HOUR);
    assert_eq!(world.done(expire(&["other", "hello", "glibc"])), gone(1, 1));
    assert!(is_there(&world, "hello") && is_there(&world, "glibc"));
    world.done(UnpinPath {
        cache: cache("main"),
        path: hash("hello"),
    });
    assert_eq!(world.done(expire(&["hello", "glibc"])), gone(2, 2));
}

#[test]
fn a_pin_with_an_end_keeps_until_then() {
    let mut world = kept_for(HOUR, [new_path("hello", &[])]);
    let until = world.now.plus(2 * HOUR);
    assert_eq!(world.done(pin_until("hello", until)), Outcome::PathPinned);
    wait(&mut world, 2 * HOUR - Duration::from_millis(1));
    assert_eq!(world.done(expire(&["hello"])), Outcome::Unchanged);
    assert!(matches!(
        world.refused(delete("hello")),
        Refusal::PathPinned { .. }
    ));
    wait(&mut world, Duration::from_millis(1));
    assert_eq!(world.done(expire(&["hello"])), gone(1, 1));
}

#[test]
fn a_path_can_be_deleted_once_its_pin_has_ended() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    world.done(pin_until("hello", world.now.plus(HOUR)));
    wait(&mut world, HOUR);
    assert_eq!(
        world.done(delete("hello")),
        Outcome::PathDeleted { nar_removed: true }
    );
}

#[test]
fn a_pin_is_lengthened_and_never_shortened_by_another() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    let (soon, late) = (world.now.plus(HOUR), world.now.plus(2 * HOUR));
    let until = |world: &World| {
        world
            .path("hello")
            .expect("it is there")
            .pinned
            .expect("it is pinned")
    };
    world.done(pin_until("hello", soon));
    world.by = "bob".to_owned();
    assert_eq!(world.done(pin_until("hello", late)), Outcome::PathPinned);
    let at = world.now;
    let pinned = PathPin {
        by: "bob".to_owned(),
        at,
        until: Some(late),
    };
    assert_eq!(until(&world), pinned);
    assert_eq!(world.done(pin_until("hello", soon)), Outcome::Unchanged);
    assert_eq!(until(&world), pinned);
    assert_eq!(world.done(pin("hello")), Outcome::PathPinned);
    assert_eq!(world.done(pin_until("hello", late)), Outcome::Unchanged);
    assert_eq!(until(&world).until, None);
}

#[test]
fn a_pin_that_has_ended_is_none_for_whoever_pins_or_unpins() {
    let mut world = World::with_cache();
    world.publish([new_path("hello", &[])]);
    let unpin = UnpinPath {
        cache: cache("main"),
        path: hash("hello"),
    };
    world.done(pin_until("hello", world.now.plus(2 * HOUR)));
    wait(&mut world, 2 * HOUR);
    assert_eq!(world.done(unpin), Outcome::Unchanged);
    assert_eq!(
        world.done(pin_until("hello", world.now.plus(HOUR))),
        Outcome::PathPinned
    );
}

#[test]
fn what_is_not_there_any_more_is_passed_over() {
    let mut world = kept_for(HOUR, [new_path("hello", &[])]);
    wait(&mut world, HOUR);
    assert_eq!(world.done(expire(&["nothing", "hello", "hello"])), gone(1, 1));
    assert_eq!(world.done(expire(&["hello"])), Outcome::Unchanged);
}

#[test]
fn a_command_lets_no_more_rows_go_than_one_publishes() {
    let names: Vec<String> = (0..8_000).map(|number| format!("p{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::with_cache();
    set(&mut world, HOUR);
    world.done(ConfigureCache {
        upstream_key_names: Some(vec![crate::fixture::key_name("up-1")]),
        ..ConfigureCache::new(cache("main"))
    });
    let tops: Vec<String> = (0..10).map(|number| format!("top{number}")).collect();
    for top in &tops {
        let mut body = publish("main", [new_path(top, &names)]);
        body.upstream = crate::fixture::store_paths(&names);
        world.done(body);
    }
    wait(&mut world, HOUR);
    let tops: Vec<&str> = tops.iter().map(String::as_str).collect();
    assert_eq!(
        world.done(expire(&tops)),
        gone(8, 8),
        "{}",
        Limit::ReferencesPerCommand.bound()
    );
    assert_eq!(world.done(expire(&tops)), gone(2, 2));
}

#[test]
fn the_audit_says_how_many_paths_left_and_nothing_of_pulls() {
    let mut world = kept_for(HOUR, [new_path("a", &[]), new_path("b", &[])]);
    wait(&mut world, DAY);
    world.done(pulled(START_DAY + 1, &["a"]));
    world.done(expire(&["a", "b"]));
    let audit = query::audit(&world.tables, None, usize::MAX).expect("memory never fails");
    let last = &audit.last().expect("something was done").1;
    assert_eq!((last.action, last.paths), (AuditAction::ExpirePaths, 2));
    assert!(audit.iter().filter(|(_, record)| record.at == world.now).count() == 1);
}

#[test]
fn the_plan_names_what_leaves_behind_what_refers_to_it() {
    let mut world = kept_for(
        HOUR,
        [
            new_path("glibc", &[]),
            new_path("zlib", &["glibc"]),
            new_path("hello", &["glibc", "zlib"]),
            new_path("kept", &[]),
            new_path("needs-kept", &["kept"]),
        ],
    );
    world.done(pin("needs-kept"));
    wait(&mut world, HOUR);
    let plan = retention::plan(&world.tables, &cache("main"), HOUR, world.now).expect("memory never fails");
    let planned: Vec<_> = plan.iter().map(|leaving| leaving.path).collect();
    assert_eq!(planned, ["hello", "zlib", "glibc"].map(hash));
    assert_eq!(collect(&mut world, 1), 3, "one by one");
}

#[test]
fn paths_that_refer_to_one_another_leave_together() {
    let circle = || {
        [
            new_path("one", &["two"]),
            new_path("two", &["one"]),
            new_path("end", &["one"]),
        ]
    };
    let mut world = kept_for(HOUR, circle());
    wait(&mut world, HOUR);
    assert_eq!(
        world.done(expire(&["end", "one"])),
        gone(1, 1),
        "two would miss it"
    );
    assert_eq!(collect(&mut world, 10), 2);
}

#[test]
fn a_path_published_again_after_it_left_is_new() {
    let mut world = kept_for(HOUR, [new_path("hello", &[])]);
    wait(&mut world, HOUR);
    world.done(expire(&["hello"]));
    world.publish([new_path("hello", &[])]);
    assert_eq!(world.done(expire(&["hello"])), Outcome::Unchanged);
    assert_eq!(
        world.path("hello").expect("it is back").store_path,
        store_path("hello")
    );
}

#[test]
fn what_is_new_about_retention_is_left_to_members_that_know_it() {
    let bodies: [Body; 3] = [
        expire(&[]).into(),
        pulled(0, &[]).into(),
        pin_until("hello", UtcTime::UNIX_EPOCH).into(),
    ];
    let level = u16::try_from(retention::FEATURE_LEVEL).expect("it fits");
    assert_eq!(bodies.map(|body| body.min_reader()), [level; 3]);
}
