//! Whether the replicas still hold the same state.
//!
//! Every replica takes a view of its state exactly when an index that is a multiple of [`AuditEvery`] has been applied,
//! hashes it in the background, and (if it votes) says in the log what it found. What the voters said stands in the
//! state, so each replica counts for itself: the hash of more than half of the voters is right, and a replica that has
//! another one has diverged. The leader's word counts like any other.
//!
//! A replica that has diverged serves nothing any more, and leaves a mark beside its files: when it is opened again, it
//! throws its state away and takes that of a node which is with the majority ([`rebuild`](crate::rebuild)).
//!
//! # Invariants
//! - Only replicas that took a view at the very index are compared. One that took over a snapshot meanwhile has none.
//! - Without a majority for one hash nobody is told anything: two voters that differ are both suspect, which is logged.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Weak};

use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tetryx_state::command::CheckState;
use tetryx_state::snapshot::state_hash;
use tetryx_state::{Body, StateHash, query};
use tokio::sync::{mpsc, watch};

use crate::error::ReplicaError;
use crate::rebuild::Mark;
use crate::replica::{Inner, Replica};
use crate::view::StateView;

/// Who proposes what the audit finds, in the audit trail of the state.
const BY: &str = "tetryx";
/// Hashes that a replica remembers.
const REMEMBERED: usize = 8;
/// Views that wait to be hashed at most: each keeps the file from reusing space. What comes meanwhile is not compared.
const WAITING_MAX: usize = 4;
/// The feature level from which on there are checks in the log.
const FEATURE_LEVEL: u32 = 2;

/// After how many entries the states are compared. The same on all nodes, or they have nothing to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditEvery(NonZeroU64);

impl AuditEvery {
    /// The fewest: each comparison takes a few entries itself.
    pub const MIN: u64 = 16;

    /// Compares every so many entries; fewer than [`AuditEvery::MIN`] count as that.
    pub fn new(entries: u64) -> Self {
        Self(NonZeroU64::new(entries.max(Self::MIN)).expect("the minimum is not zero"))
    }

    /// How many of the entries from `first` on can be applied before a view must be taken.
    pub(crate) fn run_length(self, first: u64) -> usize {
        let every = self.0.get();
        let left = (every - first % every) % every + 1;
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn is_due(self, index: u64) -> bool {
        index > 0 && index.is_multiple_of(self.0.get())
    }
}

impl Default for AuditEvery {
    fn default() -> Self {
        Self::new(10_000)
    }
}

/// A comparison as one replica knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited {
    /// The index after which the states were compared.
    pub index: u64,
    /// What this replica had.
    pub hash: StateHash,
    /// What a majority of the voters had, as soon as that is known.
    pub majority: Option<StateHash>,
}

/// How a replica found out that it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The index after which the states were compared.
    pub index: u64,
    /// What this replica had.
    pub ours: StateHash,
    /// What a majority of the voters had.
    pub majority: StateHash,
    /// Who had that.
    pub right: Vec<NodeId>,
}

/// What a replica knows of its audits.
#[derive(Debug)]
pub(crate) struct Audit {
    every: AuditEvery,
    views: mpsc::Sender<StateView>,
    known: Mutex<BTreeMap<u64, Audited>>,
    diverged: watch::Sender<Option<Divergence>>,
}

impl Audit {
    /// The audit, and the views that [`run`] is to hash.
    pub(crate) fn new(every: AuditEvery) -> (Arc<Self>, mpsc::Receiver<StateView>) {
        let (views, taken) = mpsc::channel(WAITING_MAX);
        let audit = Self {
            every,
            views,
            known: Mutex::default(),
            diverged: watch::Sender::new(None),
        };
        (Arc::new(audit), taken)
    }

    pub(crate) fn every(&self) -> AuditEvery {
        self.every
    }

    /// Called with each view that is published; keeps those that are to be compared.
    pub(crate) fn take(&self, view: &StateView) {
        if self.every.is_due(view.applied_index()) {
            // Nobody compares any more while the replica is being shut down.
            drop(self.views.try_send(view.clone()));
        }
    }

    /// How many views wait to be hashed.
    pub(crate) fn waiting(&self) -> usize {
        WAITING_MAX - self.views.capacity()
    }

    pub(crate) fn diverged(&self) -> &watch::Sender<Option<Divergence>> {
        &self.diverged
    }

    fn note(&self, audited: Audited) {
        let mut known = self.known.lock();
        known.insert(audited.index, audited);
        while known.len() > REMEMBERED {
            known.pop_first();
        }
    }

    fn open(&self) -> Vec<Audited> {
        let known = self.known.lock();
        known
            .values()
            .filter(|audited| audited.majority.is_none())
            .copied()
            .collect()
    }
}

impl Replica {
    /// The newest comparison that this replica took part in.
    pub fn audited(&self) -> Option<Audited> {
        let known = self.audit().known.lock();
        known.last_key_value().map(|(_, audited)| *audited)
    }

    /// What the hash of this replica's state was after `index`, if that was compared not long ago.
    pub fn state_hash_at(&self, index: u64) -> Option<StateHash> {
        self.audit().known.lock().get(&index).map(|audited| audited.hash)
    }

