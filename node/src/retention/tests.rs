//! Retention, pins with an end and collections as their users see them, through the router.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tetryx_protocol::api::{ErrorName, GcResponse, PathInfo, PathsPage};
use tetryx_protocol::grant::CachePermission::{ConfigureRetention, Pull, Push};
use tetryx_protocol::hash::{ChunkHash, FileHash, ManifestHash, NarHash};
use tetryx_protocol::store_path::{StorePath, StorePathHash};
use tetryx_state::command::{NewNar, NewPath, PublishPaths};

use super::tell_accesses;
use crate::testing::{TestNode, grants};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn store_path(name: &str) -> StorePath {
    let digest = *ChunkHash::of(name.as_bytes()).as_bytes();
    let hash = StorePathHash::from_bytes(digest[..20].try_into().expect("20 bytes"));
    StorePath::new(hash, name.parse().expect("a name"))
}

/// Publishes paths, each with what it refers to, as somebody does who has made their chunks durable.
async fn publish(test: &TestNode, paths: &[(&str, &[&str])]) {
    let path = |(name, references): &(&str, &[&str])| {
        let digest = *ChunkHash::of(name.as_bytes()).as_bytes();
        NewPath {
            store_path: store_path(name),
            nar_hash: NarHash::of(name.as_bytes()),
            references: references.iter().map(|name| store_path(name)).collect(),
            deriver: None,
            system: None,
            ca: None,
            signatures: Vec::new(),
            nar: NewNar {
                nar_size: 1_000,
                manifest: ManifestHash::from_bytes(digest),
                file_size: 100,
                file_hash: FileHash::from_bytes(digest),
                origin: test.node.node_id(),
            },
        }
    };
    let publish = PublishPaths {
        cache: "alpha".parse().expect("a cache name"),
        paths: paths.iter().map(path).collect(),
        upstream: Vec::new(),
    };
    test.node.propose("test", publish).await.expect("it is published");
}

/// A node with the cache `alpha`, which keeps its paths for so long.
async fn kept_for(period: Duration) -> TestNode {
    let test = TestNode::new().await;
    test.create_cache("alpha", true).await;
    let wanted = json!({ "retention_period": { "Period": period.as_secs() } });
    let answer = test
        .ask_json(Method::PATCH, "/api/v1/caches/alpha", Some(&test.root), &wanted)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    test
}

