//! openraft's own suite for storage, against our stores.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::{mpsc, watch};

use crate::audit::{Audit, AuditEvery};
use crate::log_store::LogStore;
use crate::machine::{Failure, Machine};
use crate::snapshot::Snapshots;
use crate::state_store::StateStore;
use crate::testing::SeededEntropy;
use crate::testing::disk::MemoryDisk;
use crate::types::TypeConfig;
use crate::view::LatestView;
use tetryx_environment::Io;
use tetryx_state::command::FEATURE_LEVEL;

struct Builder(Io);

impl StoreBuilder<TypeConfig, LogStore, Machine> for Builder {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<TypeConfig>> {
        let files = Arc::new(MemoryDisk::default());
        let (using, _) = mpsc::channel(1);
        let (progress, _) = watch::channel(0);
        let log = LogStore::open(files.clone(), self.0.clone(), using.clone())
            .await
            .expect("an empty disk is in order");
        let (audit, _) = Audit::new(AuditEvery::default());
        let every = audit.every();
        let store = StateStore::open(
            files.as_ref(),
            Arc::new(LatestView::default()),
            audit,
            progress,
            FEATURE_LEVEL,
            using,
        )
        .expect("an empty disk is in order");
        let snapshots =
            Snapshots::open(files, Arc::new(SeededEntropy::new(1))).expect("an empty disk is in order");
        let machine = Machine {
            audit: every,
            store: Arc::new(store),
            snapshots: Arc::new(snapshots),
            failure: Failure::default(),
            io: self.0.clone(),
        };
        Ok(((), log, machine))
    }
}

#[tokio::test(start_paused = true)]
async fn the_stores_pass_the_suite_of_openraft() {
    Suite::test_all(Builder(Io::inline()))
        .await
        .expect("the suite passes");
}

#[tokio::test(start_paused = true)]
async fn the_stores_pass_the_suite_of_openraft_on_the_pool_for_blocking_work() {
    Suite::test_all(Builder(Io::pool()))
        .await
        .expect("the suite passes");
}
