//! The event loop: drives the swarm on a thread of its own, and carries between it and the pure parts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, PublishError};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, TransportError, mdns};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::presence::Presence;
use tetryx_protocol::time::Elapsed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::behaviour::{self, Behaviour, BehaviourEvent, SCORE_DROPPED};
use crate::book::{Book, Letter, Verdict};
use crate::conduct::Offence;
use crate::dialling::Dialling;
use crate::{GossipConfig, GossipError, Presences, Seen, Timing, node_id_of, peer_id_of};

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
    pub(crate) connected: watch::Sender<Arc<BTreeSet<NodeId>>>,
}

/// Between two looks at the roster, at scores, and at who is to be dialled.
const TICK: Duration = Duration::from_secs(1);
/// How long connections may take to close when the overlay ends.
const GOODBYE: Duration = Duration::from_millis(500);
/// How long the system may take to name the port it gave.
const PORT_KNOWN_WITHIN: Duration = Duration::from_secs(5);
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

    fn hear(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = self.now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossipsub(event)) => self.hear_gossipsub(event),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => self.hear_mdns(event),
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                if let Some(node) = node_id_of(&peer_id) {
                    self.dialling.connected(&node);
                    self.show_connected();
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                if let Some(node) = node_id_of(&peer_id) {
                    self.dialling.disconnected(&node, now);
                    self.show_connected();
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => {
                if let Some(node) = node_id_of(&peer) {
                    self.dial_failed(&node, &error);
                }
            }
            SwarmEvent::IncomingConnectionError {
                peer_id,
                error,
                send_back_addr,
                ..
            } => {
                self.refused(peer_id, &error, &send_back_addr);
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "the gossip listener reports an error");
            }
            SwarmEvent::ListenerClosed {
                addresses,
                reason: Err(error),
                ..
            } => {
                tracing::error!(?addresses, %error, "the gossip listener is closed; members are still dialled from here");
            }
            _ => {}
        }
    }

    fn hear_gossipsub(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let author = message.source.as_ref().and_then(node_id_of);
                let acceptance = match (author, node_id_of(&propagation_source)) {
                    (Some(author), Some(carrier)) => self.receive(Letter {
                        author,
                        carrier,
                        bytes: &message.data,
                    }),
                    _ => MessageAcceptance::Ignore,
                };
                let gossipsub = &mut self.swarm.behaviour_mut().gossipsub;
                gossipsub.report_message_validation_result(&message_id, &propagation_source, acceptance);
            }
            gossipsub::Event::Subscribed { .. } => self.repeat = true,
            _ => {}
        }
    }

    fn receive(&mut self, letter: Letter<'_>) -> MessageAcceptance {
        let now = self.now();
        let judgement = self.memory.book.judge(letter, now);
        if let Some(offence) = judgement.offence {
            self.charge(letter.carrier, offence);
        }
        match judgement.verdict {
            Verdict::Keep(presence) => {
                let seen = Seen {
                    presence: Arc::from(presence),
                    heard: now,
                };
                self.memory.board.presences.send_modify(|presences| {
                    Arc::make_mut(presences).insert(letter.author, seen);
                });
                MessageAcceptance::Accept
            }
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
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

    fn hear_mdns(&mut self, event: mdns::Event) {
        let now = self.now();
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    let Some(node) = node_id_of(&peer).filter(|node| self.memory.book.is_member(node)) else {
                        continue;
                    };
                    let known = self.nearby.entry(node).or_default();
                    if known.len() < ADDRESSES_MAX && known.insert(address) {
                        self.dialling.hurry(&node, now);
                    }
                }
            }
            mdns::Event::Expired(gone) => {
                for (peer, address) in gone {
                    let Some(node) = node_id_of(&peer) else { continue };
                    if let Some(known) = self.nearby.get_mut(&node) {
                        known.remove(&address);
                        if known.is_empty() {
                            self.nearby.remove(&node);
                        }
                    }
                }
            }
        }
    }

    /// Somebody was not let in. Said once a minute for each of them.
    fn refused(&mut self, peer: Option<PeerId>, error: &ListenError, address: &Multiaddr) {
        let (Some(peer), ListenError::Denied { .. }) = (peer, error) else {
            tracing::debug!(%address, %error, "an incoming gossip connection failed");
            return;
        };
        let now = self.now();
        let node = node_id_of(&peer);
        let dropped = node.is_some_and(|node| self.memory.book.conduct.is_dropped(&node, now));
        if !dropped && node.is_some_and(|node| self.config.roster.is_member(node)) {
            // It became a member since the roster was last read; it will knock again.
            self.read_roster();
            return;
        }
        let name = node.map_or_else(|| peer.to_string(), |node| node.to_string());
        let last = self.memory.refusals.get(&name);
        if last.is_some_and(|last| now.saturating_sub(*last) < REFUSAL_LOG_EVERY) {
            return;
        }
        if self.memory.refusals.len() >= REFUSALS_MAX {
            self.memory.refusals.clear();
        }
        self.memory.refusals.insert(name.clone(), now);
        let why = if dropped {
            "it misbehaved a short while ago"
        } else {
            "it is not a member of this cluster"
        };
        tracing::warn!(node = name, %address, why, "a node was refused by gossip");
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

fn multiaddr_of(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip())
        .with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
}

