//! Several simulated nodes as one cluster, over links in memory.
//!
//! The founder is the only voter, unless a test starts the nodes' tasks: then the nodes that are cut off and killed
//! here never cost the cluster its majority, and nothing waits for an election.

use tetryx_environment::Clock;
use tetryx_link::memory::Hub;
use tetryx_link::{Links, Service};
use tetryx_node::config::Config;
use tetryx_node::{PassReport, first_start, membership, peers};
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::join::{JoinAnswer, JoinRequest, Welcome};
use tetryx_protocol::message::Message;
use tetryx_protocol::placement::{Copies, PlaceCandidate, place};
use tetryx_protocol::secret::Secret32;
use tetryx_protocol::ticket;
use tetryx_state::command::{CreateInvite, DrainMember, RemoveMember};
use tetryx_state::query;
use tetryx_store::disk::{MemoryDisk, Survivors};

use crate::machine::Machine;
use crate::node::TestNode;

/// Nodes that know one another. The founder comes first and stays.
#[derive(Debug)]
pub struct Cluster {
    pub hub: Hub,
    nodes: Vec<Option<TestNode>>,
    machines: Vec<Machine>,
}

impl Cluster {
    /// So many nodes with the default configuration.
    pub async fn of(count: u8) -> Self {
        Self::with(count, |_, _| {}).await
    }

    /// So many nodes; `change` adjusts the configuration of each by its number, from 1.
    pub async fn with(count: u8, change: impl Fn(u8, &mut Config)) -> Self {
        let hub = Hub::new();
        let machine = Machine::at(&hub, 1, |config| change(1, config));
        let founder = machine.start().await;
        membership::introduce(&founder.node)
            .await
            .expect("the founder is a member");
        peers::take_over(&founder.node).expect("the founder knows itself");
        let mut cluster = Self {
            hub,
            nodes: vec![Some(founder)],
            machines: vec![machine],
        };
        for number in 2..=count {
            cluster.join(|config| change(number, config)).await;
        }
        cluster.settle().await;
        cluster
    }

    /// The node at this place, from 0.
    pub fn node(&self, at: usize) -> &TestNode {
        self.nodes[at].as_ref().expect("the node runs")
    }

