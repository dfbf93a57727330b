//! The outbox: pushes taken while the cluster cannot be asked.
//!
//! A node that has lost the majority goes on taking pushes. The chunks are stored as always; the command that would
//! publish the paths goes into a durable journal instead of the log ([`journal`]), and until it is proposed the paths
//! are served from here, marked as provisional ([`lookup`]). When the cluster can be asked again, entry by entry is
//! copied to as many nodes as a push needs, and proposed ([`drain`]). What became of each path is remembered.
//!
//! # Invariants
//! - What was answered as taken is in the journal, on the disk, before the answer.
//! - An entry is proposed under one id, which is in the journal before the first attempt: whatever is repeated, by
//!   this process or a later one, is applied once. (The state machine remembers a client for 24 h: an entry whose answer
//!   was lost and that is repeated later than that may be applied again. Publishing again what is there changes
//!   nothing; it would bring back what was deleted in between.)
//! - An entry leaves what waits only when its outcome is applied here, so that its paths are served throughout.
//! - The manifests of what waits are live to a collection ([`Outbox::manifests`]).
//! - An entry is checked when it is taken, by the state as this node knows it and what waits before it: what the
//!   state machine would refuse then is refused at once ([`preview`]).
//!
//! # Non-goals
//! - Changes other than publishing: they need the cluster, and are refused without it.

mod contact;
mod deliver;
mod drain;
mod entry;
mod error;
mod journal;
mod lookup;
mod overlay;
mod preview;
mod proposals;
mod report;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use parking_lot::Mutex;
use tetryx_environment::{Entropy, Io};
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_store::disk::Disk;
use tokio::sync::{Notify, watch};

pub(crate) use self::deliver::{Delivered, Delivery};
pub use self::drain::Drained;
pub(crate) use self::drain::run;
pub use self::error::OutboxError;
pub(crate) use self::lookup::PROVISIONAL;

use self::entry::{Entry, EntryId, Record};
use self::journal::Journal;
use self::preview::Preview;
use self::proposals::Proposals;
use self::report::Decided;
use self::waiting::Waiting;
use crate::NodeError;

/// The most paths that wait. A node that was away for so long has other problems.
const WAITING_PATHS_MAX: usize = 200_000;
/// A journal longer than this is written anew when most of it is of the past.
const REWRITE_BYTES: u64 = 4 << 20;

/// The pushes that wait for the cluster, and what became of others; one per node.
#[derive(Debug)]
pub struct Outbox {
    inner: Arc<Inner>,
    io: Io,
}

#[derive(Debug)]
struct Inner {
    /// Held while something is made durable, so that memory follows the journal in its order.
    journal: Mutex<Journal>,
    state: Mutex<State>,
    preview: Mutex<Preview>,
    proposals: Proposals,
    /// One at a time hands entries over.
    draining: tokio::sync::Mutex<()>,
    wake: Notify,
    is_broken: watch::Sender<bool>,
}

/// What the journal says.
#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    decided: Decided,
    /// The sequence number of the next entry.
    next: u64,
    /// Counts the records since the process started.
    changes: u64,
}

impl State {
    fn apply(&mut self, record: Record) {
        self.changes += 1;
        match record {
            Record::Begun => {}
            Record::Waiting(id, entry) => {
                self.next = self.next.max(id.sequence + 1);
                self.waiting.insert(id, entry);
            }
            Record::Proposed(id, proposal) => self.waiting.propose(id, proposal),
            Record::Split(id) => self.waiting.split(id),
            Record::Decided(id, outcomes) => {
                if let Some(entry) = self.waiting.remove(id) {
                    self.decided.add(&entry, outcomes);
                }
            }
            Record::Remembered(entry) => self.decided.restore(entry),
            Record::Sequence(next) => self.next = self.next.max(next),
        }
    }

