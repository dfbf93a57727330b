//! The API as its users see it, through the router.

mod monitoring;

use http::{Method, StatusCode};
use serde_json::json;
use tetryx_protocol::api::{CacheInfo, CacheList, ErrorName, PathsPage};
use tetryx_protocol::cache::Retention;
use tetryx_protocol::grant::CachePermission::{
    Configure, ConfigureRetention, Create, Delete, Destroy, Pull, Push,
};
use tetryx_protocol::grant::Grants;

use crate::testing::{TestNode, grants};

const PATH: &str = "/api/v1/caches/alpha/paths/s66mzxpvicwk07gjbjfw9izjfa797vsw";

#[tokio::test]
async fn a_created_cache_has_a_key_named_after_it_and_attics_defaults() {
    let test = TestNode::new().await;
    let cache = test.create_cache("alpha", false).await;
    assert_eq!(cache.public_key.name().as_str(), "alpha");
    assert_eq!((cache.public, cache.priority), (false, 41));
    assert_eq!(cache.store_dir.to_string(), "/nix/store");
    assert_eq!(cache.retention_period, Retention::Default);
}

#[tokio::test]
async fn the_sealed_key_of_a_cache_signs_for_its_public_key() {
    let test = TestNode::new().await;
    let cache = test.create_cache("alpha", false).await;
    let name = "alpha".parse().unwrap();
    let record = tetryx_state::query::cache(&test.node.replica().view().unwrap(), &name)
        .unwrap()
        .unwrap();
    let key = test.node.signing_key(&record, &name).unwrap();
    assert!(cache.public_key.verify("fingerprint", &key.sign("fingerprint")));
    // And the second time it comes from memory
    assert!(std::sync::Arc::ptr_eq(
        &key,
        &test.node.signing_key(&record, &name).unwrap()
    ));
}

#[tokio::test]
async fn a_cache_can_be_created_once() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let body = json!({ "name": "alpha" });
    let answer = test
        .ask_json(Method::POST, "/api/v1/caches", Some(&test.root), &body)
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::CacheAlreadyExists));
}

#[tokio::test]
async fn creating_needs_a_token_that_grants_it_for_that_name() {
    let test = TestNode::new().await;
    let body = json!({ "name": "alpha" });
    let answer = test.ask_json(Method::POST, "/api/v1/caches", None, &body).await;
    assert_eq!(answer.error().name(), Some(ErrorName::Unauthorized));
    let other = test.token(grants("beta-*", &[Create])).await;
    let answer = test
        .ask_json(Method::POST, "/api/v1/caches", Some(&other), &body)
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::AccessError));
    let right = test.token(grants("al*", &[Create])).await;
    let answer = test
        .ask_json(Method::POST, "/api/v1/caches", Some(&right), &body)
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}

#[tokio::test]
async fn a_private_cache_looks_like_none_to_those_without_a_grant() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let stranger = test
        .token(grants("beta", &[Pull, Push, Configure, Destroy]))
        .await;
    for token in [None, Some(stranger.as_str())] {
        let mut answers = Vec::new();
        for cache in ["alpha", "missing"] {
            let base = format!("/api/v1/caches/{cache}");
            let shown = test.get(&base, token).await;
            let patched = test
                .ask_json(Method::PATCH, &base, token, &json!({ "public": true }))
                .await;
            let destroyed = test.ask(Method::DELETE, &base, token).await;
            let listed = test.get(&format!("{base}/paths"), token).await;
            let wanted = json!({ "store_path_hashes": [] });
            let missing = test
                .ask_json(Method::POST, &format!("{base}/missing-paths"), token, &wanted)
                .await;
            let all = [shown, patched, destroyed, listed, missing];
            assert!(
                all.iter()
                    .all(|answer| answer.error().name() == Some(ErrorName::NoSuchCache)),
                "{all:?}"
            );
            answers.push(all.map(|answer| answer.text().replace(cache, "X")));
        }
        assert_eq!(answers[0], answers[1]);
    }
}

#[tokio::test]
async fn whoever_may_discover_a_cache_is_told_what_is_lacking() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let puller = test.token(grants("alpha", &[Pull])).await;
    assert_eq!(
        test.get("/api/v1/caches/alpha", Some(&puller)).await.status,
        StatusCode::OK
    );
    let refused = [
        test.ask_json(
            Method::PATCH,
            "/api/v1/caches/alpha",
            Some(&puller),
            &json!({ "public": true }),
        )
        .await,
        test.ask(Method::DELETE, "/api/v1/caches/alpha", Some(&puller))
            .await,
        test.ask(Method::DELETE, PATH, Some(&puller)).await,
        test.ask(Method::PUT, &format!("{PATH}/pin"), Some(&puller)).await,
    ];
    for answer in refused {
        assert_eq!(answer.error().name(), Some(ErrorName::AccessError), "{answer:?}");
    }
}

