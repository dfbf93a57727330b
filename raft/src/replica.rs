//! One member of the cluster: openraft over the durable log and state, and what the rest of the node may ask of it.

mod parts;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;
use tokio::sync::{mpsc, watch};

use crate::appends::AppendStreams;
use crate::audit::{self, Audit, AuditEvery};
use crate::compaction::{self, Compaction};
use crate::data::DataFiles;
use crate::error::ReplicaError;
use crate::log_store::{LogStore, LogWatch};
use crate::machine::{Failure, Machine};
use crate::network::Peers;
use crate::patience::within;
use crate::profile::Profile;
use crate::propose::Proposals;
use crate::reads::{self, ReadRounds};
use crate::rebuild::Rebuild;
use crate::seeds::Seeds;
use crate::snapshot::Snapshots;
use crate::state_store::StateStore;
use crate::status::{ReplicaRole, ReplicaStatus};
use crate::transfers::Transfers;
use crate::transport::Transport;
use crate::types::{Metrics, Raft, RaftId, TypeConfig};
use crate::view::{LatestView, StateView};
use tetryx_environment::{Clock, Entropy, Io};

/// How long a shutdown waits for tasks that still use the files.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(30);

/// What a replica is made of.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// Who this replica is. It is bound to the data: data of another node must never be opened under this id.
    pub node_id: NodeId,
    /// Where its bytes are. Nobody else may use these files.
    pub files: Arc<dyn DataFiles>,
    /// Where its reads and writes run.
    pub io: Io,
    /// The timing, the same on all voters.
    pub profile: Profile,
    /// When the log is cut.
    pub compaction: Compaction,
    /// When the states of the replicas are compared; the same on all nodes.
    pub audit: AuditEvery,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Its way to the others.
    pub transport: Arc<dyn Transport>,
    /// The newest commands that it proposes and applies: a daemon's [`FEATURE_LEVEL`]. One below stops at newer
    /// commands as an older release does; one above stands for the next release, see [`Replica::propose`].
    ///
    /// [`FEATURE_LEVEL`]: tetryx_state::command::FEATURE_LEVEL
    pub feature_level: u32,
}

