//! The state machine as openraft drives it.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use parking_lot::Mutex;

use crate::audit::AuditEvery;
use crate::error::ReplicaError;
use crate::snapshot::{SnapshotFile, Snapshots};
use crate::state_store::{Applied, StateStore};
use crate::types::{Entry, LeaderId, LogId, RaftId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::view::StateView;
use tetryx_environment::Io;

/// Entries that one durable transaction applies at most.
const BATCH_ENTRIES: usize = 4_096;

type RaftSnapshot = Snapshot<LeaderId, RaftId, (), SnapshotFile>;

/// Why the state machine could not go on, for the report that openraft's error only carries as text.
pub(crate) type Failure = Arc<Mutex<Option<ReplicaError>>>;

/// The durable state, and snapshots of it.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) store: Arc<StateStore>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) failure: Failure,
    /// When a batch must end, so that a view of the state at that index can be taken.
    pub(crate) audit: AuditEvery,
    pub(crate) io: Io,
}

impl Machine {
    /// Notes an error for the report, and makes it openraft's.
    fn failed(&self, error: ReplicaError) -> io::Error {
        let text = error.to_io();
        self.failure.lock().get_or_insert(error);
        text
    }

    fn builder(&self) -> SnapshotBuilder {
        SnapshotBuilder {
            machine: self.clone(),
            at: self.store.applied_view(),
        }
    }

    async fn apply_batch(&self, batch: Vec<(Entry, Option<ApplyResponder<TypeConfig>>)>) -> io::Result<()> {
        let (entries, responders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let store = Arc::clone(&self.store);
        let applied = if store.is_quick(&entries) {
            store.apply(&entries)
        } else {
            self.io.run_unwinding(move || store.apply(&entries)).await
        };
        let answers = applied.map_err(|error| self.failed(error))?;
        for (answer, responder) in answers.into_iter().zip(responders) {
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.store.applied();
        Ok((applied.log_id, applied.membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        // Entries that are there already share a transaction; nothing waits for entries still to be read.
        let mut batches = entries.ready_chunks(BATCH_ENTRIES);
        while let Some(batch) = batches.next().await {
            let mut batch = batch.into_iter().collect::<Result<Vec<_>, _>>()?;
            while let Some((first, _)) = batch.first() {
                let run = self.audit.run_length(first.log_id.index).min(batch.len());
                let rest = batch.split_off(run);
                self.apply_batch(batch).await?;
                batch = rest;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let store = Arc::clone(&self.store);
        let installed = snapshot.clone();
        let meta = meta.clone();
        self.io
            .run_unwinding(move || store.install(&meta, &installed))
            .await
            .map_err(|error| self.failed(error))?;
        self.snapshots.set_current(&snapshot);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        if self.snapshots.is_lost() {
            return self.builder().build_snapshot().await.map(Some);
        }
        Ok(self.snapshots.current().map(as_snapshot))
    }
}

fn as_snapshot(file: SnapshotFile) -> RaftSnapshot {
    Snapshot {
        meta: file.meta().clone(),
        snapshot: file,
    }
}

/// Builds a snapshot of the state as it was when the builder was made.
#[derive(Debug)]
pub(crate) struct SnapshotBuilder {
    machine: Machine,
    at: Result<(Applied, StateView), ReplicaError>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let (applied, view) = self.at.clone().map_err(|error| error.to_io())?;
        let snapshots = Arc::clone(&self.machine.snapshots);
        let file = self
            .machine
            .io
            .run_unwinding(move || snapshots.build(&applied, &view))
            .await
            .map_err(|error| self.machine.failed(error))?;
        Ok(as_snapshot(file))
    }
}