#[tokio::test]
async fn a_public_cache_is_shown_to_everybody_but_changed_by_few() {
    let test = TestNode::new().await;
    test.create_cache("alpha", true).await;
    assert_eq!(
        test.get("/api/v1/caches/alpha", None).await.status,
        StatusCode::OK
    );
    assert_eq!(
        test.get("/api/v1/caches/alpha/paths", None).await.status,
        StatusCode::OK
    );
    let answer = test
        .ask_json(
            Method::PATCH,
            "/api/v1/caches/alpha",
            None,
            &json!({ "public": false }),
        )
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::AccessError));
}

#[tokio::test]
async fn the_list_shows_what_the_caller_may_discover() {
    let test = TestNode::new().await;
    test.create_cache("private", false).await;
    test.create_cache("public", true).await;
    let names = async |token: Option<&str>| -> Vec<String> {
        let list: CacheList = test.get("/api/v1/caches", token).await.json();
        list.caches.iter().map(|cache| cache.name.to_string()).collect()
    };
    assert_eq!(names(None).await, ["public"]);
    assert_eq!(
        names(Some(&test.token(grants("priv*", &[Push])).await)).await,
        ["private", "public"]
    );
    assert_eq!(names(Some(&test.root)).await, ["private", "public"]);
}

#[tokio::test]
async fn configuring_touches_only_what_is_given() {
    let test = TestNode::new().await;
    let before = test.create_cache("alpha", false).await;
    let patch = async |body| -> CacheInfo {
        test.ask_json(Method::PATCH, "/api/v1/caches/alpha", Some(&test.root), &body)
            .await
            .json()
    };
    let kept = patch(json!({ "retention_period": { "Period": 3600 } })).await;
    assert_eq!(
        kept,
        CacheInfo {
            retention_period: Retention::Period { seconds: 3600 },
            ..before.clone()
        }
    );
    // Making it public leaves the retention alone
    let public = patch(json!({ "public": true })).await;
    assert_eq!(
        public,
        CacheInfo {
            public: true,
            ..kept.clone()
        }
    );
    let all = patch(json!({ "priority": 30, "upstream_cache_key_names": ["cache.nixos.org-1"] })).await;
    assert_eq!(
        (all.priority, all.upstream_cache_key_names.len(), all.public),
        (30, 1, true)
    );
    let reset = patch(json!({ "retention_period": "Global" })).await;
    assert_eq!(
        reset,
        CacheInfo {
            retention_period: Retention::Default,
            ..all
        }
    );
}

#[tokio::test]
async fn a_new_key_pair_replaces_the_old_one_under_the_same_name() {
    let test = TestNode::new().await;
    let before = test.create_cache("alpha", false).await;
    let body = json!({ "regenerate_keypair": true });
    let after: CacheInfo = test
        .ask_json(Method::PATCH, "/api/v1/caches/alpha", Some(&test.root), &body)
        .await
        .json();
    assert_ne!(after.public_key, before.public_key);
    assert_eq!(after.public_key.name(), before.public_key.name());
}

#[tokio::test]
async fn retention_has_a_permission_of_its_own() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let keeper = test.token(grants("alpha", &[ConfigureRetention])).await;
    let editor = test.token(grants("alpha", &[Configure])).await;
    let patch = async |token: &str, body| {
        test.ask_json(Method::PATCH, "/api/v1/caches/alpha", Some(token), &body)
            .await
            .status
    };
    let (retention, public) = (
        json!({ "retention_period": { "Period": 60 } }),
        json!({ "public": true }),
    );
    assert_eq!(patch(&keeper, retention.clone()).await, StatusCode::OK);
    assert_eq!(patch(&keeper, public.clone()).await, StatusCode::FORBIDDEN);
    assert_eq!(patch(&editor, public).await, StatusCode::OK);
    assert_eq!(patch(&editor, retention).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_change_of_nothing_is_refused() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let answer = test
        .ask_json(
            Method::PATCH,
            "/api/v1/caches/alpha",
            Some(&test.root),
            &json!({}),
        )
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::BadRequest));
}