/// A member of the cluster. Clones share it; when the last one is dropped, it stops by itself.
///
/// Needs a tokio runtime with time.
#[derive(Clone, Debug)]
pub struct Replica {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    id: NodeId,
    io: Io,
    profile: Profile,
    feature_level: u32,
    raft: Raft,
    log: LogWatch,
    latest: Arc<LatestView>,
    /// Kept open, so that a replica that failed goes on showing what it has.
    store: Mutex<Option<Arc<StateStore>>>,
    applied: watch::Receiver<u64>,
    clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    proposals: Proposals,
    appends: AppendStreams,
    transfers: Transfers,
    read_rounds: ReadRounds,
    /// When the newest proof was begun that the state includes all that was acknowledged until then.
    proofs: watch::Sender<Option<Elapsed>>,
    audit: Arc<Audit>,
    files: Arc<dyn DataFiles>,
    snapshots: Arc<Snapshots>,
    failure: Failure,
    is_closing: AtomicBool,
    in_use: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Replica {
    /// Opens the replica's files and starts it.
    ///
    /// A replica that is the only voter leads at once, and shows everything it had answered for; every other one
    /// waits to hear from its leader, and may show an earlier state until then.
    ///
    /// # Errors
    /// The files cannot be opened, or what they hold is damaged or from a newer version.
    pub async fn open(config: ReplicaConfig) -> Result<Self, ReplicaError> {
        let ReplicaConfig {
            node_id,
            files,
            io,
            profile,
            compaction,
            audit,
            clock,
            entropy,
            transport,
            feature_level,
        } = config;
        let latest = Arc::new(LatestView::default());
        let (progress, applied) = watch::channel(0);
        let (using, in_use) = mpsc::channel(1);
        let failure = Failure::default();
        let (audit, views) = Audit::new(audit);

        let log = LogStore::open(Arc::clone(&files), io.clone(), using.clone()).await?;
        let last = log.last_index();
        let log_watch = log.watch();
        let rebuild = Rebuild {
            files: &files,
            io: io.clone(),
            profile,
            transport: &transport,
            purged: log.purged_index(),
        };
        rebuild.run_if_marked().await?;
        let (store, snapshots) = {
            let (files, entropy, latest) = (Arc::clone(&files), Arc::clone(&entropy), Arc::clone(&latest));
            let audit = Arc::clone(&audit);
            io.run_unwinding(move || {
                let store = StateStore::open(files.as_ref(), latest, audit, progress, feature_level, using)?;
                let snapshots = Snapshots::open(files, entropy)?;
                Ok::<_, ReplicaError>((Arc::new(store), Arc::new(snapshots)))
            })
            .await?
        };
        let kept_open = Arc::clone(&store);
        tokio::spawn(compaction::settle(
            Arc::downgrade(&store),
            applied.clone(),
            io.clone(),
        ));
        let machine = Machine {
            store,
            snapshots: Arc::clone(&snapshots),
            failure: Arc::clone(&failure),
            audit: audit.every(),
            io: io.clone(),
        };
        let seeds = Arc::new(Seeds::new(entropy.as_ref()));
        let peers = Peers {
            id: RaftId(node_id),
            transport: Arc::clone(&transport),
            profile,
            io: io.clone(),
            snapshots: Arc::clone(&snapshots),
            streams: Arc::new(AtomicU64::new(0)),
        };
        let raft = seeds
            .scope(Raft::new(
                RaftId(node_id),
                Arc::new(raft_config(profile)),
                peers,
                log,
                machine,
            ))
            .await
            .map_err(|fatal| stop_reason(&failure, &fatal))?;
        tokio::spawn(compaction::run(
            raft.clone(),
            Arc::downgrade(&kept_open),
            io.clone(),
            compaction,
        ));
        let replica = Self {
            inner: Arc::new(Inner {
                id: node_id,
                io: io.clone(),
                profile,
                feature_level,
                log: log_watch,
                latest,
                store: Mutex::new(Some(kept_open)),
                applied,
                clock,
                transport,
                proposals: Proposals::new(entropy.as_ref()),
                appends: AppendStreams::new(raft.clone(), seeds),
                transfers: Transfers::new(raft.clone(), Arc::clone(&snapshots), io),
                read_rounds: ReadRounds::start(raft.clone()),
                proofs: watch::Sender::new(None),
                audit,
                files,
                snapshots,
                failure,
                is_closing: AtomicBool::new(false),
                in_use: tokio::sync::Mutex::new(in_use),
                raft,
            }),
        };
        tokio::spawn(audit::run(
            Arc::downgrade(&replica.inner),
            views,
            replica.inner.applied.clone(),
        ));
        tokio::spawn(reads::keep_fresh(
            Arc::downgrade(&replica.inner),
            profile.freshness_pause(),
        ));
        let alone = replica
            .raft()
            .with_raft_state(move |state| {
                let members = state.membership_state.effective().membership();
                members.voter_ids().eq([RaftId(node_id)])
            })
            .await
            .map_err(|fatal| replica.stopped(&fatal))?;
        if alone {
            // Nobody else could object, so there is nothing to wait for.
            replica
                .raft()
                .trigger()
                .elect(false)
                .await
                .map_err(|fatal| replica.stopped(&fatal))?;
            // Everything in its log is committed, and what was answered for before a crash shows again.
            let at = replica.clock().elapsed();
            match replica.wait_applied(last).await {
                Ok(_) => drop(replica.proofs().send_replace(Some(at))),
                Err(error) => tracing::error!(error = error.chain(), "the log cannot be applied"),
            }
        }
        Ok(replica)
    }

    /// The id it was opened with.
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// The newest commands that it proposes and applies.
    pub fn feature_level(&self) -> u32 {
        self.inner.feature_level
    }

    /// Whether it belongs to a cluster: founded one, or has heard from a leader or a candidate.
    ///
    /// # Errors
    /// The replica has stopped.
    pub async fn is_initialised(&self) -> Result<bool, ReplicaError> {
        self.raft()
            .is_initialized()
            .await
            .map_err(|fatal| self.stopped(&fatal))
    }

    /// Founds a cluster of which this replica is the only voter, and returns when it leads and that is committed.
    ///
    /// # Errors
    /// [`ReplicaError::AlreadyInitialised`] if the replica belongs to a cluster.
    pub async fn bootstrap(&self) -> Result<(), ReplicaError> {
        let members = BTreeMap::from([(RaftId(self.id()), ())]);
        self.raft()
            .initialize(members)
            .await
            .map_err(|error| match error {
                RaftError::APIError(InitializeError::NotAllowed(_)) => ReplicaError::AlreadyInitialised,
                RaftError::APIError(error) => ReplicaError::Membership {
                    reason: error.to_string(),
                },
                RaftError::Fatal(fatal) => self.stopped(&fatal),
            })?;
        let mut metrics = self.raft().metrics();
        while metrics
            .borrow_and_update()
            .committed_membership_config
            .log_id()
            .is_none()
        {
            self.changed(&mut metrics).await?;
        }
        // Nobody else has acknowledged anything.
        self.proofs().send_replace(Some(self.clock().elapsed()));
        Ok(())
    }

    /// Waits until some node leads, and returns which.
    ///
    /// # Errors
    /// The replica has stopped.
    pub async fn wait_leader(&self) -> Result<NodeId, ReplicaError> {
        let mut metrics = self.raft().metrics();
        loop {
            if let Some(leader) = metrics.borrow_and_update().current_leader {
                return Ok(leader.0);
            }
            self.changed(&mut metrics).await?;
        }
    }

    /// The applied state as it is now. It stays as it is however long it is held; take a new one per request.
    ///
    /// # Errors
    /// [`ReplicaError::Stopped`] after a shutdown, [`ReplicaError::Diverged`] if the state was found to be wrong. A
    /// replica that failed goes on showing what it has.
    pub fn view(&self) -> Result<StateView, ReplicaError> {
        if let Some(divergence) = &*self.audit().diverged().borrow() {
            return Err(ReplicaError::Diverged {
                index: divergence.index,
            });
        }
        self.inner.latest.get().ok_or(ReplicaError::Stopped)
    }

    /// The index of the last entry that [`Replica::view`] shows; 0 if nothing is applied yet.
    pub fn applied_index(&self) -> u64 {
        *self.inner.applied.borrow()
    }

    /// Waits until [`Replica::view`] shows the effects of the entry at `index`, and returns what it shows then.
    ///
    /// # Errors
    /// The replica has stopped before.
    pub async fn wait_applied(&self, index: u64) -> Result<u64, ReplicaError> {
        let mut applied = self.inner.applied.clone();
        let reached = async {
            applied
                .wait_for(|applied| *applied >= index)
                .await
                .map(|applied| *applied)
        };
        let mut metrics = self.raft().metrics();
        let stopped = async {
            loop {
                if let Err(error) = self.changed(&mut metrics).await {
                    return error;
                }
            }
        };
        tokio::select! {
            biased;
            reached = reached => reached.map_err(|_| self.why_stopped()),
            error = stopped => Err(error),
        }
    }

    /// What the replica knows about itself and its cluster at this moment.
    pub fn status(&self) -> ReplicaStatus {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        ReplicaStatus {
            node_id: self.id(),
            role: ReplicaRole::from(metrics.state),
            leader: metrics.current_leader.map(|id| id.0),
            term: metrics.current_term,
            last_log: metrics.last_log_index,
            last_applied: self.applied_index(),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            profile: self.profile(),
            audit: self.audited(),
            voters: members.voter_ids().map(|id| id.0).collect(),
            learners: members.learner_ids().map(|id| id.0).collect(),
            failure: metrics
                .running_state
                .as_ref()
                .err()
                .map(|fatal| self.stopped(fatal)),
        }
    }

    /// Resolves when the replica has failed and must be restarted, with the reason. Never resolves because of
    /// [`Replica::shutdown`].
    pub fn fatal(&self) -> impl Future<Output = ReplicaError> + Send + 'static {
        let mut metrics = self.raft().metrics();
        let inner = Arc::downgrade(&self.inner);
        let failure = Arc::clone(&self.inner.failure);
        async move {
            let fatal = loop {
                let running = metrics.borrow_and_update().running_state.clone();
                if let Err(fatal) = running {
                    break fatal;
                }
                if metrics.changed().await.is_err() {
                    break Fatal::Panicked;
                }
            };
            let was_asked_to = inner
                .upgrade()
                .is_none_or(|inner| inner.is_closing.load(Ordering::Relaxed));
            if was_asked_to && failure.lock().is_none() {
                return std::future::pending().await;
            }
            stop_reason(&failure, &fatal)
        }
    }

