//! Status, health, metrics; and that nodes in one process do not meet.

use std::collections::BTreeSet;

use http::StatusCode;
use tetryx_protocol::api::{CacheList, ErrorName, StatusResponse};

use crate::testing::TestNode;

#[tokio::test]
async fn the_status_tells_node_cluster_and_counts() {
    let test = TestNode::new().await;
    test.create_cache("alpha", true).await;
    let status: StatusResponse = test.get("/api/v1/status", Some(&test.root)).await.json();
    assert_eq!(
        (status.node_name.as_str(), status.zone.as_str()),
        ("test-1", "default")
    );
    assert_eq!(status.node, test.node.node_id());
    assert_eq!(status.leader, Some(status.node));
    assert_eq!(status.voters, [status.node]);
    assert_eq!(
        (status.caches, status.paths, status.nars, status.path_bytes),
        (1, 0, 0, 0)
    );
    assert!(status.term >= 1 && status.applied_index >= 3, "{status:?}");
    assert!(status.quorum.contains("1 of 1"), "{}", status.quorum);
    assert!(status.store.free_bytes > 0);
    assert_eq!(
        test.get("/api/v1/status", None).await.error().name(),
        Some(ErrorName::Unauthorized)
    );
}

#[tokio::test]
async fn health_and_readiness_need_no_token() {
    let test = TestNode::new().await;
    assert_eq!(test.get("/health", None).await.status, StatusCode::OK);
    assert_eq!(test.get("/ready", None).await.status, StatusCode::OK);
    test.node.shutdown().await.unwrap();
    assert_eq!(test.get("/health", None).await.status, StatusCode::OK);
    assert_eq!(
        test.get("/ready", None).await.error().name(),
        Some(ErrorName::NotReady)
    );
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_show_the_state() {
    let test = TestNode::new().await;
    test.create_cache("alpha", false).await;
    test.get("/api/v1/caches/alpha", Some(&test.root)).await;
    test.get("/no/such/route/anywhere", None).await;
    let metrics = test.get("/metrics", None).await;
    assert!(
        metrics.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    for line in [
        r#"tetryx_http_requests_total{method="GET",route="/api/v1/caches/{cache}",status="200"} 1"#,
        r#"tetryx_http_requests_total{method="GET",route="unknown",status="404"} 1"#,
        "tetryx_caches 1",
        "tetryx_raft_has_leader 1",
        "tetryx_store_chunks 0",
        "# EOF",
    ] {
        assert!(
            metrics.text().lines().any(|found| found == line),
            "{line} is not in\n{}",
            metrics.text()
        );
    }
    // Nothing private: names of caches stay out
    assert!(!metrics.text().contains("alpha"));
}

#[tokio::test]
async fn two_nodes_in_one_process_share_nothing() {
    let (one, two) = (TestNode::with(1, |_| {}).await, TestNode::with(2, |_| {}).await);
    assert_ne!(one.node.node_id(), two.node.node_id());
    one.create_cache("alpha", true).await;
    two.create_cache("beta", true).await;
    let names = async |test: &TestNode| {
        test.get("/api/v1/caches", None)
            .await
            .json::<CacheList>()
            .caches
            .len()
    };
    assert_eq!((names(&one).await, names(&two).await), (1, 1));
    assert_eq!(
        two.get("/api/v1/caches/alpha", Some(&two.root)).await.status,
        StatusCode::NOT_FOUND
    );
    // A token of one is nothing to the other
    let answer = two.get("/api/v1/tokens", Some(&one.root)).await;
    assert_eq!(answer.error().name(), Some(ErrorName::Unauthorized));
    // And one can stop while the other goes on
    one.node.shutdown().await.unwrap();
    two.create_cache("gamma", true).await;
}

#[tokio::test]
async fn the_operations_guide_lists_exactly_the_metrics_there_are() {
    let test = TestNode::new().await;
    // What is counted by route shows once there was a request
    test.get("/health", None).await;
    let metrics = test.get("/metrics", None).await;
    let described = metrics
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let real: BTreeSet<_> = described
        .map(|(name, kind)| format!("{name}{}", suffix(kind)))
        .collect();
    let guide = include_str!("../../../../docs/operations.md");
    let listed = guide
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with("tetryx_"));
    let listed: BTreeSet<_> = listed
        .filter(|word| !word.contains(' '))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, real);
}
