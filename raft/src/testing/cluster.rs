//! Replicas on disks and a network in memory, in one process and on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tetryx_protocol::id::NodeId;
use tetryx_state::command::FEATURE_LEVEL;
use tetryx_state::snapshot::{StateHash, state_hash};
use tetryx_state::{Outcome, Reply};

use super::disk::MemoryDisk;
use super::hub::Hub;
use super::{RuntimeClock, SeededEntropy, add_member, init_cluster, node};
use crate::audit::AuditEvery;
use crate::compaction::Compaction;
use crate::error::ReplicaError;
use crate::profile::Profile;
use crate::propose::Applied;
use crate::replica::{Replica, ReplicaConfig};
use tetryx_environment::Io;

/// Some replicas. What is started here is reached over `hub`.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<RuntimeClock>,
    pub(crate) profile: Profile,
    pub(crate) compaction: Compaction,
    pub(crate) audit: AuditEvery,
    /// Of the replicas that are started from now on.
    pub(crate) feature_level: u32,
    disks: BTreeMap<NodeId, MemoryDisk>,
    replicas: BTreeMap<NodeId, Arc<Replica>>,
    /// Starts so far: each one draws other random numbers.
    starts: u64,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hub: Hub::new(seed),
            clock: Arc::new(RuntimeClock::new()),
            profile: Profile::Lan,
            compaction: Compaction::default(),
            audit: AuditEvery::default(),
            feature_level: FEATURE_LEVEL,
            disks: BTreeMap::new(),
            replicas: BTreeMap::new(),
            starts: seed << 8,
        }
    }

    /// A cluster whose voters are the nodes 1 to `voters`, founded by node 1, with the first command applied.
    pub(crate) async fn of(voters: u8, seed: u64) -> Self {
        let mut cluster = Self::new(seed);
        cluster.found(voters).await;
        cluster
    }

    pub(crate) async fn found(&mut self, voters: u8) {
        for number in 1..=voters {
            self.start(node(number)).await;
        }
        let founder = self.replica(1);
        founder
            .bootstrap()
            .await
            .expect("an empty replica can found a cluster");
        for number in 2..=voters {
            founder
                .add_learner(node(number))
                .await
                .expect("the founder leads");
        }
        let all: BTreeSet<_> = (1..=voters).map(node).collect();
        if voters > 1 {
            founder.change_voters(all).await.expect("the others are learners");
        }
        let first = founder
            .propose("test", init_cluster())
            .await
            .expect("the founder leads");
        assert_eq!(first.reply, Reply::Done(Outcome::Initialised));
        self.wait_all_applied(first.index).await;
    }

    /// Puts a disk into a node that does not run.
    pub(crate) fn insert_disk(&mut self, number: u8, disk: MemoryDisk) {
        self.disks.insert(node(number), disk);
    }

    /// Starts a replica on its disk, which is empty the first time.
    pub(crate) async fn start(&mut self, id: NodeId) -> Arc<Replica> {
        self.try_start(id).await.expect("the disk is in order")
    }

    pub(crate) async fn try_start(&mut self, id: NodeId) -> Result<Arc<Replica>, ReplicaError> {
        self.starts += 1;
        let disk = self.disks.entry(id).or_default().clone();
        let config = ReplicaConfig {
            node_id: id,
            files: Arc::new(disk),
            io: Io::inline(),
            profile: self.profile,
            compaction: self.compaction,
            audit: self.audit,
            clock: self.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(self.starts)),
            transport: self.hub.transport(id),
            feature_level: self.feature_level,
        };
        let replica = Arc::new(Replica::open(config).await?);
        self.hub.plug(&replica);
        self.replicas.insert(id, Arc::clone(&replica));
        Ok(replica)
    }

    /// Kills a replica: its disk keeps what was written, and whatever still runs of it works on a copy.
    pub(crate) fn kill(&mut self, id: NodeId) {
        self.hub.unplug(id);
        self.replicas.remove(&id);
        if let Some(disk) = self.disks.get_mut(&id) {
            *disk = disk.after_kill();
        }
    }

    pub(crate) fn replica(&self, number: u8) -> Arc<Replica> {
        Arc::clone(&self.replicas[&node(number)])
    }

    pub(crate) fn disk(&self, number: u8) -> MemoryDisk {
        self.disks[&node(number)].clone()
    }

    /// The replicas that run and are not in `without`.
    pub(crate) fn others(&self, without: &[NodeId]) -> Vec<Arc<Replica>> {
        self.replicas
            .values()
            .filter(|replica| !without.contains(&replica.id()))
            .cloned()
            .collect()
    }

    pub(crate) async fn wait_all_applied(&self, index: u64) {
        for replica in self.replicas.values() {
            replica.wait_applied(index).await.expect("the replica runs");
        }
    }

    /// Waits until one of the replicas, apart from `without`, leads by its own account, and returns it.
    pub(crate) async fn wait_new_leader(&self, without: &[NodeId]) -> Arc<Replica> {
        let candidates = self.others(without);
        let leading = candidates.iter().map(|replica| {
            let replica = Arc::clone(replica);
            Box::pin(async move {
                replica.wait_leading().await;
                replica
            })
        });
        futures::future::select_all(leading).await.0
    }
}

impl Replica {
    /// Waits until this replica leads.
    pub(crate) async fn wait_leading(&self) {
        self.raft()
            .wait(None)
            .state(openraft::ServerState::Leader, "a replica leads")
            .await
            .expect("the replica runs");
    }

    /// Adds member `number`, and checks that it was added, and once only.
    pub(crate) async fn add(&self, number: u32) -> Applied {
        let applied = self
            .propose("test", add_member(number))
            .await
            .expect("a majority is there");
        assert_eq!(
            applied.reply,
            Reply::Done(Outcome::MemberAdded),
            "member {number}"
        );
        applied
    }

    pub(crate) fn hash(&self) -> StateHash {
        state_hash(&self.view().expect("the replica runs")).expect("the state can be read")
    }
}