    /// Stops the replica and returns when its files are closed. Calls under way end with an error.
    pub async fn shutdown(&self) {
        self.inner.is_closing.store(true, Ordering::Relaxed);
        if let Err(error) = self.raft().shutdown().await {
            tracing::warn!(%error, "the consensus task did not end by itself");
        }
        self.inner.latest.clear();
        let store = self.inner.store.lock().take();
        if let Some(store) = store
            && let Err(error) = self.inner.io.run_unwinding(move || store.make_durable()).await
        {
            tracing::warn!(error = error.chain(), "the log will have to be applied again");
        }
        let mut in_use = self.inner.in_use.lock().await;
        if within(SHUTDOWN_PATIENCE, in_use.recv()).await.is_none() {
            tracing::warn!("the files of the replica are still in use");
        }
    }

    /// Waits for news; an error when the replica has stopped.
    pub(crate) async fn changed(&self, metrics: &mut Metrics) -> Result<(), ReplicaError> {
        let running = metrics.borrow_watched().running_state.clone();
        running.map_err(|fatal| self.stopped(&fatal))?;
        metrics.changed().await.map_err(|_| self.why_stopped())?;
        let running = metrics.borrow_watched().running_state.clone();
        running.map_err(|fatal| self.stopped(&fatal))
    }

