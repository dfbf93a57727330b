//! Cut off: a node without the cluster takes pushes, serves them as provisional, and hands them over.
//!
//! The founder is the only voter, so a member that does not reach it cannot ask the cluster.

use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_protocol::api::{
    CommitUploadResponse, ErrorName, MissingPathsResponse, OutboxCounts, OutboxReport, OutboxState,
    StatusResponse,
};
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};
use tetryx_raft::ReadLevel;
use tetryx_simulations::{Cluster, TestNode, TestPath, decompress, nar_url, noise};
use tetryx_state::command::RevokeToken;
use tetryx_state::query;
use tetryx_store::disk::Survivors;

/// A founder and a member, with a public cache called `main`.
async fn cluster() -> Cluster {
    let cluster = Cluster::of(2).await;
    cluster.node(0).create_cache("main", true).await;
    cluster.settle().await;
    cluster
}

fn cut(cluster: &Cluster) {
    cluster.hub.cut(cluster.id(0), cluster.id(1));
}

async fn send(node: &TestNode, token: &str, paths: &[&TestPath]) -> tetryx_simulations::Answer {
    let upload = tetryx_simulations::Upload::start(node, "main", token).await;
    for path in paths {
        upload.send_missing(path).await.expect(StatusCode::OK);
    }
    let answer = upload.commit(paths).await;
    upload.end().await.expect(StatusCode::NO_CONTENT);
    answer
}

/// Pushes to a node that is cut off.
async fn push_apart(node: &TestNode, paths: &[&TestPath]) {
    let answer: CommitUploadResponse = send(node, &node.root, paths).await.expect(StatusCode::OK).json();
    assert_eq!((answer.published, answer.provisional), (0, paths.len() as u64));
}

async fn report(node: &TestNode) -> OutboxReport {
    node.ask(Method::GET, "/api/v1/outbox", &node.root)
        .await
        .expect(StatusCode::OK)
        .json()
}

/// What became of a path.
async fn fate(node: &TestNode, path: &TestPath) -> OutboxState {
    let report = report(node).await;
    let mut entries = report.entries.into_iter();
    let found = entries.find(|entry| entry.store_path == path.store_path);
    found.expect("the path is in the report").state
}

async fn assert_serves(node: &TestNode, path: &TestPath, provisional: bool) {
    let expected = if provisional { "1" } else { "" };
    let narinfo = node.narinfo("main", path).await.expect(StatusCode::OK);
    assert_eq!(narinfo.header("tetryx-provisional"), expected);
    assert!(narinfo.text().contains("Sig: main"), "{}", narinfo.text());
    let nar = node.get(&nar_url("main", path)).await.expect(StatusCode::OK);
    assert_eq!(nar.header("tetryx-provisional"), expected);
    assert_eq!(decompress(&nar.body), path.nar);
}

async fn assert_absent(node: &TestNode, path: &TestPath) {
    node.narinfo("main", path).await.refused(ErrorName::NoSuchObject);
    let nar = node.get(&nar_url("main", path)).await;
    assert_eq!(nar.status, StatusCode::NOT_FOUND);
}