async fn gc(test: &TestNode, dry_run: bool) -> GcResponse {
    let wanted = json!({ "dry_run": dry_run });
    let answer = test
        .ask_json(Method::POST, "/api/v1/gc", Some(&test.root), &wanted)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

async fn names(test: &TestNode) -> Vec<String> {
    let page: PathsPage = test.get("/api/v1/caches/alpha/paths", None).await.json();
    let mut names: Vec<String> = page
        .paths
        .iter()
        .map(|path| path.store_path.name.to_string())
        .collect();
    names.sort();
    names
}

async fn shown(test: &TestNode, name: &str) -> PathInfo {
    let url = format!("/api/v1/caches/alpha/paths/{}", store_path(name).hash);
    test.get(&url, None).await.json()
}

fn pin_url(name: &str, query: &str) -> String {
    format!("/api/v1/caches/alpha/paths/{}/pin{query}", store_path(name).hash)
}

#[tokio::test]
async fn a_collection_lets_everything_go_whose_time_is_over_and_says_so_before() {
    let test = kept_for(Duration::from_secs(1)).await;
    publish(&test, &[("glibc", &[]), ("hello", &["glibc"])]).await;
    test.clock.turn(Duration::from_secs(1));
    let planned = gc(&test, true).await;
    assert_eq!((planned.paths, planned.nars, planned.nar_bytes), (2, 2, 200));
    assert_eq!(names(&test).await, ["glibc", "hello"], "nothing was changed");
    let done = gc(&test, false).await;
    assert_eq!((done.paths, done.nars, done.nar_bytes), (2, 2, 200));
    assert_eq!((done.nodes.len(), &done.nodes[0].error), (1, &None));
    assert_eq!(names(&test).await, Vec::<String>::new());
    let narinfo = format!("/alpha/{}.narinfo", store_path("hello").hash);
    assert_eq!(
        test.get(&narinfo, None).await.error().name(),
        Some(ErrorName::NoSuchObject)
    );
}

#[tokio::test]
async fn a_collection_is_for_administrators() {
    let test = kept_for(Duration::from_secs(1)).await;
    let token = test.token(grants("*", &[Pull, Push, ConfigureRetention])).await;
    for (token, expected) in [
        (None, ErrorName::Unauthorized),
        (Some(token.as_str()), ErrorName::AccessError),
    ] {
        let answer = test
            .ask_json(Method::POST, "/api/v1/gc", token, &json!({ "dry_run": true }))
            .await;
        assert_eq!(answer.error().name(), Some(expected));
    }
}

#[tokio::test]
async fn a_collection_asked_for_on_the_machine_lets_paths_go_as_well() {
    let test = kept_for(Duration::from_secs(1)).await;
    publish(&test, &[("hello", &[])]).await;
    test.clock.turn(Duration::from_secs(1));
    let summary = test.node.collect_once().await.expect("a collection");
    assert_eq!(
        (summary.paths_expired, summary.nars_expired, summary.expiry_failed),
        (1, 1, None)
    );
    assert_eq!(names(&test).await, Vec::<String>::new());
}

#[tokio::test]
async fn caches_without_a_period_go_by_the_configured_default() {
    let test = TestNode::with(1, |config| config.gc.default_retention = Some(2 * DAY)).await;
    test.create_cache("alpha", true).await;
    publish(&test, &[("hello", &[])]).await;
    test.clock.turn(2 * DAY);
    assert_eq!(
        gc(&test, false).await.paths,
        0,
        "the day of publication counts whole"
    );
    test.clock.turn(DAY);
    assert_eq!(gc(&test, false).await.paths, 1);
}

#[tokio::test]
async fn more_paths_than_one_command_takes_leave_in_several() {
    let test = kept_for(Duration::from_secs(1)).await;
    let all: Vec<String> = (0..2_500).map(|number| format!("p{number}")).collect();
    let first = [all[0].as_str()];
    let paths: Vec<(&str, &[&str])> = all
        .iter()
        .map(|name| (name.as_str(), if name == "p0" { &[][..] } else { &first[..] }))
        .collect();
    publish(&test, &paths).await;
    test.clock.turn(Duration::from_secs(1));
    assert_eq!(gc(&test, false).await.paths, 2_500);
}

#[tokio::test]
async fn a_pin_keeps_until_its_end_and_shows_until_then() {
    let test = kept_for(Duration::from_secs(1)).await;
    publish(&test, &[("glibc", &[]), ("hello", &["glibc"])]).await;
    let token = test.token(grants("alpha", &[ConfigureRetention])).await;
    let answer = test
        .ask(Method::PUT, &pin_url("hello", "?for_seconds=60"), Some(&token))
        .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    let pin = shown(&test, "hello").await.pin.expect("it is pinned");
    assert_eq!(pin.until.expect("it ends"), pin.at.plus(Duration::from_secs(60)));
    test.clock.turn(Duration::from_secs(59));
    assert_eq!(gc(&test, false).await.paths, 0, "what it refers to stays as well");
    test.clock.turn(Duration::from_secs(1));
    assert_eq!(gc(&test, false).await.paths, 2);
}

#[tokio::test]
async fn an_end_in_the_past_or_two_of_them_are_refused() {
    let test = kept_for(DAY).await;
    publish(&test, &[("hello", &[])]).await;
    for query in [
        "?until=2026-03-02T11:00:00.000Z",
        "?for_seconds=0",
        "?until=2027-03-02T11:00:00.000Z&for_seconds=60",
    ] {
        let answer = test
            .ask(Method::PUT, &pin_url("hello", query), Some(&test.root))
            .await;
        assert_eq!(answer.error().name(), Some(ErrorName::BadRequest), "{query}");
    }
    assert_eq!(shown(&test, "hello").await.pin, None);
}

#[tokio::test]
async fn pinning_needs_the_grant_for_retention() {
    let test = kept_for(DAY).await;
    publish(&test, &[("hello", &[])]).await;
    let pusher = test.token(grants("alpha", &[Pull, Push])).await;
    for method in [Method::PUT, Method::DELETE] {
        let answer = test.ask(method, &pin_url("hello", ""), Some(&pusher)).await;
        assert_eq!(answer.error().name(), Some(ErrorName::AccessError));
    }
}

#[tokio::test]
async fn a_push_that_relies_on_a_path_is_a_use_of_it() {
    let test = kept_for(7 * DAY).await;
    publish(&test, &[("glibc", &[]), ("other", &[])]).await;
    test.clock.turn(5 * DAY);
    let pusher = test.token(grants("alpha", &[Push])).await;
    let wanted = json!({ "store_path_hashes": [store_path("glibc").hash, store_path("new").hash] });
    let url = "/api/v1/caches/alpha/missing-paths";
    test.ask_json(Method::POST, url, Some(&pusher), &wanted).await;
    // Whoever cannot push relies on nothing.
    let puller = test.token(grants("alpha", &[Pull])).await;
    let wanted = json!({ "store_path_hashes": [store_path("other").hash] });
    test.ask_json(Method::POST, url, Some(&puller), &wanted).await;
    assert_eq!(test.node.in_memory().accesses, 1);
    let before = shown(&test, "glibc").await.last_access_day;
    tell_accesses(&test.node).await.expect("the cluster is told");
    assert_eq!(shown(&test, "glibc").await.last_access_day, before + 5);
    assert_eq!(shown(&test, "other").await.last_access_day, before);
    assert_eq!(test.node.in_memory().accesses, 0);
}

#[tokio::test]
async fn a_use_the_cluster_knows_of_costs_it_no_command() {
    let test = kept_for(7 * DAY).await;
    publish(&test, &[("glibc", &[])]).await;
    let wanted = json!({ "store_path_hashes": [store_path("glibc").hash] });
    let url = "/api/v1/caches/alpha/missing-paths";
    test.ask_json(Method::POST, url, Some(&test.root), &wanted).await;
    let index = test.node.replica().applied_index();
    tell_accesses(&test.node).await.expect("there is nothing to tell");
    assert_eq!(test.node.replica().applied_index(), index);
}