    pub(crate) fn stopped(&self, fatal: &Fatal<TypeConfig>) -> ReplicaError {
        if self.inner.is_closing.load(Ordering::Relaxed) {
            return ReplicaError::Stopped;
        }
        stop_reason(&self.inner.failure, fatal)
    }

    /// Why openraft no longer answers.
    pub(crate) fn why_stopped(&self) -> ReplicaError {
        let running = self.raft().metrics().borrow_watched().running_state.clone();
        self.stopped(&running.err().unwrap_or(Fatal::Panicked))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_closing.load(Ordering::Relaxed) {
            return;
        }
        // openraft's tasks keep each other alive; outside a runtime they are gone already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let raft = self.raft.clone();
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

fn stop_reason(failure: &Mutex<Option<ReplicaError>>, fatal: &Fatal<TypeConfig>) -> ReplicaError {
    failure.lock().clone().unwrap_or_else(|| ReplicaError::Failed {
        reason: fatal.to_string(),
    })
}

fn raft_config(profile: Profile) -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("profiles are in seconds");
    let heartbeat = millis(profile.heartbeat());
    let config = Config {
        cluster_name: "tetryx".to_owned(),
        heartbeat_interval: heartbeat,
        // Acknowledged entries stand in for heartbeats.
        heartbeat_min_interval: Some(heartbeat),
        election_timeout_min: millis(profile.election_min()),
        election_timeout_max: millis(profile.election_max()),
        // Off unless asked for; without it, a node that comes back deposes the leader.
        enable_pre_vote: Some(true),
        // A restarted leader must not lead on the strength of what it remembers.
        enable_leader_restore: Some(false),
        // See `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: 1_024,
        api_channel_size: Some(4_096),
        ..Config::default()
    };
    config.validate().expect("the profiles satisfy openraft's rules")
}