/// Listens at the address; at the unspecified one of IPv6 for both families, as far as the machine has them.
async fn listen(swarm: &mut Swarm<Behaviour>, address: SocketAddr) -> Result<SocketAddr, GossipError> {
    let both = address.is_ipv6() && address.ip().is_unspecified();
    let v4 = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    match swarm.listen_on(multiaddr_of(address)) {
        Ok(listener) => {
            let bound = SocketAddr::new(address.ip(), port_of(swarm, listener, address).await?);
            if both && let Err(error) = swarm.listen_on(multiaddr_of(v4(bound.port()))) {
                tracing::warn!(%error, port = bound.port(), "gossip listens on IPv6 only; the IPv4 port cannot be had");
            }
            Ok(bound)
        }
        Err(error) if both => {
            tracing::debug!(%error, "no IPv6 for gossip; IPv4 only");
            let address = v4(address.port());
            let listener = swarm
                .listen_on(multiaddr_of(address))
                .map_err(|error| listen_error(address, error))?;
            let port = port_of(swarm, listener, address).await?;
            Ok(SocketAddr::new(address.ip(), port))
        }
        Err(error) => Err(listen_error(address, error)),
    }
}

fn listen_error(listen: SocketAddr, error: TransportError<std::io::Error>) -> GossipError {
    let source = match error {
        TransportError::Other(source) => source,
        other @ TransportError::MultiaddrNotSupported(_) => std::io::Error::other(other.to_string()),
    };
    GossipError::Listen { listen, source }
}

/// The port that was asked for, or the one the system gave.
async fn port_of(
    swarm: &mut Swarm<Behaviour>,
    listener: ListenerId,
    asked: SocketAddr,
) -> Result<u16, GossipError> {
    if asked.port() != 0 {
        return Ok(asked.port());
    }
    let named = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                    let port = address.iter().find_map(|part| match part {
                        Protocol::Udp(port) => Some(port),
                        _ => None,
                    });
                    if let Some(port) = port {
                        return Ok(port);
                    }
                }
                SwarmEvent::ListenerClosed {
                    listener_id, reason, ..
                } if listener_id == listener => {
                    let source = reason
                        .err()
                        .unwrap_or_else(|| std::io::ErrorKind::NotConnected.into());
                    return Err(GossipError::Listen {
                        listen: asked,
                        source,
                    });
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(PORT_KNOWN_WITHIN, named)
        .await
        .unwrap_or_else(|_| {
            let source = std::io::ErrorKind::TimedOut.into();
            Err(GossipError::Listen {
                listen: asked,
                source,
            })
        })
}
