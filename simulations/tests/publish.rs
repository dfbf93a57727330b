//! Commits and sessions: what becomes visible, for whom, and when a session ends.

use std::time::Duration;

use http::{Method, StatusCode};
use tetryx_protocol::api::{CommitUploadResponse, ErrorName};
use tetryx_protocol::grant::{CachePermission, CachePermissions, Grants};
use tetryx_protocol::hash::NarHash;
use tetryx_simulations::{Machine, TestNode, TestPath, decompress, nar_url};

fn path() -> TestPath {
    TestPath::of_noise("path", 2_500_000)
}

#[tokio::test]
async fn an_uploaded_nar_is_invisible_until_it_is_committed() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    upload.send_whole(&path).await.expect(StatusCode::OK);
    node.narinfo("main", &path).await.refused(ErrorName::NoSuchObject);
    node.get(&nar_url("main", &path))
        .await
        .refused(ErrorName::NoSuchObject);
    let answer: CommitUploadResponse = upload.commit(&[&path]).await.expect(StatusCode::OK).json();
    assert_eq!((answer.published, answer.unchanged), (1, 0));
    node.narinfo("main", &path).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn two_pushes_of_one_path_change_nothing() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    node.push("main", &[&path]).await;
    let (narinfo, bytes) = (node.narinfo("main", &path).await.body, node.pack_bytes());
    let upload = node.upload("main").await;
    upload.send_whole(&path).await.expect(StatusCode::OK);
    let answer: CommitUploadResponse = upload.commit(&[&path]).await.expect(StatusCode::OK).json();
    assert_eq!((answer.published, answer.unchanged), (0, 1));
    assert_eq!(
        (node.narinfo("main", &path).await.body, node.pack_bytes()),
        (narinfo, bytes)
    );
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_can_be_repeated_in_any_session() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let upload = node.upload("main").await;
    upload.send_whole(&path).await.expect(StatusCode::OK);
    for published in [1, 0] {
        let answer: CommitUploadResponse = upload.commit(&[&path]).await.expect(StatusCode::OK).json();
        assert_eq!((answer.published, answer.unchanged), (published, 1 - published));
    }
    let other = node.upload("main").await;
    let answer: CommitUploadResponse = other.commit(&[&path]).await.expect(StatusCode::OK).json();
    assert_eq!((answer.published, answer.unchanged), (0, 1));
}

#[tokio::test]
async fn references_must_be_in_the_cache_or_in_the_commit() {
    let node = TestNode::with_cache(true).await;
    let lib = TestPath::new("lib", b"lib");
    let app = TestPath::new("app", b"app").referring_to(&[&lib]);
    let upload = node.upload("main").await;
    upload.send_whole(&app).await.expect(StatusCode::OK);
    let message = upload.commit(&[&app]).await.refused(ErrorName::MissingReferences);
    assert!(message.contains(&lib.store_path.to_string()), "{message}");
    node.narinfo("main", &app).await.refused(ErrorName::NoSuchObject);

    upload.send_whole(&lib).await.expect(StatusCode::OK);
    upload.commit(&[&lib]).await.expect(StatusCode::OK);
    upload.commit(&[&app]).await.expect(StatusCode::OK);
    node.narinfo("main", &app).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn what_an_upstream_cache_has_may_be_missing_here() {
    let node = TestNode::with_cache(true).await;
    let glibc = TestPath::new("glibc", b"");
    let app = TestPath::new("app", b"app").referring_to(&[&glibc]);
    let upload = node.upload("main").await;
    upload.send_whole(&app).await.expect(StatusCode::OK);
    upload
        .commit_with(&[&app], &[&glibc])
        .await
        .refused(ErrorName::MissingReferences);
    let change = serde_json::json!({ "upstream_cache_key_names": ["cache.nixos.org-1"] });
    node.ask_json(Method::PATCH, "/api/v1/caches/main", &node.root, &change)
        .await
        .expect(StatusCode::OK);
    upload
        .commit_with(&[&app], &[&glibc])
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn knowing_the_hash_of_a_nar_is_not_having_it() {
    let (node, path) = (TestNode::with_cache(false).await, path());
    node.create_cache("mine", true).await;
    node.push("main", &[&path]).await;
    let upload = node.upload("mine").await;
    let message = upload.commit(&[&path]).await.refused(ErrorName::NoSuchObject);
    assert!(message.contains("was not uploaded in this session"), "{message}");
}

#[tokio::test]
async fn another_nar_for_a_path_that_is_there_is_refused() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    node.push("main", &[&path]).await;
    let mut other = path.clone();
    other.nar = tetryx_simulations::file_nar(b"a build that is not reproducible");
    let upload = node.upload("main").await;
    upload.send_whole(&other).await.expect(StatusCode::OK);
    let answer = upload.commit(&[&other]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert_eq!(
        decompress(&node.get(&nar_url("main", &path)).await.body),
        path.nar
    );
}

#[tokio::test]
async fn malformed_commits_are_refused_with_a_json_error() {
    let node = TestNode::with_cache(true).await;
    let upload = node.upload("main").await;
    let url = upload.path("/commit");
    let nar = NarHash::of(b"").to_string();
    let path = |text: &str| serde_json::json!({ "paths": [{ "store_path": text, "nar_hash": nar }] });
    let bodies = [
        serde_json::json!({ "paths": [] }),
        serde_json::json!({}),
        serde_json::json!({ "paths": [{}] }),
        serde_json::json!([]),
        path("/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-absolute"),
        path("../aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-up"),
        path("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-letters"),
        path("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        serde_json::json!({ "paths": [{ "store_path": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x", "nar_hash": "sha256:no" }] }),
    ];
    for body in bodies {
        let answer = node.ask_json(Method::POST, &url, &node.root, &body).await;
        answer.refused(ErrorName::BadRequest);
    }
    let broken = tetryx_simulations::request(Method::POST, &url, Some(&node.root))
        .header("content-type", "application/json");
    node.send(broken.body("{\"paths\":".into()).unwrap())
        .await
        .refused(ErrorName::BadRequest);
}

