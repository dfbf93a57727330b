//! The receiving half of snapshot transfers.
//!
//! # Invariants
//! - One snapshot is received at a time; a newer offer replaces an unfinished one.
//! - A transfer that broke off goes on where it was, as long as this process lives and the leader still offers the
//!   same snapshot.
//! - Only a snapshot that was read back and found whole is handed to openraft.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use openraft::storage::Snapshot;
use redb::StorageBackend;
use tokio::sync::Mutex;

use crate::SNAPSHOT_PIECE_MAX;
use crate::error::ReplicaError;
use crate::records::{LogIdRecord, VoteRecord};
use crate::snapshot::{self, MARK_LEN, SnapshotFile, SnapshotId, Snapshots, complete};
use crate::types::{LogId, Raft, Vote};
use crate::wire::SnapshotOutcome;
use tetryx_environment::Io;

const WRITING: &str = "writing a received snapshot";

/// What a replica has received of a snapshot.
#[derive(Debug)]
pub(crate) struct Transfers {
    raft: Raft,
    snapshots: Arc<Snapshots>,
    io: Io,
    incoming: Mutex<Option<Incoming>>,
}

#[derive(Debug)]
struct Incoming {
    id: SnapshotId,
    len: u64,
    has: u64,
    /// The first bytes of the file. They mark it as whole, so they are written last.
    mark: [u8; MARK_LEN as usize],
    backend: Arc<dyn StorageBackend>,
}

impl Transfers {
    pub(crate) fn new(raft: Raft, snapshots: Arc<Snapshots>, io: Io) -> Self {
        Self {
            raft,
            snapshots,
            io,
            incoming: Mutex::default(),
        }
    }

    pub(crate) async fn offer(
        &self,
        vote: VoteRecord,
        id: SnapshotId,
        len: u64,
        last: Option<LogIdRecord>,
    ) -> Result<SnapshotOutcome, ReplicaError> {
        let mut incoming = self.incoming.lock().await;
        if let Some(higher) = self.higher_vote(vote) {
            return Ok(SnapshotOutcome::HigherVote(higher));
        }
        if self.raft.metrics().borrow_watched().last_applied >= last.map(LogId::from) {
            return Ok(SnapshotOutcome::Installed(vote));
        }
        if let Some(known) = incoming
            .as_ref()
            .filter(|known| known.id == id && known.len == len)
        {
            return Ok(SnapshotOutcome::Has(known.has));
        }
        if let Some(old) = incoming.take() {
            self.remove(old.id);
        }
        let files = Arc::clone(self.snapshots.files());
        let name = snapshot::name(id);
        let backend = self
            .io
            .run_unwinding(move || {
                let backend = files.open(&name)?;
                backend.set_len(len)?;
                Ok::<_, std::io::Error>(Arc::from(backend))
            })
            .await
            .map_err(ReplicaError::storage(WRITING))?;
        *incoming = Some(Incoming {
            id,
            len,
            has: 0,
            mark: [0; MARK_LEN as usize],
            backend,
        });
        Ok(SnapshotOutcome::Has(0))
    }

    pub(crate) async fn piece(
        &self,
        vote: VoteRecord,
        id: SnapshotId,
        offset: u64,
        bytes: bytes::Bytes,
    ) -> Result<SnapshotOutcome, ReplicaError> {
        let mut incoming = self.incoming.lock().await;
        if let Some(higher) = self.higher_vote(vote) {
            return Ok(SnapshotOutcome::HigherVote(higher));
        }
        let incoming = incoming
            .as_mut()
            .filter(|incoming| incoming.id == id)
            .ok_or_else(not_offered)?;
        if offset != incoming.has {
            return Ok(SnapshotOutcome::Has(incoming.has));
        }
        let end = offset + bytes.len() as u64;
        if bytes.len() > SNAPSHOT_PIECE_MAX || end > incoming.len || (offset == 0 && end < MARK_LEN) {
            return Err(ReplicaError::BadRequest {
                reason: format!(
                    "a piece of {} bytes at {offset} of a snapshot of {}",
                    bytes.len(),
                    incoming.len
                ),
            });
        }
        let mut body = bytes;
        let mut at = offset;
        if offset == 0 {
            incoming.mark.copy_from_slice(&body.split_to(MARK_LEN as usize));
            at = MARK_LEN;
        }
        let backend = Arc::clone(&incoming.backend);
        self.io
            .run_unwinding(move || backend.write(at, &body))
            .await
            .map_err(ReplicaError::storage(WRITING))?;
        incoming.has = end;
        Ok(SnapshotOutcome::Has(end))
    }

    pub(crate) async fn install(
        &self,
        vote: VoteRecord,
        id: SnapshotId,
    ) -> Result<SnapshotOutcome, ReplicaError> {
        let mut incoming = self.incoming.lock().await;
        if let Some(higher) = self.higher_vote(vote) {
            return Ok(SnapshotOutcome::HigherVote(higher));
        }
        let known = incoming
            .as_ref()
            .filter(|incoming| incoming.id == id)
            .ok_or_else(not_offered)?;
        if known.has < known.len {
            return Ok(SnapshotOutcome::Has(known.has));
        }
        let file = match self.finish(known).await {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(error = error.chain(), "a snapshot arrived damaged");
                *incoming = None;
                self.remove(id);
                return Ok(SnapshotOutcome::Damaged);
            }
        };
        *incoming = None;
        let snapshot = Snapshot {
            meta: file.meta().clone(),
            snapshot: file.clone(),
        };
        let answer = self
            .raft
            .install_full_snapshot(vote.into(), snapshot)
            .await
            .map_err(|fatal| ReplicaError::Failed {
                reason: fatal.to_string(),
            })?;
        if !self.is_current(id) {
            // openraft had no use for it: the log is ahead of it.
            file.retire();
        }
        Ok(SnapshotOutcome::Installed((&answer.vote).into()))
    }

    /// Makes a received file durable and reads it back.
    async fn finish(&self, incoming: &Incoming) -> Result<SnapshotFile, ReplicaError> {
        let Incoming { id, len, mark, .. } = *incoming;
        let backend = Arc::clone(&incoming.backend);
        let files = Arc::clone(self.snapshots.files());
        let name = snapshot::name(id);
        self.io
            .run_unwinding(move || {
                complete(backend.as_ref(), len, mark)?;
                let file = SnapshotFile::open(files, name)?;
                file.verify()?;
                if file.id() != id {
                    return Err(ReplicaError::damaged(
                        "a snapshot",
                        "it is another one than was offered",
                    ));
                }
                Ok(file)
            })
            .await
    }

    fn is_current(&self, id: SnapshotId) -> bool {
        self.snapshots.current().is_some_and(|file| file.id() == id)
    }

    /// The vote of this replica, if the sender's is lower.
    fn higher_vote(&self, vote: VoteRecord) -> Option<VoteRecord> {
        let metrics = self.raft.metrics();
        let ours = metrics.borrow_watched().vote;
        (ours > Vote::from(vote)).then(|| (&ours).into())
    }

    fn remove(&self, id: SnapshotId) {
        let name = snapshot::name(id);
        if let Err(error) = self.snapshots.files().remove(&name) {
            tracing::warn!(file = name, %error, "an unfinished snapshot could not be removed");
        }
    }
}

fn not_offered() -> ReplicaError {
    ReplicaError::BadRequest {
        reason: "this snapshot was not offered, or another one was since".to_owned(),
    }
}