async fn drain(cluster: &Cluster) {
    let drained = cluster
        .node(1)
        .node
        .drain_outbox()
        .await
        .expect("the outbox works");
    assert_eq!(drained.waiting, 0, "{drained:?}");
    cluster.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_the_cluster_takes_a_push_and_serves_it_as_provisional() {
    let cluster = cluster().await;
    let lib = TestPath::of_noise("lib", 400_000);
    let app = TestPath::of_noise("app", 300_000).referring_to(&[&lib]);
    cut(&cluster);
    let node = cluster.node(1);
    push_apart(node, &[&app, &lib]).await;

    assert_serves(node, &lib, true).await;
    assert_serves(node, &app, true).await;
    assert_absent(cluster.node(0), &lib).await;
    let part = node
        .get_with(&nar_url("main", &lib), &[("range", "bytes=5-9")])
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    let listing = node.get(&format!("/main/{}.ls", lib.hash())).await;
    assert_eq!(listing.status, StatusCode::OK);

    let ask = serde_json::json!({ "store_path_hashes": [lib.hash(), TestPath::of_noise("other", 5).hash()] });
    let url = "/api/v1/caches/main/missing-paths";
    let missing: MissingPathsResponse = node
        .ask_json(Method::POST, url, &node.root, &ask)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(missing.missing, [TestPath::of_noise("other", 5).hash()]);

    let status: StatusResponse = node
        .ask(Method::GET, "/api/v1/status", &node.root)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(status.outbox.waiting, 2);
    assert_eq!(fate(node, &lib).await, OutboxState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_is_handed_over_when_the_cluster_is_back() {
    let cluster = cluster().await;
    let paths: Vec<_> = (0..5)
        .map(|number| TestPath::of_noise(&format!("path-{number}"), 100_000 + number))
        .collect();
    cut(&cluster);
    for path in &paths {
        push_apart(cluster.node(1), &[path]).await;
    }
    let apart = cluster
        .node(1)
        .node
        .drain_outbox()
        .await
        .expect("the outbox works");
    assert_eq!((apart.decided, apart.waiting), (0, 5), "nobody can be asked yet");

    cluster.hub.heal_all();
    drain(&cluster).await;
    for path in &paths {
        assert_serves(cluster.node(0), path, false).await;
        assert_serves(cluster.node(1), path, false).await;
        assert!(matches!(
            fate(cluster.node(1), path).await,
            OutboxState::Applied { .. }
        ));
    }
    let counts = OutboxCounts {
        applied: 5,
        ..OutboxCounts::default()
    };
    assert_eq!(report(cluster.node(1)).await.counts, counts);
}

#[tokio::test(start_paused = true)]
async fn by_itself_a_node_hands_over_what_it_took() {
    let cluster = cluster().await;
    let path = TestPath::of_noise("path", 100_000);
    cut(&cluster);
    push_apart(cluster.node(1), &[&path]).await;
    cluster.node(1).node.start_tasks();
    cluster.hub.heal_all();
    while cluster.node(0).narinfo("main", &path).await.status != StatusCode::OK {
        let replica = cluster.node(0).node.replica();
        replica
            .wait_applied(replica.applied_index() + 1)
            .await
            .expect("it runs");
    }
}

#[tokio::test(start_paused = true)]
async fn each_path_is_told_whether_it_was_applied_a_duplicate_or_refused() {
    let cluster = cluster().await;
    let same = TestPath::of_noise("same", 100_000);
    let mut ours = TestPath::of_noise("contested", 100_000);
    let theirs = ours.clone();
    ours.nar = TestPath::of_noise("other-content", 90_000).nar;
    let fresh = TestPath::of_noise("fresh", 100_000);
    let dependent = TestPath::of_noise("dependent", 100_000).referring_to(&[&ours]);
    cut(&cluster);
    push_apart(cluster.node(1), &[&same, &ours, &fresh, &dependent]).await;
    let alone = TestPath::of_noise("alone", 100_000);
    push_apart(cluster.node(1), &[&alone]).await;
    // Meanwhile, elsewhere. A founder alone needs no copies before it answers.
    cluster.hub.heal_all();
    cluster.node(0).push("main", &[&same, &theirs, &alone]).await;
    cluster.settle().await;

    drain(&cluster).await;
    let node = cluster.node(1);
    assert!(matches!(fate(node, &same).await, OutboxState::Duplicate { .. }));
    assert!(matches!(fate(node, &alone).await, OutboxState::Duplicate { .. }));
    assert!(matches!(fate(node, &fresh).await, OutboxState::Applied { .. }));
    let OutboxState::Refused { reason } = fate(node, &ours).await else {
        panic!("the cluster has other content");
    };
    assert!(reason.contains("with another content"), "{reason}");
    // It refers to a path by name, and the cluster has one of that name.
    assert!(matches!(
        fate(node, &dependent).await,
        OutboxState::Applied { .. }
    ));
    assert_serves(node, &theirs, false).await;
    let counts = report(node).await.counts;
    assert_eq!((counts.applied, counts.duplicate, counts.refused), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_would_be_refused_is_refused_at_once() {
    let cluster = cluster().await;
    let known = TestPath::of_noise("known", 100_000);
    cluster.node(0).push("main", &[&known]).await;
    cluster.settle().await;
    cut(&cluster);
    let node = cluster.node(1);
    let lib = TestPath::of_noise("lib", 100_000);
    let app = TestPath::of_noise("app", 100_000).referring_to(&[&lib]);
    send(node, &node.root, &[&app])
        .await
        .refused(ErrorName::MissingReferences);
    let mut other = known.clone();
    other.nar = lib.nar.clone();
    send(node, &node.root, &[&other])
        .await
        .refused(ErrorName::PathConflict);
    assert_eq!(report(node).await.counts, OutboxCounts::default());

    push_apart(node, &[&lib]).await;
    push_apart(node, &[&app]).await;
    let mut again = lib.clone();
    again.nar = known.nar.clone();
    send(node, &node.root, &[&again])
        .await
        .refused(ErrorName::PathConflict);
}

#[tokio::test(start_paused = true)]
async fn a_push_that_belongs_to_what_waits_goes_behind_it() {
    let cluster = cluster().await;
    let lib = TestPath::of_noise("lib", 100_000);
    let app = TestPath::of_noise("app", 100_000).referring_to(&[&lib]);
    let other = TestPath::of_noise("other", 100_000);
    cut(&cluster);
    push_apart(cluster.node(1), &[&lib]).await;
    cluster.hub.heal_all();
    push_apart(cluster.node(1), &[&app]).await;
    let answer: CommitUploadResponse = send(cluster.node(1), &cluster.node(1).root, &[&other])
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!((answer.published, answer.provisional), (1, 0));
    drain(&cluster).await;
    assert_serves(cluster.node(0), &app, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_repeated_finds_what_waits() {
    let cluster = cluster().await;
    let path = TestPath::of_noise("path", 100_000);
    cut(&cluster);
    push_apart(cluster.node(1), &[&path]).await;
    let upload = cluster.node(1).upload("main").await;
    let answer: CommitUploadResponse = upload.commit(&[&path]).await.expect(StatusCode::OK).json();
    assert_eq!(answer.provisional, 1);
    assert_eq!(report(cluster.node(1)).await.counts.waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_answer_was_lost_is_not_applied_twice() {
    let cluster = Cluster::with(2, |_, config| config.replication.write_replicas = 1).await;
    cluster.node(0).create_cache("main", true).await;
    cluster.settle().await;
    let path = TestPath::of_noise("path", 100_000);
    // It knows that the cluster is there, as far as it can tell.
    let replica = cluster.node(1).node.replica();
    replica
        .read(ReadLevel::Strong)
        .await
        .expect("the founder answers");
    // The founder gets the proposal, and its answer never comes.
    cluster.hub.cut_one_way(cluster.id(0), cluster.id(1));
    push_apart(cluster.node(1), &[&path]).await;
    assert!(is_published(cluster.node(0), &path));
    // Somebody deletes it, before the node is back.
    cluster.node(0).delete(&path).await;
    cluster.hub.heal_all();
    drain(&cluster).await;
    assert!(matches!(
        fate(cluster.node(1), &path).await,
        OutboxState::Applied { .. }
    ));
    assert_absent(cluster.node(0), &path).await;
    assert_absent(cluster.node(1), &path).await;
}

fn is_published(node: &TestNode, path: &TestPath) -> bool {
    let view = node.node.replica().view().expect("the replica runs");
    let found = query::path(&view, &"main".parse().unwrap(), &path.hash());
    found.expect("the state is read").is_some()
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_only_copy_is_damaged_is_reported_and_keeps_nobody_back() {
    // Given two paths of one push that wait, and a byte of the first one's that the disk has lost
    let cluster = cluster().await;
    let damaged = TestPath::of_noise("damaged", 400_000);
    let sound = TestPath::of_noise("sound", 300_000);
    cut(&cluster);
    push_apart(cluster.node(1), &[&damaged, &sound]).await;
    let disk = cluster.disk(1);
    let (name, at) = place_of(disk, &damaged.nar[200_000..200_064]);
    disk.flip_bit(&name, at, 3);

    // When the cluster is back
    cluster.hub.heal_all();
    let node = &cluster.node(1).node;
    node.replica().wait_caught_up().await.expect("it runs");
    while node.drain_outbox().await.expect("the outbox works").waiting > 0 {}

    // Then the one is in the cluster, and the other is reported, with what to do
    cluster.settle().await;
    assert!(matches!(
        fate(cluster.node(1), &sound).await,
        OutboxState::Applied { .. }
    ));
    let OutboxState::Refused { reason } = fate(cluster.node(1), &damaged).await else {
        panic!("it cannot be handed over");
    };
    assert!(reason.contains("push it again"), "{reason}");
    assert_serves(cluster.node(0), &sound, false).await;
    assert_absent(cluster.node(0), &damaged).await;
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_bytes_are_damaged_here_and_published_by_others_waits_for_them() {
    // Given a path that waits at one node, and that another node has published in another cache
    let cluster = Cluster::with(3, |number, config| {
        (config.replication.copies, config.replication.write_replicas) =
            if number == 2 { (3, 2) } else { (1, 1) };
    })
    .await;
    cluster.node(0).create_cache("main", true).await;
    cluster.node(0).create_cache("other", true).await;
    cluster.settle().await;
    let mut paths = (0..).map(|number| TestPath::of_noise(&format!("path-{number}"), 400_000));
    let path = paths
        .find(|path| cluster.holders(&path.nar_hash(), 1) == [2])
        .expect("one of them");
    let alone = |place: usize| {
        for other in (0..3).filter(|other| *other != place) {
            cluster.hub.cut(cluster.id(place), cluster.id(other));
        }
    };
    alone(1);
    push_apart(cluster.node(1), &[&path]).await;
    cluster.node(2).push("other", &[&path]).await;
    let disk = cluster.disk(1);
    let (name, at) = place_of(disk, &path.nar[200_000..200_064]);
    disk.flip_bit(&name, at, 3);

    // When it can ask the cluster, and not the one that has the bytes
    cluster.hub.heal_all();
    alone(2);
    let node = &cluster.node(1).node;
    node.replica().wait_caught_up().await.expect("it runs");
    let drained = node.drain_outbox().await.expect("the outbox works");

    // Then it waits
    assert_eq!(fate(cluster.node(1), &path).await, OutboxState::Waiting);
    assert_eq!((drained.waiting, drained.decided), (1, 0));

    // And is in the cluster as soon as the other one is back
    cluster.hub.heal_all();
    while node.drain_outbox().await.expect("the outbox works").waiting > 0 {}
    cluster.settle().await;
    assert!(matches!(
        fate(cluster.node(1), &path).await,
        OutboxState::Applied { .. }
    ));
    assert_serves(cluster.node(0), &path, false).await;
}

/// Where some bytes lie on a disk.
fn place_of(disk: &tetryx_store::disk::MemoryDisk, bytes: &[u8]) -> (String, u64) {
    let names = tetryx_store::disk::Disk::list(disk).expect("the disk works");
    let mut packs = names.into_iter().filter(|name| name.starts_with("chunks/"));
    let found = packs.find_map(|name| {
        let content = disk.content(&name)?;
        let at = content.windows(bytes.len()).position(|window| window == bytes)?;
        Some((name, at as u64))
    });
    found.expect("noise is stored as it is")
}

#[tokio::test(start_paused = true)]
async fn a_collection_leaves_what_waits() {
    let cluster = cluster().await;
    let path = TestPath::of_noise("path", 700_000);
    cut(&cluster);
    push_apart(cluster.node(1), &[&path]).await;
    let clock = &cluster.node(0).machine.clock;
    clock.turn(Duration::from_secs(30 * 24 * 3600));
    cluster.node(1).node.collect_once().await.expect("a collection");
    assert_serves(cluster.node(1), &path, true).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_pushed_with_a_token_that_was_revoked_meanwhile_is_refused() {
    let cluster = cluster().await;
    let grants = Grants {
        caches: [(
            "main".parse().unwrap(),
            CachePermissions::NONE.with(CachePermission::Push),
        )]
        .into(),
        ..Grants::default()
    };
    let token = cluster.node(0).token(grants).await;
    cluster.settle().await;
    let path = TestPath::of_noise("path", 100_000);
    cut(&cluster);
    send(cluster.node(1), &token, &[&path])
        .await
        .expect(StatusCode::OK);
    let view = cluster.node(0).node.replica().view().unwrap();
    let tokens = query::tokens(&view).unwrap();
    let (id, _) = tokens
        .iter()
        .find(|(_, record)| record.subject == "somebody")
        .expect("the token is registered");
    cluster
        .node(0)
        .node
        .propose("test", RevokeToken { token: *id })
        .await
        .expect("it is revoked");
    cluster.hub.heal_all();
    cluster.settle().await;
    drain(&cluster).await;
    let OutboxState::Refused { reason } = fate(cluster.node(1), &path).await else {
        panic!("its token was revoked");
    };
    assert!(
        reason.starts_with("the token it was pushed with was revoked"),
        "{reason}"
    );
    assert_absent(cluster.node(1), &path).await;
}

#[tokio::test(start_paused = true)]
async fn the_report_shows_only_what_its_reader_may_discover() {
    let cluster = cluster().await;
    let path = TestPath::of_noise("path", 100_000);
    let stranger = cluster.node(0).token(Grants::default()).await;
    cluster.settle().await;
    cut(&cluster);
    push_apart(cluster.node(1), &[&path]).await;
    let shown: OutboxReport = cluster
        .node(1)
        .ask(Method::GET, "/api/v1/outbox", &stranger)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(shown.entries, []);
    let nobody = cluster.node(1).get("/api/v1/outbox").await;
    nobody.refused(ErrorName::Unauthorized);
}

/// At how many moments the power fails.
const MOMENTS: u64 = 12;

/// One moment at random in each of [`MOMENTS`] equal parts of so many disk operations.
fn moments(operations: u64) -> impl Iterator<Item = (u64, Survivors)> {
    (0..MOMENTS).map(move |number| {
        let random = u64::from_le_bytes(noise(number + 1, 8).try_into().expect("eight bytes"));
        let at = (number * operations + random % operations) / MOMENTS;
        let survivors = match number % 3 {
            0 => Survivors::Synced,
            1 => Survivors::Everything,
            _ => Survivors::Torn(random),
        };
        (at, survivors)
    })
}

/// A member that is cut off, and knows its cache whatever happens to its power.
async fn cut_off() -> Cluster {
    let cluster = cluster().await;
    // What was applied becomes durable within a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    cut(&cluster);
    cluster
}

fn small_paths() -> Vec<TestPath> {
    (0..3)
        .map(|number| TestPath::of_noise(&format!("path-{number}"), 50_000 + 10_000 * number))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn whatever_moment_the_power_fails_nothing_that_was_taken_is_lost() {
    let paths = small_paths();
    let cluster = cut_off().await;
    let before = cluster.disk(1).operations();
    for path in &paths {
        assert!(try_push(cluster.node(1), path).await);
    }
    let operations = cluster.disk(1).operations() - before;
    cluster.shutdown().await;
    for (at, survivors) in moments(operations) {
        let mut cluster = cut_off().await;
        cluster.disk(1).crash_at(cluster.disk(1).operations() + at);
        let mut taken = 0;
        while taken < paths.len() && try_push(cluster.node(1), &paths[taken]).await {
            taken += 1;
        }
        cluster.crash(1, survivors).await;
        for path in &paths[..taken] {
            assert_serves(cluster.node(1), path, true).await;
        }
        cluster.hub.heal_all();
        drain(&cluster).await;
        for path in &paths[..taken] {
            assert_serves(cluster.node(0), path, false).await;
        }
        cluster.shutdown().await;
    }
}

/// Pushes unless the disk fails.
async fn try_push(node: &TestNode, path: &TestPath) -> bool {
    let url = "/api/v1/caches/main/uploads";
    let started = node.ask(Method::POST, url, &node.root).await;
    if started.status != StatusCode::CREATED {
        return false;
    }
    let started: tetryx_protocol::api::StartUploadResponse = started.json();
    let url = format!(
        "/api/v1/uploads/{}/nars/{}?nar_size={}",
        started.upload,
        path.nar_hash(),
        path.nar.len()
    );
    let body = tetryx_simulations::whole_stream(&path.chunks());
    let put = tetryx_simulations::request(Method::PUT, &url, Some(&node.root));
    if node.send(put.body(body.into()).unwrap()).await.status != StatusCode::OK {
        return false;
    }
    let url = format!("/api/v1/uploads/{}/commit", started.upload);
    let commit = serde_json::json!({ "paths": [path.upload()] });
    let answer = node.ask_json(Method::POST, &url, &node.root, &commit).await;
    answer.status == StatusCode::OK
}

#[tokio::test(start_paused = true)]
async fn whatever_moment_the_power_fails_while_handing_over_each_path_is_applied_once() {
    let paths = small_paths();
    let full = async || {
        let cluster = cut_off().await;
        for path in &paths {
            push_apart(cluster.node(1), &[path]).await;
        }
        cluster.hub.heal_all();
        cluster
    };
    let cluster = full().await;
    let before = cluster.disk(1).operations();
    drain(&cluster).await;
    let operations = cluster.disk(1).operations() - before;
    cluster.shutdown().await;
    for (at, survivors) in moments(operations) {
        let mut cluster = full().await;
        cluster.disk(1).crash_at(cluster.disk(1).operations() + at);
        // It fails somewhere, or the power fails just after.
        let _ = cluster.node(1).node.drain_outbox().await;
        cluster.crash(1, survivors).await;
        drain(&cluster).await;
        for path in &paths {
            assert_serves(cluster.node(0), path, false).await;
            let fate = fate(cluster.node(1), path).await;
            assert!(
                matches!(fate, OutboxState::Applied { .. }),
                "crash at {at}, {survivors:?}: {fate:?}"
            );
        }
        cluster.shutdown().await;
    }
}