#[tokio::test]
async fn a_commit_of_more_paths_than_fit_one_command_is_split_dependencies_first() {
    let node = TestNode::with_cache(true).await;
    let upload = node.upload("main").await;
    let content = TestPath::new("shared", b"one NAR for all of them");
    upload.send_whole(&content).await.expect(StatusCode::OK);
    let mut paths: Vec<TestPath> = Vec::new();
    for number in 0..5_000 {
        let mut path = content.clone();
        path.store_path = TestPath::new(&format!("path-{number}"), b"").store_path;
        path.references = paths
            .last()
            .map(|before| before.store_path.clone())
            .into_iter()
            .collect();
        paths.push(path);
    }
    let mut reversed: Vec<&TestPath> = paths.iter().collect();
    reversed.reverse();
    let answer: CommitUploadResponse = upload.commit(&reversed).await.expect(StatusCode::OK).json();
    assert_eq!(answer.published, 5_000);
    node.narinfo("main", &paths[4_999]).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn two_clients_push_one_path_at_once_and_both_succeed() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let (one, two) = (node.upload("main").await, node.upload("main").await);
    let push = async |upload: &tetryx_simulations::Upload<'_>| {
        upload.send_missing(&path).await.expect(StatusCode::OK);
        upload
            .commit(&[&path])
            .await
            .expect(StatusCode::OK)
            .json::<CommitUploadResponse>()
    };
    let (one, two) = tokio::join!(push(&one), push(&two));
    assert_eq!(
        (one.published + two.published, one.unchanged + two.unchanged),
        (1, 1)
    );
    assert_eq!(
        decompress(&node.get(&nar_url("main", &path)).await.body),
        path.nar
    );
}

#[tokio::test]
async fn a_session_ends_when_its_client_says_so_or_forgets_it() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let (ended, forgotten, used) = (
        node.upload("main").await,
        node.upload("main").await,
        node.upload("main").await,
    );
    ended.end().await.expect(StatusCode::NO_CONTENT);
    ended.end().await.refused(ErrorName::NoSuchUpload);
    ended.send_whole(&path).await.refused(ErrorName::NoSuchUpload);
    let ttl = node.node.config().uploads.session_ttl;
    for _ in 0..3 {
        node.machine.clock.turn(ttl / 2);
        used.missing(&[]).await;
    }
    forgotten.commit(&[&path]).await.refused(ErrorName::NoSuchUpload);
    used.send_whole(&path).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn sessions_are_limited_in_number() {
    let machine = Machine::new(|config| config.uploads.sessions_max = 2);
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let first = node.upload("main").await;
    let _second = node.upload("main").await;
    let start = "/api/v1/caches/main/uploads";
    node.ask(Method::POST, start, &node.root)
        .await
        .refused(ErrorName::NotReady);
    first.end().await.expect(StatusCode::NO_CONTENT);
    node.ask(Method::POST, start, &node.root)
        .await
        .expect(StatusCode::CREATED);
    machine.clock.turn(Duration::from_secs(24 * 3600));
    let root = node
        .node
        .issue_token("test", "root".into(), Duration::from_secs(60), Grants::admin())
        .await
        .unwrap()
        .0;
    node.ask(Method::POST, start, &root)
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn only_who_may_push_to_a_cache_may_use_its_sessions() {
    let (node, path) = (TestNode::with_cache(true).await, path());
    let grants = |pattern: &str, permission| Grants {
        caches: [(
            pattern.parse().expect("a pattern"),
            CachePermissions::NONE.with(permission),
        )]
        .into(),
        ..Grants::default()
    };
    let puller = node.token(grants("main", CachePermission::Pull)).await;
    let pusher = node.token(grants("main", CachePermission::Push)).await;
    let start = "/api/v1/caches/main/uploads";
    node.ask(Method::POST, start, &puller)
        .await
        .refused(ErrorName::AccessError);
    node.ask(Method::POST, start, "not a token")
        .await
        .refused(ErrorName::Unauthorized);
    node.ask(Method::POST, "/api/v1/caches/nope/uploads", &pusher)
        .await
        .refused(ErrorName::NoSuchCache);
    node.ask(Method::POST, "/api/v1/caches/no%2Fpe/uploads", &pusher)
        .await
        .refused(ErrorName::InvalidCacheName);

    let upload = node.upload("main").await;
    let commit = serde_json::json!({ "paths": [path.upload()] });
    let refused = node
        .ask_json(Method::POST, &upload.path("/commit"), &puller, &commit)
        .await;
    refused.refused(ErrorName::AccessError);
    for id in ["", "x", "00", &"0".repeat(32), "../tokens"] {
        let answer = node
            .ask_json(
                Method::POST,
                &format!("/api/v1/uploads/{id}/commit"),
                &pusher,
                &commit,
            )
            .await;
        assert!(answer.status.is_client_error(), "{id}: {answer:?}");
    }
    let put = upload.path("/nars/not-a-hash?nar_size=5");
    node.ask(Method::PUT, &put, &node.root)
        .await
        .refused(ErrorName::BadRequest);
    let put = upload.path(&format!("/nars/{}?nar_size=-5", path.nar_hash()));
    node.ask(Method::PUT, &put, &node.root)
        .await
        .refused(ErrorName::BadRequest);
}
