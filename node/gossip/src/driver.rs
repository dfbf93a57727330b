//! The event loop: drives the swarm on a thread of its own, and carries between it and the pure parts.

mod hear;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::gossipsub::{IdentTopic, PublishError};
use libp2p::identity::Keypair;
use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, Swarm};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::behaviour::{self, Behaviour, SCORE_DROPPED};
use crate::book::Book;
use crate::conduct::Offence;
use crate::dialling::Dialling;
use crate::listen::{listen, multiaddr_of};
use crate::{Connected, GossipConfig, GossipError, Presences, Timing, node_id_of, peer_id_of};

/// What the handle asks for.
#[derive(Debug)]
pub(crate) enum Order {
    Announce(Box<Presence>),
    RosterChanged,
    FalseClaim(NodeId),
    Retime(Duration),
    Shutdown,
}

/// Where the driver writes what the handle shows.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) presences: watch::Sender<Presences>,
    pub(crate) connected: watch::Sender<Connected>,
}

/// Between two looks at the roster, at scores, and at who is to be dialled.
const TICK: Duration = Duration::from_secs(1);
/// How long connections may take to close when the overlay ends.
const GOODBYE: Duration = Duration::from_millis(500);
/// Between two log lines about the same refused node.
const REFUSAL_LOG_EVERY: Duration = Duration::from_secs(60);
/// Refused nodes that are remembered for that.
const REFUSALS_MAX: usize = 1_024;
/// Addresses that are tried for one member.
const ADDRESSES_MAX: usize = 16;

/// Why one run of the swarm ended.
enum End {
    Shutdown,
    Retime(Timing),
}

/// What outlives a swarm.
struct Memory {
    book: Book,
    board: Board,
    announced: Option<Box<Presence>>,
    refusals: BTreeMap<String, Elapsed>,
}

/// The thread. Returns when the overlay has ended and its sockets are closed.
pub(crate) fn run(
    mut config: GossipConfig,
    ready: oneshot::Sender<Result<SocketAddr, GossipError>>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    board: Board,
) {
    let mut ready = Some(ready);
    let keypair = match Keypair::ed25519_from_bytes(config.key_seed.as_mut_slice()) {
        Ok(keypair) => keypair,
        Err(error) => {
            return answer(
                &mut ready,
                Err(GossipError::Key {
                    reason: error.to_string(),
                }),
            );
        }
    };
    let Some(own) = node_id_of(&keypair.public().to_peer_id()) else {
        let reason = "it is not an ed25519 key".to_owned();
        return answer(&mut ready, Err(GossipError::Key { reason }));
    };
    let mut memory = Memory {
        book: Book::new(own, config.timing.penalty),
        board,
        announced: None,
        refusals: BTreeMap::new(),
    };
    loop {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(source) => return answer(&mut ready, Err(GossipError::Thread { source })),
        };
        let end = runtime.block_on(async {
            let opened = Driver::open(&config, own, keypair.clone(), &mut memory).await;
            let (driver, listen) = opened?;
            answer(&mut ready, Ok(listen));
            Ok((driver.drive(&mut orders).await, listen))
        });
        // Ends every task at once, and with them the sockets; a look-up of a host name may finish by itself.
        runtime.shutdown_background();
        match end {
            Ok((End::Shutdown, _)) => return,
            Ok((End::Retime(timing), listen)) => {
                config.listen = listen;
                tracing::info!(
                    rtt_ms = timing.rtt.as_millis(),
                    "gossip adapts its timers to the links' round trip"
                );
                config.timing = timing;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "gossip ended");
                return answer(&mut ready, Err(error));
            }
        }
    }
}

fn answer(
    ready: &mut Option<oneshot::Sender<Result<SocketAddr, GossipError>>>,
    result: Result<SocketAddr, GossipError>,
) {
    if let Some(ready) = ready.take() {
        // Nobody waits any more if the start was abandoned; the orders' end is gone then, too.
        let _ = ready.send(result);
    }
}