#[tokio::test]
async fn a_destroyed_cache_is_gone() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let token = test.token(grants("alpha", &[Destroy])).await;
    assert_eq!(
        test.ask(Method::DELETE, "/api/v1/caches/alpha", Some(&token))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        test.get("/api/v1/caches/alpha", Some(&test.root)).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_empty_cache_lists_no_paths_and_lacks_whatever_is_asked() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let page: PathsPage = test
        .get("/api/v1/caches/alpha/paths", Some(&test.root))
        .await
        .json();
    assert_eq!(
        page,
        PathsPage {
            paths: Vec::new(),
            next: None
        }
    );
    let pusher = test.token(grants("alpha", &[Push])).await;
    let body = json!({ "store_path_hashes": ["s66mzxpvicwk07gjbjfw9izjfa797vsw"] });
    let answer = test
        .ask_json(
            Method::POST,
            "/api/v1/caches/alpha/missing-paths",
            Some(&pusher),
            &body,
        )
        .await;
    assert_eq!(
        answer.json::<serde_json::Value>()["missing"],
        body["store_path_hashes"]
    );
}

#[tokio::test]
async fn a_path_that_is_not_there_is_no_such_object() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    let token = test
        .token(grants("alpha", &[Pull, Delete, ConfigureRetention]))
        .await;
    for answer in [
        test.get(PATH, Some(&token)).await,
        test.ask(Method::DELETE, PATH, Some(&token)).await,
        test.ask(Method::PUT, &format!("{PATH}/pin"), Some(&token)).await,
    ] {
        assert_eq!(answer.error().name(), Some(ErrorName::NoSuchObject), "{answer:?}");
    }
}

#[tokio::test]
async fn a_page_has_a_sensible_size() {
    let test = TestNode::new().await;
    test.create_cache("alpha", true).await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "after=short",
        "before=x",
    ] {
        let answer = test
            .get(&format!("/api/v1/caches/alpha/paths?{query}"), None)
            .await;
        assert_eq!(answer.error().name(), Some(ErrorName::BadRequest), "{query}");
    }
}

#[tokio::test]
async fn endpoints_are_those_the_client_asked_for_or_the_configured_ones() {
    let test = TestNode::new().await;
    test.create_cache("alpha", true).await;
    let ask = async |test: &TestNode, host: &str| -> CacheInfo {
        let request = http::Request::get("/api/v1/caches/alpha").header("host", host);
        test.send(request.body(axum::body::Body::empty()).unwrap())
            .await
            .json()
    };
    let info = ask(&test, "station.local:8080").await;
    assert_eq!(info.substituter_endpoint, "http://station.local:8080/alpha");
    assert_eq!(info.api_endpoint, "http://station.local:8080/");
    for nonsense in ["user@evil", "a b", "a/../b", ""] {
        assert_eq!(
            ask(&test, nonsense).await.api_endpoint,
            "http://localhost:8080/",
            "{nonsense}"
        );
    }
    let behind_proxy = TestNode::with(1, |config| {
        config.http.public_url = Some("https://cache.example.org/".to_owned());
    })
    .await;
    behind_proxy.create_cache("alpha", true).await;
    let info = ask(&behind_proxy, "10.0.0.1:8080").await;
    assert_eq!(info.substituter_endpoint, "https://cache.example.org/alpha");
}

#[tokio::test]
async fn a_change_says_at_which_index_it_was_applied() {
    let test = TestNode::new().await;
    let before = test.node.replica().applied_index();
    let body = json!({ "name": "alpha" });
    let answer = test
        .ask_json(Method::POST, "/api/v1/caches", Some(&test.root), &body)
        .await;
    let index: u64 = answer.headers["tetryx-index"].to_str().unwrap().parse().unwrap();
    assert!(index > before && index <= test.node.replica().applied_index());
}

#[tokio::test]
async fn a_mission_needs_its_grant() {
    let test = TestNode::new().await;
    let body = json!({ "name": "alpha", "mission": "moon" });
    let plain = test.token(grants("*", &[Create])).await;
    let answer = test
        .ask_json(Method::POST, "/api/v1/caches", Some(&plain), &body)
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::AccessError));
    let crew = test
        .token(Grants {
            missions: vec!["moon".to_owned()],
            ..grants("*", &[Create])
        })
        .await;
    let answer = test
        .ask_json(Method::POST, "/api/v1/caches", Some(&crew), &body)
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}
