//! Rebuilding the state of a replica that has diverged, from a snapshot of a node that has not.
//!
//! # Invariants
//! - The vote and the log stay as they are: what this replica has promised to the others holds.
//! - The mark goes last, so that a rebuild that was cut off begins again.
//! - The snapshot includes everything that is no longer in the log, and the entry at which the states differed.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use serde::{Deserialize, Serialize};
use tetryx_protocol::id::NodeId;

use crate::SNAPSHOT_PIECE_MAX;
use crate::data::{DataFiles, STATE_FILE};
use crate::error::ReplicaError;
use crate::patience::within;
use crate::profile::Profile;
use crate::records::{self, Blob};
use crate::replica::Replica;
use crate::snapshot::{self, MARK_LEN, SnapshotFile, SnapshotId, complete};
use crate::transport::Transport;
use crate::wire::{Request, Response};
use tetryx_environment::Io;

/// The file that says that the state is wrong.
const MARK_FILE: &str = "diverged";
const MARK_KIND: [u8; 4] = *b"TXDV";
const SCHEMA: u16 = 1;
const MARKING: &str = "noting that the state is wrong";
const REBUILDING: &str = "rebuilding the state";

/// Why a state must be thrown away, and who has a better one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) index: u64,
    pub(crate) sources: Vec<NodeId>,
}

impl Mark {
    pub(crate) fn write(&self, files: &dyn DataFiles) -> Result<(), ReplicaError> {
        let sealed = records::seal(MARK_KIND, SCHEMA, self);
        let write = || -> std::io::Result<()> {
            let file = files.open(MARK_FILE)?;
            file.set_len(sealed.len() as u64)?;
            file.write(0, &sealed)?;
            file.sync_data()
        };
        write().map_err(ReplicaError::storage(MARKING))
    }

    /// The mark, if there is a whole one. One that was cut off while it was written is removed: the next audit finds
    /// the same.
    fn read(files: &dyn DataFiles) -> Result<Option<Self>, ReplicaError> {
        let names = files.list().map_err(ReplicaError::open(MARK_FILE))?;
        if !names.iter().any(|name| name == MARK_FILE) {
            return Ok(None);
        }
        let read = || -> std::io::Result<Vec<u8>> {
            let file = files.open(MARK_FILE)?;
            let len = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
            let mut bytes = vec![0; len];
            file.read(0, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(ReplicaError::open(MARK_FILE))?;
        match records::open(MARK_KIND, SCHEMA, MARK_FILE, &bytes) {
            Ok(mark) => Ok(Some(mark)),
            Err(error) => {
                tracing::warn!(error = error.chain(), "a mark was cut off while it was written");
                files.remove(MARK_FILE).map_err(ReplicaError::open(MARK_FILE))?;
                Ok(None)
            }
        }
    }
}

/// What a rebuild needs of a replica that is not open yet.
#[derive(Debug)]
pub(crate) struct Rebuild<'a> {
    pub(crate) files: &'a Arc<dyn DataFiles>,
    pub(crate) io: Io,
    pub(crate) profile: Profile,
    pub(crate) transport: &'a Arc<dyn Transport>,
    /// Index of the last entry that is no longer in the log.
    pub(crate) purged: u64,
}

impl Rebuild<'_> {
    /// Replaces the state if it is marked as wrong. Goes on trying until a node that has the right one answers.
    pub(crate) async fn run_if_marked(&self) -> Result<(), ReplicaError> {
        let files = Arc::clone(self.files);
        let Some(mark) = self.io.run_unwinding(move || Mark::read(files.as_ref())).await? else {
            return Ok(());
        };
        let at_least = mark.index.max(self.purged);
        tracing::warn!(
            index = mark.index,
            "rebuilding the state of this node from another one"
        );
        'trying: loop {
            for source in &mark.sources {
                match self.fetch(*source, at_least).await {
                    Ok(()) => break 'trying,
                    Err(error) => {
                        tracing::warn!(%source, error = error.chain(), "no snapshot from there; trying again");
                    }
                }
            }
            tokio::time::sleep(self.profile.heartbeat() * 4).await;
        }
        let files = Arc::clone(self.files);
        self.io
            .run_unwinding(move || {
                // openraft finds a snapshot that is ahead of the (empty) state, and installs it.
                files.remove(STATE_FILE)?;
                files.remove(MARK_FILE)
            })
            .await
            .map_err(ReplicaError::storage(REBUILDING))
    }

    /// Fetches a snapshot as the only one there is.
    async fn fetch(&self, from: NodeId, at_least: u64) -> Result<(), ReplicaError> {
        let (id, len) = match self.call(from, &Request::SnapshotWanted { at_least }).await? {
            Response::SnapshotThere { id, len } => (id, len),
            other => return Err(unexpected(from, &other)),
        };
        let name = snapshot::name(id);
        let files = Arc::clone(self.files);
        let opened = name.clone();
        let file = self
            .io
            .run_unwinding(move || {
                for old in files.list()?.iter().filter(|name| snapshot::is_name(name)) {
                    files.remove(old)?;
                }
                let file: Arc<dyn redb::StorageBackend> = Arc::from(files.open(&opened)?);
                file.set_len(len)?;
                Ok(file)
            })
            .await
            .map_err(ReplicaError::storage::<std::io::Error>(REBUILDING))?;
        let mut mark = [0; MARK_LEN as usize];
        let mut has = 0;
        while has < len {
            let Blob(bytes) = match self
                .call(from, &Request::SnapshotRead { id, offset: has })
                .await?
            {
                Response::SnapshotBytes { bytes } => bytes,
                other => return Err(unexpected(from, &other)),
            };
            let end = has + bytes.len() as u64;
            if bytes.is_empty() || end > len || (has == 0 && end < MARK_LEN) {
                return Err(damaged(from));
            }
            let (offset, body) = if has == 0 {
                mark.copy_from_slice(&bytes[..MARK_LEN as usize]);
                (MARK_LEN, bytes.slice(MARK_LEN as usize..))
            } else {
                (has, bytes)
            };
            let writer = Arc::clone(&file);
            self.io
                .run_unwinding(move || writer.write(offset, &body))
                .await
                .map_err(ReplicaError::storage(REBUILDING))?;
            has = end;
        }
        let files = Arc::clone(self.files);
        self.io
            .run_unwinding(move || {
                complete(file.as_ref(), len, mark)?;
                let file = SnapshotFile::open(files, name)?;
                file.verify()?;
                let last = file.meta().last_log_id.map_or(0, |last| last.index);
                if file.id() == id && last >= at_least {
                    Ok(())
                } else {
                    Err(damaged(from))
                }
            })
            .await
    }

    async fn call(&self, to: NodeId, request: &Request) -> Result<Response, ReplicaError> {
        let answer = self.transport.call(to, request.class(), request.encode());
        match within(self.profile.snapshot_piece(), answer).await {
            Some(Ok(bytes)) => Response::decode(&bytes),
            Some(Err(error)) => Err(failed(to, &error)),
            None => Err(failed(to, &"it does not answer")),
        }
    }
}