/// One run of a swarm.
struct Driver<'a> {
    config: &'a GossipConfig,
    own: NodeId,
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    memory: &'a mut Memory,
    dialling: Dialling,
    /// The roster's addresses, and where members were seen on the local network.
    addresses: BTreeMap<NodeId, Vec<String>>,
    nearby: BTreeMap<NodeId, BTreeSet<Multiaddr>>,
    resolved: mpsc::Receiver<(NodeId, Vec<Multiaddr>)>,
    resolver: mpsc::Sender<(NodeId, Vec<Multiaddr>)>,
    /// Somebody who has not heard the last announcement has connected.
    repeat: bool,
}

impl<'a> Driver<'a> {
    async fn open(
        config: &'a GossipConfig,
        own: NodeId,
        keypair: Keypair,
        memory: &'a mut Memory,
    ) -> Result<(Self, SocketAddr), GossipError> {
        let mut swarm = behaviour::swarm(keypair, &config.cluster, config.mdns, &config.timing)?;
        let listen = listen(&mut swarm, config.listen).await?;
        let (resolver, resolved) = mpsc::channel(64);
        let mut driver = Self {
            config,
            own,
            swarm,
            topic: behaviour::topic(&config.cluster),
            memory,
            dialling: Dialling::new(own, &config.timing),
            addresses: BTreeMap::new(),
            nearby: BTreeMap::new(),
            resolved,
            resolver,
            repeat: false,
        };
        driver.memory.board.connected.send_replace(Arc::default());
        driver.read_roster();
        Ok((driver, listen))
    }

    fn now(&self) -> Elapsed {
        (self.config.elapsed)()
    }