    /// How many machines there are or were.
    pub fn places(&self) -> usize {
        self.machines.len()
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &TestNode> {
        self.nodes.iter().flatten()
    }

    /// Who the node at this place is, whether it runs or not.
    pub fn id(&self, at: usize) -> NodeId {
        self.machines[at].node_id()
    }

    /// The disk of the machine at this place.
    pub fn disk(&self, at: usize) -> &MemoryDisk {
        &self.machines[at].disk
    }

    /// The place of a node.
    pub fn place_of(&self, node: NodeId) -> usize {
        let found = self.machines.iter().position(|machine| machine.node_id() == node);
        found.expect("a node of this cluster")
    }

    /// The places of the nodes that should hold a NAR of which there are to be so many copies, best first.
    pub fn holders(&self, nar: &NarHash, copies: u8) -> Vec<usize> {
        let view = self.node(0).node.replica().view().expect("the founder runs");
        let members = query::members(&view).expect("the state can be read");
        let members: Vec<PlaceCandidate> = members
            .into_iter()
            .map(|(node, member)| PlaceCandidate {
                node,
                zone: member.zone,
                weight: member.weight,
            })
            .collect();
        let placed = place(nar, &members, Copies::Exactly(copies));
        placed.into_iter().map(|node| self.place_of(node)).collect()
    }

    /// Makes a new machine a member, as its own node does it; returns its place.
    pub async fn join(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let number = u8::try_from(self.machines.len() + 1).expect("a small cluster");
        let machine = self.machines[0].beside(number, change);
        let secret = Secret32::from_bytes([number; 32]);
        let founder = self.node(0);
        let expires = machine.clock.utc().plus(std::time::Duration::from_secs(3600));
        let invite = CreateInvite {
            secret_hash: ticket::secret_hash(&secret),
            zone: None,
            expires,
            voter: true,
        };
        founder.node.propose("test", invite).await.expect("an invitation");
        let (links, dispatch) = machine.connect();
        let request = JoinRequest {
            cluster: founder.cluster_id(),
            secret,
            name: machine.config.name.clone().expect("the machine is named"),
            zone: machine.config.zone.as_str().to_owned(),
            addresses: Vec::new(),
            gossip: Vec::new(),
            http_url: None,
            weight: machine.config.replication.weight,
            now: machine.clock.utc(),
            feature_level: first_start::FEATURE_LEVEL,
        };
        let welcome = ask(links.as_ref(), self.id(0), &request).await;
        machine
            .roster
            .learn(welcome.cluster, welcome.epoch, welcome.index, welcome.members);
        founder
            .node
            .replica()
            .add_learner(machine.node_id())
            .await
            .expect("a learner is added");
        let root = founder.root.clone();
        let node = machine.start_with(links, dispatch).await;
        self.machines.push(machine);
        self.nodes.push(Some(TestNode { root, ..node }));
        self.settle().await;
        self.machines.len() - 1
    }

    /// Waits until every running node that the founder reaches has applied what the founder has, and knows that it has
    /// caught up: until then it collects nothing.
    pub async fn settle(&self) {
        let index = self.node(0).node.replica().applied_index();
        for node in self.running() {
            node.node
                .replica()
                .wait_applied(index)
                .await
                .expect("the replica runs");
            node.node
                .replica()
                .wait_caught_up()
                .await
                .expect("the replica runs");
            peers::take_over(&node.node).expect("the members are read");
        }
    }

    /// Cuts the power of a node.
    pub async fn kill(&mut self, at: usize) {
        let node = self.nodes[at].take().expect("the node runs");
        self.hub.take_away(node.node.node_id());
        self.machines[at].disk.restart(Survivors::Synced);
        // Its files are dead: what still runs of it can change nothing any more.
        let _ = node.node.shutdown().await;
    }

    /// Starts a killed node on what is left.
    pub async fn restart(&mut self, at: usize) {
        let node = self.machines[at].start().await;
        let root = self.node(0).root.clone();
        self.nodes[at] = Some(TestNode { root, ..node });
        self.settle().await;
    }

    /// Ends all nodes, so that nothing of them runs on beside what a test does next.
    pub async fn shutdown(self) {
        for node in self.nodes.into_iter().flatten() {
            // A node whose disk has failed cannot end in peace, and ends nevertheless.
            let _ = node.node.shutdown().await;
        }
    }

    /// Cuts the power of a node and starts it again on what is left, whether or not it reaches the others then.
    pub async fn crash(&mut self, at: usize, survivors: Survivors) {
        let node = self.nodes[at].take().expect("the node runs");
        let root = node.root.clone();
        let node = node.crash(survivors).await;
        self.nodes[at] = Some(TestNode { root, ..node });
    }

    pub async fn drain(&self, at: usize) {
        let drain = DrainMember { node: self.id(at) };
        self.node(0)
            .node
            .propose("test", drain)
            .await
            .expect("it may drain");
        self.settle().await;
    }

    pub async fn remove(&self, at: usize) {
        let remove = RemoveMember { node: self.id(at) };
        self.node(0)
            .node
            .propose("test", remove)
            .await
            .expect("it may be removed");
        self.settle_without(at).await;
    }

    async fn settle_without(&self, at: usize) {
        let index = self.node(0).node.replica().applied_index();
        for (place, node) in self.nodes.iter().enumerate() {
            if let Some(node) = node.as_ref().filter(|_| place != at) {
                node.node
                    .replica()
                    .wait_applied(index)
                    .await
                    .expect("the replica runs");
                peers::take_over(&node.node).expect("the members are read");
            }
        }
    }

    /// Has every running node replicate until none finds anything to do that it can do; the last reports, by place.
    pub async fn replicate(&self) -> Vec<PassReport> {
        loop {
            let mut reports = Vec::new();
            for node in self.running() {
                reports.push(node.node.replicate_once().await.expect("a pass"));
            }
            if reports
                .iter()
                .all(|report| report.fetched == 0 && report.left == 0)
            {
                return reports;
            }
        }
    }
}

async fn ask(links: &dyn Links, member: NodeId, request: &JoinRequest) -> Welcome {
    let body = request.encode().into();
    let answer = links
        .call_stranger(Vec::new(), member, Service::Join, body)
        .await
        .expect("the member answers");
    match JoinAnswer::decode(&answer).expect("an answer") {
        JoinAnswer::Welcome(welcome) => *welcome,
        JoinAnswer::Refused { reason } => panic!("the node may not join: {reason}"),
    }
}
