//! A machine that is driven the same way twice does the same twice. What finds a bug by its seed stands on this.

use std::time::Duration;

use tetryx_simulations::{Machine, TestNode, TestPath};
use tetryx_state::snapshot;
use tetryx_store::disk::Survivors;

/// Lives through pushes, a deletion, a collection, a power cut and a restart.
async fn live() -> TestNode {
    let machine = Machine::new(|_| {});
    let node = machine.start().await;
    node.create_cache("main", true).await;
    let paths: Vec<TestPath> = (0..4)
        .map(|n| TestPath::of_noise(&format!("path-{n}"), 40_000 * (n + 1)))
        .collect();
    for path in &paths {
        node.push("main", &[path]).await;
        machine.clock.turn(Duration::from_secs(60));
    }
    node.delete(&paths[1]).await;
    let node = node.crash(Survivors::Synced).await;
    node.push("main", &[&paths[1]]).await;
    node
}

#[tokio::test]
async fn the_same_life_leaves_the_same_state_and_the_same_packs() {
    // Given two machines in one process, when both live the same life
    let (one, other) = (live().await, live().await);

    // Then their replicated states are the same to the bit, and so is what their disks hold of chunks
    let hash = |node: &TestNode| {
        let view = node.node.replica().view().expect("a view of the state");
        snapshot::state_hash(&view).expect("a readable state")
    };
    assert_eq!(hash(&one), hash(&other));
    assert_eq!(one.pack_bytes(), other.pack_bytes());
}

#[tokio::test]
async fn nodes_in_one_process_share_nothing() {
    // Given two nodes
    let (one, other) = (TestNode::new().await, TestNode::new().await);

    // When one gets a cache
    one.create_cache("main", true).await;

    // Then the other does not have it
    assert_eq!(one.get("/main/nix-cache-info").await.status, 200);
    assert_eq!(other.get("/main/nix-cache-info").await.status, 404);
}