    async fn drive(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> End {
        let mut tick = ticks();
        let end = loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Retime(rtt)) if self.config.timing.misfits(rtt) => {
                        let penalty = self.config.timing.penalty;
                        break End::Retime(Timing { penalty, ..Timing::for_rtt(rtt) });
                    }
                    Some(Order::Shutdown) | None => break End::Shutdown,
                    Some(order) => self.obey(order),
                },
                _ = tick.tick() => self.tick(),
                Some((node, addresses)) = self.resolved.recv() => self.dial(&node, addresses),
                event = self.swarm.select_next_some() => self.hear(event),
            }
        };
        self.say_goodbye().await;
        end
    }

    /// Closes the connections, so that the members know at once.
    async fn say_goodbye(mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error means that it is not connected any more.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(GOODBYE, closing).await.is_err() {
            tracing::debug!("some members did not confirm the goodbye");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Announce(presence) if presence.node == self.own => {
                self.memory.announced = Some(presence);
                self.publish();
            }
            Order::Announce(presence) => {
                tracing::error!(node = %presence.node, "asked to announce the presence of another node; not done");
            }
            Order::RosterChanged => self.read_roster(),
            Order::FalseClaim(node) => self.charge(node, Offence::FalseClaim),
            Order::Retime(_) | Order::Shutdown => {}
        }
    }

    fn tick(&mut self) {
        self.read_roster();
        self.drop_by_score();
        if std::mem::take(&mut self.repeat) {
            self.publish();
        }
    }

    /// Tells everybody the last announcement.
    fn publish(&mut self) {
        let Some(presence) = &self.memory.announced else {
            return;
        };
        let bytes = presence.encode();
        match self
            .swarm
            .behaviour_mut()
            .gossipsub
            .publish(self.topic.clone(), bytes)
        {
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic) => {}
            Err(error) => tracing::debug!(%error, "a presence was not sent; the next one will be"),
        }
    }

    /// Takes over who is a member: whom to admit, to whom to listen, whom to dial.
    fn read_roster(&mut self) {
        let now = self.now();
        let members = self.config.roster.members();
        let nodes: BTreeSet<NodeId> = members.iter().map(|(node, _)| *node).collect();
        self.memory.book.set_members(nodes.iter().copied());
        let (book, own) = (&self.memory.book, self.own);
        let admitted: BTreeSet<PeerId> = nodes
            .iter()
            .filter(|node| **node != own && !book.conduct.is_dropped(node, now))
            .filter_map(peer_id_of)
            .collect();
        let allow = &mut self.swarm.behaviour_mut().members;
        let gone: Vec<PeerId> = allow
            .allowed_peers()
            .iter()
            .filter(|peer| !admitted.contains(peer))
            .copied()
            .collect();
        for peer in gone {
            allow.disallow_peer(peer);
        }
        for peer in &admitted {
            allow.allow_peer(*peer);
        }
        for (node, addresses) in &members {
            if self.addresses.get(node) != Some(addresses) {
                self.dialling.hurry(node, now);
            }
        }
        self.addresses = members.into_iter().collect();
        self.nearby.retain(|node, _| nodes.contains(node));
        let dialled: Vec<NodeId> = nodes
            .iter()
            .filter(|node| !self.memory.book.conduct.is_dropped(node, now))
            .filter(|node| {
                self.addresses.get(node).is_some_and(|known| !known.is_empty())
                    || self.nearby.contains_key(node)
            })
            .copied()
            .collect();
        self.dialling.set_members(dialled, now);
        self.forget_presences(|node| nodes.contains(node));
        for node in self.dialling.due(now) {
            self.look_up(node);
        }
    }

    fn forget_presences(&self, keep: impl Fn(&NodeId) -> bool) {
        self.memory.board.presences.send_if_modified(|presences| {
            let modified = presences.keys().any(|node| !keep(node));
            if modified {
                Arc::make_mut(presences).retain(|node, _| keep(node));
            }
            modified
        });
    }

    /// Finds the addresses of a member that is to be dialled. [`Self::dial`] follows.
    fn look_up(&self, node: NodeId) {
        let resolver = self.resolver.clone();
        let names = self.addresses.get(&node).cloned().unwrap_or_default();
        let mut found: Vec<Multiaddr> = self.nearby.get(&node).into_iter().flatten().cloned().collect();
        tokio::spawn(async move {
            for name in names.into_iter().take(ADDRESSES_MAX) {
                match tokio::net::lookup_host(&name).await {
                    Ok(addresses) => found.extend(addresses.map(multiaddr_of)),
                    Err(error) => {
                        tracing::debug!(node = %node.fmt_short(), name, %error, "unknown gossip address")
                    }
                }
            }
            found.truncate(ADDRESSES_MAX);
            // An error means that the overlay ends.
            let _ = resolver.send((node, found)).await;
        });
    }

    fn dial(&mut self, node: &NodeId, addresses: Vec<Multiaddr>) {
        let Some(peer) = peer_id_of(node) else {
            return;
        };
        if self.swarm.is_connected(&peer) {
            self.dialling.connected(node);
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        if let Err(error) = self.swarm.dial(options) {
            self.dial_failed(node, &error);
        }
    }

    fn dial_failed(&mut self, node: &NodeId, error: &DialError) {
        let now = self.now();
        if let Some(wait) = self.dialling.failed(node, now) {
            let wait_ms = wait.as_millis();
            tracing::debug!(node = %node.fmt_short(), %error, wait_ms, "a member cannot be reached for gossip");
        }
    }

    /// Charges a member, and drops it when that is enough: its connections, and what it claimed.
    fn charge(&mut self, node: NodeId, offence: Offence) {
        let now = self.now();
        if !self.memory.book.is_member(&node) || !self.memory.book.conduct.charge(node, offence, now) {
            return;
        }
        tracing::warn!(
            node = %node,
            for_seconds = self.config.timing.penalty.as_secs(),
            "a member sent {}; it is dropped from gossip for a while. Is its software damaged, or its key stolen?",
            offence.as_str(),
        );
        self.forget_presences(|other| *other != node);
        self.read_roster();
    }

    /// Drops members whose messages gossipsub itself refused.
    fn drop_by_score(&mut self) {
        let gossipsub = &self.swarm.behaviour().gossipsub;
        let offenders: Vec<NodeId> = self
            .swarm
            .connected_peers()
            .filter(|peer| {
                gossipsub
                    .peer_score(peer)
                    .is_some_and(|score| score < SCORE_DROPPED)
            })
            .filter_map(node_id_of)
            .collect();
        for node in offenders {
            self.charge(node, Offence::Protocol);
        }
    }

    fn show_connected(&self) {
        let connected = self.swarm.connected_peers().filter_map(node_id_of).collect();
        self.memory.board.connected.send_replace(Arc::new(connected));
    }
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