    /// Records from which the same state follows.
    fn records(&self) -> Vec<Record> {
        let remembered = self.decided.oldest_first().cloned().map(Record::Remembered);
        let waiting = self
            .waiting
            .all()
            .map(|(id, entry)| Record::Waiting(*id, Entry::clone(entry)));
        let next = [Record::Sequence(self.next)];
        remembered.chain(waiting).chain(next).collect()
    }
}

impl Outbox {
    /// Reads what an earlier process left. Blocks.
    ///
    /// # Errors
    /// When the journal cannot be read, or was damaged.
    pub(crate) fn open(disk: Arc<dyn Disk>, io: Io, entropy: &dyn Entropy) -> Result<Self, OutboxError> {
        let (journal, records) = Journal::open(disk)?;
        #[cfg(feature = "mutants")]
        let records = match tetryx_environment::mutant::Mutant::OutboxForgottenOnRestart.is_active() {
            true => Vec::new(),
            false => records,
        };
        let mut state = State::default();
        records.into_iter().for_each(|record| state.apply(record));
        let waiting = state.waiting.paths();
        if waiting > 0 {
            tracing::info!(
                paths = waiting,
                "the outbox holds pushes that wait for the cluster"
            );
        }
        Ok(Self {
            io,
            inner: Arc::new(Inner {
                journal: Mutex::new(journal),
                state: Mutex::new(state),
                preview: Mutex::default(),
                proposals: Proposals::new(entropy),
                draining: tokio::sync::Mutex::default(),
                wake: Notify::new(),
                is_broken: watch::Sender::new(false),
            }),
        })
    }

    /// Waits until a write failed that could not be undone. Nothing is taken or handed over from then on, until
    /// another process opens the outbox.
    pub(crate) async fn broken(&self) -> OutboxError {
        let mut is_broken = self.inner.is_broken.subscribe();
        let waited = is_broken.wait_for(|is_broken| *is_broken).await.map(drop);
        waited.expect("the sender lives as long as this");
        OutboxError::Broken
    }

    /// The manifests of all NARs that wait. A collection reads them before it reads the state: what leaves here in
    /// between is in the state then.
    pub fn manifests(&self) -> Vec<ManifestHash> {
        self.inner.state.lock().waiting.manifests()
    }

    /// The NARs that wait, each with its manifest.
    pub(crate) fn nars(&self) -> Vec<(NarHash, ManifestHash)> {
        self.inner.state.lock().waiting.nars()
    }

    /// Takes an entry: durable when this returns, and served from then on.
    async fn take(&self, entry: Entry) -> Result<EntryId, NodeError> {
        let full = self.inner.state.lock().waiting.paths() + entry.paths.len() > WAITING_PATHS_MAX;
        if full {
            return Err(OutboxError::Full {
                max: WAITING_PATHS_MAX,
            }
            .into());
        }
        let taken = self.write(move |state| {
            let id = EntryId::first(state.next);
            (id, vec![Record::Waiting(id, entry)])
        });
        let id = taken.await?;
        self.inner.wake.notify_one();
        Ok(id)
    }

    /// Makes records durable, then true.
    async fn write<V: Send + 'static>(
        &self,
        records: impl FnOnce(&State) -> (V, Vec<Record>) + Send + 'static,
    ) -> Result<V, NodeError> {
        let inner = Arc::clone(&self.inner);
        let written = self.io.run(move || {
            let mut journal = inner.journal.lock();
            let (value, records) = records(&inner.state.lock());
            let appended = journal.append(&records);
            inner.is_broken.send_if_modified(|is_broken| {
                let is_news = journal.is_broken() && !*is_broken;
                *is_broken |= is_news;
                is_news
            });
            appended?;
            let mut state = inner.state.lock();
            records.into_iter().for_each(|record| state.apply(record));
            let is_long = journal.len() > REWRITE_BYTES && journal.len() > 4 * journal.len_when_begun();
            if is_long {
                let records = state.records();
                drop(state);
                journal.rewrite(&records)?;
            }
            Ok::<_, OutboxError>(value)
        });
        Ok(written.await??)
    }
}
