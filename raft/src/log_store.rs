//! The durable log, and the durable vote.
//!
//! # Invariants
//! - What is acknowledged (an append through its callback, everything else by returning) survives a crash.
//! - All changes reach the disk in the order they were asked for. Whatever is asked for while one transaction is being
//!   flushed goes into the next one: a flush per batch, not per entry.
//! - After a failed write nothing is acknowledged any more.
//!
//! - What is stored as committed is in the stored log. It costs no flush of its own: it goes along with the next other
//!   change, so it may be behind, and a restart applies the rest when it hears from a leader.

mod disk;
mod memory;
mod offline;
mod watch;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures::Stream;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::RwLock;
use redb::ReadableDatabase;
use tokio::sync::{mpsc, oneshot};

use self::disk::Write;
use self::memory::Memory;
pub(crate) use self::offline::OfflineLog;
pub(crate) use self::watch::LogWatch;
use crate::data::{DataBase, DataFiles};
use crate::error::ReplicaError;
use crate::types::{Entry, LogId, TypeConfig, Vote};
use tetryx_environment::Io;

/// Bytes of entries that one replication request carries at most, beside the one it must carry.
const REQUEST_BYTES: usize = 512 << 10;
/// Bytes of entries read at once to be applied.
const APPLY_BYTES: usize = 4 << 20;
/// Changes that one transaction carries at most.
const BATCH_WRITES: usize = 4_096;

/// Kept by every task that uses a replica's files, so that a shutdown can wait until they are closed.
pub(crate) type InUse = mpsc::Sender<()>;

/// The log of one replica. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    writes: mpsc::UnboundedSender<Job>,
}

#[derive(Debug)]
struct Shared {
    database: DataBase,
    memory: RwLock<Numbered>,
    io: Io,
    _in_use: InUse,
}

/// The memory, and the number of the last write that was asked for.
#[derive(Debug)]
struct Numbered {
    memory: Memory,
    write: u64,
    /// The last write that is durable, the last entry when it was asked for, and the last durable vote.
    flushed: u64,
    acknowledged: Option<LogId>,
    acknowledged_vote: Option<Vote>,
}

struct Job {
    number: u64,
    /// The last entry after this change.
    last: Option<LogId>,
    /// What was committed when this was asked for: entries of earlier jobs.
    committed: Option<LogId>,
    write: Write,
    done: Done,
}

enum Done {
    Appended(IOFlushed<TypeConfig>),
    Other(oneshot::Sender<Result<(), io::Error>>),
}

impl LogStore {
    /// Opens the log, and starts the task that writes it. Needs a runtime.
    pub(crate) async fn open(files: Arc<dyn DataFiles>, io: Io, in_use: InUse) -> Result<Self, ReplicaError> {
        let (database, opened) = io
            .run_unwinding(move || {
                let database = DataBase::open_log(files.as_ref())?;
                let opened = disk::load(&database)?;
                Ok::<_, ReplicaError>((database, opened))
            })
            .await?;
        let mut memory = Memory::new(opened.vote, opened.purged, opened.entries);
        memory.committed = opened.committed;
        let shared = Arc::new(Shared {
            database,
            memory: RwLock::new(Numbered {
                acknowledged: memory.state().last_log_id,
                acknowledged_vote: memory.vote,
                memory,
                write: 0,
                flushed: 0,
            }),
            io,
            _in_use: in_use,
        });
        let (writes, jobs) = mpsc::unbounded_channel();
        tokio::spawn(write_jobs(Arc::clone(&shared), jobs));
        Ok(Self { shared, writes })
    }

    /// Index of the last entry; 0 if there never was one.
    pub(crate) fn last_index(&self) -> u64 {
        let state = self.shared.memory.read().memory.state();
        state.last_log_id.map_or(0, |last| last.index)
    }

    /// Index of the last entry that was cut off; 0 if there is none.
    pub(crate) fn purged_index(&self) -> u64 {
        let state = self.shared.memory.read().memory.state();
        state.last_purged_log_id.map_or(0, |purged| purged.index)
    }

    /// Changes the memory by `change` and asks for `write`, as one step.
    fn ask<T>(
        &self,
        write: Write,
        done: Done,
        change: impl FnOnce(&mut Memory, u64, &Write) -> Result<T, String>,
    ) -> io::Result<T> {
        let mut numbered = self.shared.memory.write();
        numbered.write += 1;
        let number = numbered.write;
        let committed = numbered.memory.committed;
        let value = change(&mut numbered.memory, number, &write).map_err(io::Error::other)?;
        self.writes
            .send(Job {
                number,
                last: numbered.memory.state().last_log_id,
                committed,
                write,
                done,
            })
            .map_err(|_| io::Error::other("the log writer has stopped; restart the node"))?;
        Ok(value)
    }

