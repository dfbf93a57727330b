//! What every route gets: limits, timeouts, errors in one shape, and no way out of its segment.

use std::time::Duration;

use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request};
use tower::ServiceExt;

use super::*;
use crate::config::Size;
use crate::testing::{Answer, TestNode, request};

/// Every route there is, with `{}` where a segment goes.
const ROUTES: &[(Method, &str)] = &[
    (Method::GET, "/api/v1/caches/{}"),
    (Method::PATCH, "/api/v1/caches/{}"),
    (Method::DELETE, "/api/v1/caches/{}"),
    (Method::POST, "/api/v1/caches/{}/missing-paths"),
    (Method::GET, "/api/v1/caches/{}/paths"),
    (Method::GET, "/api/v1/caches/public/paths/{}"),
    (Method::DELETE, "/api/v1/caches/public/paths/{}"),
    (Method::PUT, "/api/v1/caches/public/paths/{}/pin"),
    (Method::DELETE, "/api/v1/caches/public/paths/{}/pin"),
    (Method::DELETE, "/api/v1/tokens/{}"),
    (Method::POST, "/api/v1/caches/{}/uploads"),
    (Method::DELETE, "/api/v1/uploads/{}"),
    (Method::POST, "/api/v1/uploads/{}/missing"),
    (Method::POST, "/api/v1/uploads/{}/commit"),
    (
        Method::PUT,
        "/api/v1/uploads/{}/nars/0000000000000000000000000000000000000000000000000000?nar_size=1",
    ),
    (
        Method::PUT,
        "/api/v1/uploads/00000000000000000000000000000000/nars/{}?nar_size=1",
    ),
    (Method::GET, "/{}/nix-cache-info"),
    (Method::GET, "/{}/s66mzxpvicwk07gjbjfw9izjfa797vsw.narinfo"),
    (Method::GET, "/public/{}.narinfo"),
    (Method::GET, "/public/{}.ls"),
    (Method::GET, "/public/{}"),
    (Method::HEAD, "/public/{}.narinfo"),
    (Method::GET, "/public/nar/{}.nar.zst"),
    (Method::GET, "/public/nar/{}"),
    (
        Method::GET,
        "/{}/nar/0000000000000000000000000000000000000000000000000000.nar.zst",
    ),
];

/// What an attacker writes where a name belongs.
const TRAVERSALS: &[&str] = &[
    "..",
    "../..",
    "../../../../etc/passwd",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f..%2f..%2fnode.key",
    "..%5c..%5ccluster.secret",
    "%252e%252e%252fnode.key",
    ".%2e/%2e./lock",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "a%00b",
    "%00",
    "%ff%fe",
    "%c0%ae%c0%ae%c0%af",
    ".",
    "~",
    "a%0d%0aset-cookie:%20x",
    "store/segments",
];