    /// Hashes the state as it is now: the index it is of, and the hash. Two replicas that give the same index and
    /// another hash do not hold the same state.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn state_hash(&self) -> Result<(u64, StateHash), ReplicaError> {
        let view = self.view()?;
        self.hash_view(view).await
    }

    async fn hash_view(&self, view: StateView) -> Result<(u64, StateHash), ReplicaError> {
        self.io()
            .run_unwinding(move || {
                let hash = state_hash(&view)
                    .map_err(|error| ReplicaError::damaged("the replicated state", error))?;
                Ok((view.applied_index(), hash))
            })
            .await
    }

    /// Resolves when this replica has found its state to differ from what the majority holds. It serves nothing from
    /// then on: shut it down and open it again, which rebuilds it.
    pub fn diverged(&self) -> impl Future<Output = Divergence> + Send + 'static {
        let mut diverged = self.audit().diverged.subscribe();
        async move {
            match diverged
                .wait_for(Option::is_some)
                .await
                .map(|found| found.clone())
            {
                Ok(Some(found)) => found,
                // The replica is gone, and found nothing.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Says in the log what this replica found, if it votes.
    async fn say(&self, audited: Audited) {
        let votes = self.voters().contains(&self.id());
        let is_known = self
            .view()
            .ok()
            .and_then(|view| query::cluster(&view).ok().flatten())
            .is_some_and(|cluster| cluster.feature_level >= FEATURE_LEVEL);
        if !votes || !is_known {
            return;
        }
        let check = CheckState {
            node: self.id(),
            index: audited.index,
            hash: *audited.hash.as_bytes(),
        };
        if let Err(error) = self.propose(BY, Body::CheckState(check)).await {
            tracing::debug!(%error, index = audited.index, "the hash of the state was not recorded");
        }
    }

    fn voters(&self) -> Vec<NodeId> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        members.voter_ids().map(|id| id.0).collect()
    }

    /// Counts what the voters said so far.
    async fn count(&self) -> Result<(), ReplicaError> {
        let open = self.audit().open();
        if open.is_empty() {
            return Ok(());
        }
        let voters = self.voters();
        let view = self.view()?;
        for audited in open {
            let said = query::state_check(&view, audited.index)
                .map_err(|error| ReplicaError::damaged("the checks of the state", error))?
                .unwrap_or_default();
            let said: Vec<_> = said
                .hashes
                .into_iter()
                .filter(|(node, _)| voters.contains(node))
                .map(|(node, hash)| (node, StateHash::from_bytes(hash)))
                .collect();
            let Some(majority) = majority(&said, voters.len()) else {
                if said.len() == voters.len() {
                    tracing::error!(
                        index = audited.index,
                        ?said,
                        "the voters hold different states, and none has a majority; compare their disks and memory, and remove the bad one"
                    );
                    self.audit().known.lock().remove(&audited.index);
                }
                continue;
            };
            self.audit().note(Audited {
                majority: Some(majority),
                ..audited
            });
            if majority != audited.hash {
                let right = said.iter().filter(|(_, hash)| *hash == majority);
                let divergence = Divergence {
                    index: audited.index,
                    ours: audited.hash,
                    majority,
                    right: right.map(|(node, _)| *node).collect(),
                };
                self.stop_serving(divergence).await?;
            }
        }
        Ok(())
    }

    async fn stop_serving(&self, divergence: Divergence) -> Result<(), ReplicaError> {
        tracing::error!(
            index = divergence.index,
            ours = %divergence.ours,
            majority = %divergence.majority,
            "the state of this node differs from the majority's; it serves nothing until it is rebuilt"
        );
        let mark = Mark {
            index: divergence.index,
            sources: divergence.right.clone(),
        };
        let heir = divergence.right.first().copied();
        let files = Arc::clone(self.files());
        let marked = self.io().run_unwinding(move || mark.write(files.as_ref())).await;
        self.audit().diverged.send_replace(Some(divergence));
        if let Some(heir) = heir
            && let Err(error) = self
                .raft()
                .trigger()
                .transfer_leader(crate::types::RaftId(heir))
                .await
        {
            tracing::debug!(%error, "the leadership was not handed over");
        }
        marked
    }
}

/// The hash that more than half of the `voters` voters gave.
fn majority(said: &[(NodeId, StateHash)], voters: usize) -> Option<StateHash> {
    let mut counts: BTreeMap<StateHash, usize> = BTreeMap::new();
    for (_, hash) in said {
        *counts.entry(*hash).or_default() += 1;
    }
    counts
        .into_iter()
        .find(|(_, count)| *count * 2 > voters)
        .map(|(hash, _)| hash)
}

/// Hashes views and counts what others said, until the replica is gone.
pub(crate) async fn run(
    inner: Weak<Inner>,
    mut views: mpsc::Receiver<StateView>,
    mut applied: watch::Receiver<u64>,
) {
    loop {
        let taken = tokio::select! {
            biased;
            view = views.recv() => match view {
                Some(view) => Some(view),
                None => return,
            },
            changed = applied.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
        };
        let Some(replica) = Replica::revive(&inner) else {
            return;
        };
        let done = match taken {
            Some(view) => replica.hash_view(view).await.map(|(index, hash)| {
                let audited = Audited {
                    index,
                    hash,
                    majority: None,
                };
                replica.audit().note(audited);
                let sayer = replica.clone();
                tokio::spawn(async move { sayer.say(audited).await });
            }),
            None => Ok(()),
        };
        let done = match done {
            Ok(()) => replica.count().await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {}
            Err(ReplicaError::Stopped | ReplicaError::Diverged { .. }) => return,
            Err(error) => tracing::error!(error = error.chain(), "the state could not be compared"),
        }
    }
}