    async fn ask_and_wait(&self, write: Write, change: impl FnOnce(&mut Memory)) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        self.ask(write, Done::Other(done), |memory, _, _| {
            change(memory);
            Ok(())
        })?;
        durable
            .await
            .map_err(|_| io::Error::other("the log writer has stopped; restart the node"))?
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        self.shared.read(range, bytes_max).await
    }
}

impl Shared {
    /// Reads from the front of `range` at most `bytes_max` bytes, but at least one entry if the log has any.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (located, transaction) = {
            let numbered = self.memory.read();
            let located = numbered.memory.locate(range, bytes_max);
            if located.on_disk.is_empty() {
                return Ok(located.in_memory);
            }
            // Begun under the lock: what the memory says is on disk is in this transaction.
            let transaction = self.database.redb.begin_read().map_err(io::Error::other)?;
            (located, transaction)
        };
        let on_disk = located.on_disk.clone();
        let mut entries = self
            .io
            .run_unwinding(move || disk::read(&transaction, on_disk, bytes_max))
            .await
            .map_err(|error| error.to_io())?;
        let all_from_disk = entries.len() as u64 == located.on_disk.end - located.on_disk.start;
        if all_from_disk {
            let mut left = bytes_max.saturating_sub(entries.iter().map(memory::size).sum());
            for entry in located.in_memory {
                let size = memory::size(&entry);
                if size > left {
                    break;
                }
                left -= size;
                entries.push(entry);
            }
        } else if bytes_max == usize::MAX {
            return Err(io::Error::other(format!(
                "the log ends within {:?}",
                located.on_disk
            )));
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(half_open(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, REQUEST_BYTES).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let store = self.clone();
        let reading = Reading {
            next: half_open(&range),
            read: Vec::new().into_iter(),
        };
        futures::stream::try_unfold(reading, move |mut reading| {
            let store = store.clone();
            async move {
                loop {
                    if let Some(entry) = reading.read.next() {
                        reading.next.start = entry.log_id.index + 1;
                        return Ok(Some((entry, reading)));
                    }
                    let entries = store.read(reading.next.clone(), APPLY_BYTES).await?;
                    if entries.is_empty() {
                        return Ok(None);
                    }
                    reading.read = entries.into_iter();
                }
            }
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.memory.read().memory.vote)
    }
}

struct Reading {
    next: Range<u64>,
    read: std::vec::IntoIter<Entry>,
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(self.shared.memory.read().memory.state())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.ask_and_wait(Write::Vote(vote), |memory| memory.vote = Some(vote))
            .await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.memory.write().memory.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.memory.read().memory.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect::<Vec<_>>();
        self.ask(
            Write::Append(entries),
            Done::Appended(callback),
            |memory, number, write| match write {
                Write::Append(entries) => memory.append(number, entries),
                _ => Ok(()),
            },
        )
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index + 1);
        self.ask_and_wait(Write::Truncate(from), |memory| memory.truncate(from, last_log_id))
            .await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.ask_and_wait(Write::Purge(log_id), |memory| memory.purge(log_id))
            .await
    }
}

/// Writes what is asked for until nobody can ask any more.
async fn write_jobs(shared: Arc<Shared>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut failed: Option<ReplicaError> = None;
    let mut batch = Vec::new();
    let mut stored_committed = None;
    while jobs.recv_many(&mut batch, BATCH_WRITES).await > 0 {
        let (number, last) = batch.last().map_or((0, None), |job: &Job| (job.number, job.last));
        let committed = batch.last().and_then(|job| job.committed);
        let (mut writes, dones): (Vec<_>, Vec<_>) = batch.drain(..).map(|job| (job.write, job.done)).unzip();
        let vote = writes.iter().rev().find_map(|write| match write {
            Write::Vote(vote) => Some(*vote),
            _ => None,
        });
        if let Some(upto) = committed.filter(|_| committed > stored_committed) {
            writes.push(Write::Committed(upto));
            stored_committed = committed;
        }
        if failed.is_none() {
            let writer = Arc::clone(&shared);
            let result = shared
                .io
                .run_unwinding(move || disk::write(&writer.database, &writes))
                .await;
            failed = result.err();
            if let Some(error) = &failed {
                tracing::error!(error = error.chain(), "the log cannot be written");
            }
        }
        if failed.is_none() {
            let mut numbered = shared.memory.write();
            numbered.memory.flushed(number);
            (numbered.flushed, numbered.acknowledged) = (number, last);
            numbered.acknowledged_vote = vote.or(numbered.acknowledged_vote);
        }
        for done in dones {
            let result = failed.as_ref().map_or(Ok(()), |error| Err(error.to_io()));
            match done {
                Done::Appended(callback) => callback.io_completed(result),
                // A receiver that is gone no longer wants to know.
                Done::Other(waiting) => drop(waiting.send(result)),
            }
        }
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
