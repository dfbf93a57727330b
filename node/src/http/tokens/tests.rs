//! Tokens, good and bad, as they meet the routes.

use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tetryx_protocol::api::{CreateTokenResponse, ErrorName, TokenList};
use tetryx_protocol::grant::CachePermission::{Pull, Push};
use tetryx_protocol::grant::Grants;

use super::*;
use crate::testing::{Answer, TestNode, grants};

const TOKENS: &str = "/api/v1/tokens";

/// The parts of a token: header, claims, signature.
fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json =
        || serde_json::from_slice(&BASE64URL_NOPAD.decode(parts.next().unwrap().as_bytes()).unwrap());
    (
        json().unwrap(),
        json().unwrap(),
        token.rsplit('.').next().unwrap().to_owned(),
    )
}

fn join(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

/// That every route refuses the token: the API with 401, the substituter as if there were none.
async fn is_refused(test: &TestNode, token: &str) {
    for path in [
        TOKENS,
        "/api/v1/caches",
        "/api/v1/status",
        "/api/v1/caches/public",
    ] {
        let answer = test.get(path, Some(token)).await;
        assert_eq!(answer.error().name(), Some(ErrorName::Unauthorized), "{path}");
        assert!(answer.headers.contains_key(WWW_AUTHENTICATE));
    }
    assert_eq!(
        test.get("/private/nix-cache-info", Some(token)).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        test.get("/public/nix-cache-info", Some(token)).await.status,
        StatusCode::OK
    );
}

async fn with_caches() -> TestNode {
    let test = TestNode::new().await;
    test.create_cache("public", true).await;
    test.create_cache("private", false).await;
    test
}

async fn mint(test: &TestNode, by: &str, seconds: u64, grants: &Grants) -> Answer {
    let body = json!({ "subject": "alice", "validity_seconds": seconds, "grants": grants });
    test.ask_json(Method::POST, TOKENS, Some(by), &body).await
}

#[tokio::test]
async fn a_good_token_opens_what_it_grants() {
    let test = with_caches().await;
    let token = test.token(grants("priv*", &[Pull])).await;
    assert_eq!(
        test.get("/private/nix-cache-info", Some(&token)).await.status,
        StatusCode::OK
    );
    assert_eq!(
        test.get("/api/v1/caches/private", Some(&token)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_token_counts_as_bearer_and_as_the_password_of_any_user() {
    let test = with_caches().await;
    for user in ["", "nix", "any body"] {
        let basic = format!(
            "Basic {}",
            BASE64.encode(format!("{user}:{}", test.root).as_bytes())
        );
        let request = Request::get("/private/nix-cache-info").header(AUTHORIZATION, basic);
        assert_eq!(
            test.send(request.body(axum::body::Body::empty()).unwrap())
                .await
                .status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let test = with_caches().await;
    for token in ["", "a", "a.b.c", "..", "eyJ.eyJ.", &"a".repeat(20_000)] {
        is_refused(&test, token).await;
    }
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let test = with_caches().await;
    let (header, mut claims, signature) = parts(&test.token(grants("private", &[Pull])).await);
    // More grants under the old signature
    claims["https://tetryx.io/jwt/v1"]["admin"] = json!(true);
    is_refused(&test, &join(&header, &claims, &signature)).await;
    // The right claims under another key
    let genuine = test.node.tokens().verify(&test.node, &test.root).unwrap();
    is_refused(&test, &TokenSigner::from_seed([9; 32]).sign(&genuine)).await;
}

#[tokio::test]
async fn a_token_without_signature_or_of_another_algorithm_is_refused() {
    let test = with_caches().await;
    let (_, claims, signature) = parts(&test.root);
    for algorithm in ["none", "None", "HS256", "RS256", "ES256", "eddsa", ""] {
        let header = json!({ "alg": algorithm, "typ": "JWT" });
        is_refused(&test, &join(&header, &claims, "")).await;
        is_refused(&test, &join(&header, &claims, &signature)).await;
    }
    // HS256 keyed with the public key, the classic confusion
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let mac = BASE64URL_NOPAD.encode(&test.node.cluster().token_public_key);
    is_refused(&test, &join(&header, &claims, &mac)).await;
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused() {
    let (test, other) = (with_caches().await, TestNode::with(2, |_| {}).await);
    is_refused(&test, &other.root).await;
}

#[tokio::test]
async fn an_expired_token_is_refused_even_if_it_was_good_a_moment_ago() {
    let test = with_caches().await;
    let token = test.token(grants("private", &[Pull])).await;
    assert_eq!(
        test.get("/private/nix-cache-info", Some(&token)).await.status,
        StatusCode::OK
    );
    test.clock.turn(Duration::from_secs(3599));
    assert_eq!(
        test.get("/private/nix-cache-info", Some(&token)).await.status,
        StatusCode::OK
    );
    test.clock.turn(Duration::from_secs(1));
    is_refused(&test, &token).await;
}

#[tokio::test]
async fn a_token_from_the_future_is_refused() {
    let test = with_caches().await;
    test.clock.turn(Duration::from_secs(3600));
    let token = test.token(grants("private", &[Pull])).await;
    // Another node's clock may lag by a minute, not by an hour
    let early = Arc::clone(&test.clock);
    early.turn_back(Duration::from_secs(60));
    assert_eq!(
        test.get("/private/nix-cache-info", Some(&token)).await.status,
        StatusCode::OK
    );
    early.turn_back(Duration::from_secs(1));
    is_refused(&test, &token).await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_from_the_next_request_on() {
    let test = with_caches().await;
    let made: CreateTokenResponse = mint(&test, &test.root, 3600, &grants("private", &[Pull]))
        .await
        .json();
    assert_eq!(
        test.get("/private/nix-cache-info", Some(&made.token))
            .await
            .status,
        StatusCode::OK
    );
    let revoked = test
        .ask(
            Method::DELETE,
            &format!("{TOKENS}/{}", made.claims.token),
            Some(&test.root),
        )
        .await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    is_refused(&test, &made.token).await;
    assert!(
        test.get(TOKENS, Some(&made.token))
            .await
            .error()
            .message
            .contains("revoked")
    );
}

#[tokio::test]
async fn revoking_what_was_never_issued_is_no_such_token() {
    let test = TestNode::new().await;
    let answer = test
        .ask(
            Method::DELETE,
            &format!("{TOKENS}/{}", "0".repeat(32)),
            Some(&test.root),
        )
        .await;
    assert_eq!(answer.error().name(), Some(ErrorName::NoSuchToken));
}

#[tokio::test]
async fn a_token_can_revoke_itself_but_no_other() {
    let test = with_caches().await;
    let own: CreateTokenResponse = mint(&test, &test.root, 3600, &grants("private", &[Pull]))
        .await
        .json();
    let other: CreateTokenResponse = mint(&test, &test.root, 3600, &grants("private", &[Pull]))
        .await
        .json();
    let revoke = async |token| {
        test.ask(Method::DELETE, &format!("{TOKENS}/{token}"), Some(&own.token))
            .await
            .status
    };
    assert_eq!(revoke(other.claims.token).await, StatusCode::FORBIDDEN);
    assert_eq!(revoke(own.claims.token).await, StatusCode::NO_CONTENT);
    is_refused(&test, &own.token).await;
}

#[tokio::test]
async fn a_minted_token_grants_no_more_than_its_maker_has() {
    let test = with_caches().await;
    let maker = test.token(grants("team-*", &[Pull, Push])).await;
    let narrower: CreateTokenResponse = mint(&test, &maker, 60, &grants("team-a", &[Pull])).await.json();
    assert_eq!(narrower.claims.grants, grants("team-a", &[Pull]));
    for wider in [
        grants("*", &[Pull]),
        grants("team*", &[Pull]),
        grants("private", &[Pull]),
        Grants::admin(),
    ] {
        let error = mint(&test, &maker, 60, &wider).await.error();
        assert_eq!(error.name(), Some(ErrorName::AccessError), "{wider:?}");
    }
    assert_eq!(
        mint(&test, &test.root, 60, &Grants::admin()).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_minted_token_does_not_outlive_its_maker_unless_that_is_an_administrator() {
    let test = with_caches().await;
    let maker = test.token(grants("a", &[Pull])).await;
    let small = grants("a", &[Pull]);
    assert_eq!(
        mint(&test, &maker, 3600, &small).await.status,
        StatusCode::CREATED
    );
    assert_eq!(
        mint(&test, &maker, 3601, &small).await.error().name(),
        Some(ErrorName::AccessError)
    );
    let ten_years = 10 * 365 * 24 * 3600;
    assert_eq!(
        mint(&test, &test.root, ten_years, &small).await.status,
        StatusCode::CREATED
    );
    assert_eq!(
        mint(&test, &test.root, u64::MAX, &small).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn minting_needs_a_token_a_subject_and_a_validity() {
    let test = TestNode::new().await;
    let body = json!({ "subject": "alice", "validity_seconds": 60 });
    let answer = test.ask_json(Method::POST, TOKENS, None, &body).await;
    assert_eq!(answer.error().name(), Some(ErrorName::Unauthorized));
    for body in [
        json!({ "subject": " ", "validity_seconds": 60 }),
        json!({ "subject": "alice", "validity_seconds": 0 }),
        json!({ "subject": "alice", "validity_seconds": -1 }),
        json!({ "subject": "a".repeat(300), "validity_seconds": 60 }),
        json!({ "subject": "alice" }),
    ] {
        let answer = test.ask_json(Method::POST, TOKENS, Some(&test.root), &body).await;
        assert_eq!(answer.error().name(), Some(ErrorName::BadRequest), "{body}");
    }
}

#[tokio::test]
async fn a_minted_token_is_not_to_be_kept_by_proxies() {
    let test = TestNode::new().await;
    let answer = mint(&test, &test.root, 60, &Grants::default()).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn an_administrator_lists_all_tokens_others_their_own() {
    let test = TestNode::new().await;
    let own: CreateTokenResponse = mint(&test, &test.root, 60, &grants("a", &[Pull])).await.json();
    let all: TokenList = test.get(TOKENS, Some(&test.root)).await.json();
    assert_eq!(
        all.tokens
            .iter()
            .map(|token| token.subject.as_str())
            .filter(|name| *name != "test")
            .count(),
        2
    );
    let seen: TokenList = test.get(TOKENS, Some(&own.token)).await.json();
    assert_eq!(
        seen.tokens.iter().map(|token| token.token).collect::<Vec<_>>(),
        [own.claims.token]
    );
    assert_eq!(seen.tokens[0].subject, "alice");
}