fn failed(from: NodeId, reason: &dyn std::fmt::Display) -> ReplicaError {
    ReplicaError::BadRequest {
        reason: format!("a snapshot was asked of node {from}: {reason}"),
    }
}

fn unexpected(from: NodeId, answer: &Response) -> ReplicaError {
    match answer {
        Response::Failed { reason } => failed(from, reason),
        other => failed(from, &format!("answer makes no sense here: {other:?}")),
    }
}

fn damaged(from: NodeId) -> ReplicaError {
    failed(from, &"it is not the snapshot that was offered")
}

impl Replica {
    /// Answers a node that rebuilds itself: a snapshot that includes entry `at_least`, built if there is none yet.
    pub(crate) async fn snapshot_wanted(&self, at_least: u64) -> Result<Response, ReplicaError> {
        if self.audit().diverged().borrow().is_some() || self.applied_index() < at_least {
            return Err(ReplicaError::BadRequest {
                reason: format!("this node does not have the state at entry {at_least} either"),
            });
        }
        let includes =
            |file: &SnapshotFile| file.meta().last_log_id.is_some_and(|last| last.index >= at_least);
        if let Some(file) = self.snapshots().current().filter(includes) {
            return Ok(there(&file));
        }
        self.raft()
            .trigger()
            .snapshot()
            .await
            .map_err(|fatal| self.stopped(&fatal))?;
        let mut metrics = self.raft().metrics();
        let built = async {
            loop {
                if let Some(file) = self.snapshots().current().filter(includes) {
                    return Ok(there(&file));
                }
                let index = metrics.borrow_and_update().snapshot.map_or(0, |last| last.index);
                if index >= at_least {
                    tracing::debug!(index, "a snapshot is there, and not current yet");
                }
                self.changed(&mut metrics).await?;
            }
        };
        // The other node asks again, and finds it ready.
        let patience: Duration = self.profile().snapshot_piece() / 2;
        within(patience, built).await.unwrap_or_else(|| {
            Err(ReplicaError::BadRequest {
                reason: "the snapshot is being built; ask again".to_owned(),
            })
        })
    }

    pub(crate) async fn snapshot_read(&self, id: SnapshotId, offset: u64) -> Result<Response, ReplicaError> {
        let file = self.snapshots().current().filter(|file| file.id() == id);
        let Some(file) = file.filter(|file| offset < file.len()) else {
            return Err(ReplicaError::BadRequest {
                reason: "there is a newer snapshot; ask for that".to_owned(),
            });
        };
        let read = self
            .io()
            .run_unwinding(move || file.read_at(offset, SNAPSHOT_PIECE_MAX))
            .await?;
        Ok(Response::SnapshotBytes {
            bytes: Blob(read.into()),
        })
    }
}

fn there(file: &SnapshotFile) -> Response {
    Response::SnapshotThere {
        id: file.id(),
        len: file.len(),
    }
}