#[tokio::test]
async fn no_route_lets_a_path_traversal_through() {
    let test = TestNode::new().await;
    test.create_cache("public", true).await;
    for (method, route) in ROUTES {
        for traversal in TRAVERSALS {
            let path = route.replacen("{}", traversal, 1);
            let answer = test.ask(method.clone(), &path, Some(&test.root)).await;
            assert!(answer.status.is_client_error(), "{method} {path}: {answer:?}");
            if method != Method::HEAD {
                answer.error();
            }
            assert!(!answer.headers.contains_key("set-cookie"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn no_route_accepts_an_overlong_segment() {
    let test = TestNode::new().await;
    test.create_cache("public", true).await;
    let long = "a".repeat(8 * 1024);
    for (method, route) in ROUTES {
        let answer = test
            .ask(method.clone(), &route.replacen("{}", &long, 1), Some(&test.root))
            .await;
        assert!(
            answer.status.is_client_error(),
            "{method} {route}: {}",
            answer.status
        );
    }
}

#[tokio::test]
async fn a_malformed_segment_is_named_in_the_refusal() {
    let test = TestNode::new().await;
    test.create_cache("public", true).await;
    for (path, name) in [
        ("/api/v1/caches/-x", ErrorName::InvalidCacheName),
        ("/api/v1/caches/a%2fb", ErrorName::InvalidCacheName),
        ("/api/v1/caches/public/paths/xyz", ErrorName::InvalidStorePathHash),
        (
            "/api/v1/caches/public/paths/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            ErrorName::InvalidStorePathHash,
        ),
    ] {
        let error = test.get(path, Some(&test.root)).await.error();
        assert_eq!(error.name(), Some(name), "{path}: {error}");
    }
}

#[tokio::test]
async fn an_unknown_route_answers_with_our_error() {
    let test = TestNode::new().await;
    for path in ["/", "/api", "/api/v1", "/api/v2/caches", "/a/b/c/d/e"] {
        let error = test.get(path, None).await.error();
        assert_eq!(
            (error.code, error.name()),
            (404, Some(ErrorName::NoSuchObject)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let test = TestNode::new().await;
    for (method, path, allowed) in [
        (Method::PUT, "/api/v1/caches", "GET,HEAD,POST"),
        (Method::DELETE, "/health", "GET,HEAD"),
        (Method::POST, "/alpha/nix-cache-info", "GET,HEAD"),
        (Method::from_bytes(b"BREW").unwrap(), "/api/v1/status", "GET,HEAD"),
    ] {
        let answer = test.ask(method.clone(), path, None).await;
        assert_eq!(
            answer.error().name(),
            Some(ErrorName::MethodNotAllowed),
            "{method} {path}"
        );
        assert_eq!(answer.headers[ALLOW], allowed, "{method} {path}");
    }
}

async fn post_cache(test: &TestNode, content_type: &str, body: impl Into<Body>) -> Answer {
    let request =
        request(Method::POST, "/api/v1/caches", Some(&test.root)).header(CONTENT_TYPE, content_type);
    test.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn malformed_json_is_refused_in_json() {
    let test = TestNode::new().await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"name\": 5}",
        "{\"name\": \"a\", \"name\": \"b\"}",
        "{\"name\":\"../x\"}",
    ] {
        let error = post_cache(&test, "application/json", body).await.error();
        assert_eq!(error.name(), Some(ErrorName::BadRequest), "{body}: {error}");
    }
    let error = post_cache(&test, "application/json", "{\"name\":\"a\",\"pubic\":true}")
        .await
        .error();
    assert!(error.message.contains("pubic"), "{error}");
    let error = post_cache(&test, "application/json", &b"{\"name\":\"\xff\"}"[..])
        .await
        .error();
    assert_eq!(error.code, 400);
    let deep = "[".repeat(100_000);
    assert_eq!(
        post_cache(&test, "application/json", deep).await.error().code,
        400
    );
}

#[tokio::test]
async fn a_body_that_is_not_called_json_is_refused() {
    let test = TestNode::new().await;
    assert_eq!(
        post_cache(&test, "text/plain", "{\"name\":\"a\"}")
            .await
            .error()
            .code,
        415
    );
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_declared_or_not() {
    let test = TestNode::with(1, |config| config.limits.json_body_max = Size::kib(64)).await;
    let body = vec![b' '; 64 * 1024 + 1];
    let declared = post_cache(&test, "application/json", body.clone()).await.error();
    assert_eq!(declared.name(), Some(ErrorName::TooLarge), "{declared}");
    assert!(declared.message.contains("limits.json_body_max"), "{declared}");
    let pieces = body
        .chunks(1000)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)));
    let pieces: Vec<_> = pieces.collect();
    let streamed = Body::from_stream(futures::stream::iter(pieces));
    let streamed = post_cache(&test, "application/json", streamed).await.error();
    assert_eq!(streamed.name(), Some(ErrorName::TooLarge), "{streamed}");
}

#[tokio::test]
async fn a_head_above_the_limits_is_refused() {
    let test = TestNode::new().await;
    let limits = &test.node.config().limits;
    let large = Request::get("/health").header("x-large", "a".repeat(limits.header_bytes_max.as_usize()));
    let error = test.send(large.body(Body::empty()).unwrap()).await.error();
    assert_eq!((error.code, error.name()), (431, Some(ErrorName::TooLarge)));
    let many = (0..=limits.header_count_max).fold(Request::get("/health"), |request, n| {
        request.header(format!("x-{n}"), "")
    });
    let error = test.send(many.body(Body::empty()).unwrap()).await.error();
    assert_eq!(error.code, 431);
    assert!(error.message.contains("limits.header_count_max"), "{error}");
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let test = TestNode::with(1, |config| {
        config.http.body_idle_timeout = Duration::from_millis(10)
    })
    .await;
    let first = Ok::<_, std::io::Error>(Bytes::from_static(b"{\"name\":"));
    let stalled = futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
    let error = post_cache(&test, "application/json", Body::from_stream(stalled))
        .await
        .error();
    assert_eq!(error.code, 408);
    assert!(error.message.contains("http.body_idle_timeout"), "{error}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let test = TestNode::new().await;
    let pieces = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))];
    let broken = Body::from_stream(futures::stream::iter(pieces));
    assert_eq!(
        post_cache(&test, "application/json", broken).await.error().code,
        400
    );
}

async fn ask_wrapped(test: &TestNode, prompt: Router<Node>, uploads: Router<Node>, path: &str) -> Answer {
    let app = wrap(test.node.clone(), prompt, uploads);
    let response = app
        .oneshot(Request::get(path).body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}

#[tokio::test]
async fn a_handler_that_panics_answers_as_an_internal_error() {
    let test = TestNode::new().await;
    let prompt = Router::new().route("/panic", get(async || -> () { panic!("a cause to keep inside") }));
    let error = ask_wrapped(&test, prompt, Router::new(), "/panic").await.error();
    assert_eq!(error.name(), Some(ErrorName::InternalServerError));
    assert!(!error.message.contains("cause"), "{error}");
    // And the node goes on
    assert_eq!(test.get("/health", None).await.status, 200);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_given_up_but_an_upload_is_not() {
    let test = TestNode::with(1, |config| {
        config.http.request_timeout = Duration::from_millis(10)
    })
    .await;
    let prompt = Router::new().route("/slow", get(std::future::pending::<()>));
    let error = ask_wrapped(&test, prompt.clone(), Router::new(), "/slow")
        .await
        .error();
    assert_eq!(error.name(), Some(ErrorName::NotReady));
    let patient = async || tokio::time::sleep(Duration::from_millis(30)).await;
    let uploads = Router::new().route("/upload", get(patient).merge(post(patient)));
    assert_eq!(ask_wrapped(&test, prompt, uploads, "/upload").await.status, 200);
}

#[tokio::test]
async fn every_error_is_json_of_one_shape() {
    let test = TestNode::new().await;
    let answer = test.get("/api/v1/tokens", Some("nonsense")).await;
    assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
    let fields: serde_json::Map<String, serde_json::Value> = answer.json();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["code", "error", "message"]);
}
