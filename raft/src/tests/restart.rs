//! Replicas on a real disk, killed and opened again.

use std::path::Path;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use tetryx_state::query;
use tokio::runtime::Runtime;

use crate::audit::AuditEvery;
use crate::compaction::Compaction;
use crate::data::DirectoryFiles;
use crate::error::ReplicaError;
use crate::profile::Profile;
use crate::replica::{Replica, ReplicaConfig};
use crate::testing::{RuntimeClock, SeededEntropy, init_cluster, node};
use crate::transport::NoPeers;
use tetryx_environment::Io;
use tetryx_state::command::FEATURE_LEVEL;

fn config(directory: &Path, seed: u64) -> ReplicaConfig {
    ReplicaConfig {
        node_id: node(1),
        files: Arc::new(DirectoryFiles::new(directory).expect("the directory can be made")),
        io: Io::pool(),
        profile: Profile::Lan,
        compaction: Compaction { keep: 5, every: 5 },
        audit: AuditEvery::default(),
        clock: Arc::new(RuntimeClock::new()),
        entropy: Arc::new(SeededEntropy::new(seed)),
        transport: Arc::new(NoPeers),
        feature_level: FEATURE_LEVEL,
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can start")
}

fn members(replica: &Replica) -> usize {
    query::members(&replica.view().expect("it runs"))
        .expect("the state can be read")
        .len()
}

#[test]
fn a_killed_replica_opens_with_all_it_had_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut hash = None;
    for start in 0..4_u32 {
        // A runtime of its own per start: dropping it kills the replica without any shutdown.
        let runtime = runtime();
        let replica = runtime.block_on(async {
            let replica = Replica::open(config(directory.path(), start.into()))
                .await
                .expect("the data is in order");
            if start == 0 {
                replica.bootstrap().await.expect("the data is empty");
                replica.propose("test", init_cluster()).await.expect("it leads");
            } else {
                assert_eq!(
                    Some(replica.hash()),
                    hash,
                    "as it was before the kill, without waiting for anything"
                );
            }
            for number in 0..10 {
                replica.add(start * 10 + number).await;
            }
            assert_eq!(members(&replica), (start as usize + 1) * 10);
            hash = Some(replica.hash());
            replica
        });
        drop(runtime);
        drop(replica);
    }
}

#[test]
fn a_replica_that_was_shut_down_can_be_opened_again_at_once() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    runtime().block_on(async {
        let replica = Replica::open(config(directory.path(), 1))
            .await
            .expect("the data is empty");
        replica.bootstrap().await.expect("the data is empty");
        replica.propose("test", init_cluster()).await.expect("it leads");
        replica.add(1).await;
        let held = replica.view().expect("it runs");
        replica.shutdown().await;

        let again = Replica::open(config(directory.path(), 2))
            .await
            .expect("the files are closed");
        assert_eq!(members(&again), 1);
        again.add(2).await;
        drop(held);
    });
}

#[test]
fn two_replicas_cannot_open_the_same_files() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    runtime().block_on(async {
        let _first = Replica::open(config(directory.path(), 1))
            .await
            .expect("the data is empty");
        let error = Replica::open(config(directory.path(), 2))
            .await
            .expect_err("the files are in use");
        assert!(matches!(error, ReplicaError::Open { .. }), "{error}");
    });
}

#[test]
fn a_replica_that_nobody_holds_any_more_closes_its_files() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    runtime().block_on(async {
        let replica = Replica::open(config(directory.path(), 1))
            .await
            .expect("the data is empty");
        let mut metrics = replica.raft().metrics();
        drop(replica);
        // The consensus task ends, and with it its metrics.
        while metrics.changed().await.is_ok() {}
    });
}

#[test]
fn a_view_does_not_change_while_it_is_held() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    runtime().block_on(async {
        let replica = Replica::open(config(directory.path(), 1))
            .await
            .expect("the data is empty");
        replica.bootstrap().await.expect("the data is empty");
        replica.propose("test", init_cluster()).await.expect("it leads");
        let view = replica.view().expect("it runs");
        let applied = replica.add(1).await;
        assert!(query::members(&view).expect("it can be read").is_empty());
        assert!(view.applied_index() < applied.index);
        assert_eq!(replica.view().expect("it runs").applied_index(), applied.index);
        assert_eq!(replica.applied_index(), applied.index);
    });
}
