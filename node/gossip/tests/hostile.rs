//! Members that misbehave: what it costs the others, and them.

mod fixture;

use std::net::SocketAddr;
use std::ops::ControlFlow;

use fixture::{CLUSTER, Mesh, Station, new_key, presence, quick, soon};
use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder};
use tetryx_gossip::{Gossip as _, Timing, peer_id_of};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;

/// A libp2p node that may say anything.
struct Hostile {
    node: NodeId,
    topic: IdentTopic,
    swarm: Swarm<gossipsub::Behaviour>,
}

impl Hostile {
    /// Joins the members' roster, without an address: it dials, nobody dials it.
    fn among(mesh: &Mesh, authenticity: impl FnOnce(&Keypair) -> MessageAuthenticity) -> Self {
        let (_, key, node) = new_key();
        mesh.directory.add(node, None);
        for station in &mesh.stations {
            station.gossip.roster_changed();
        }
        let config = gossipsub::ConfigBuilder::default()
            .protocol_id_prefix("/tetryx/gossip")
            .validation_mode(ValidationMode::None)
            .max_transmit_size(1 << 20)
            .build()
            .expect("a configuration");
        let mut gossipsub = gossipsub::Behaviour::new(authenticity(&key), config).expect("a behaviour");
        let topic = IdentTopic::new(format!("tetryx/presence/1/{CLUSTER}"));
        gossipsub.subscribe(&topic).expect("a topic");
        let swarm = SwarmBuilder::with_existing_identity(key).with_tokio().with_quic();
        let swarm = swarm.with_behaviour(|_| gossipsub).expect("a behaviour").build();
        Self { node, topic, swarm }
    }

    fn signing(mesh: &Mesh) -> Self {
        Self::among(mesh, |key| MessageAuthenticity::Signed(key.clone()))
    }

    /// Connects, and waits until it may speak.
    async fn connect(&mut self, station: &Station) {
        self.swarm.dial(address_of(station)).expect("an address");
        self.until("it may speak", |event| match event {
            SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => ControlFlow::Break(()),
            SwarmEvent::ConnectionClosed { cause, .. } => panic!("it was refused: {cause:?}"),
            _ => ControlFlow::Continue(()),
        })
        .await;
    }

    fn say(&mut self, bytes: Vec<u8>) {
        // An error means that its own queue is full: it has said enough.
        let _ = self.swarm.behaviour_mut().publish(self.topic.clone(), bytes);
    }

    /// Runs until the other side closes the connection.
    async fn until_dropped(&mut self) {
        self.until("the connection is closed", |event| match event {
            SwarmEvent::ConnectionClosed { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .await;
    }

    async fn until(
        &mut self,
        what: &str,
        mut decide: impl FnMut(SwarmEvent<gossipsub::Event>) -> ControlFlow<()>,
    ) {
        let happens = async { while decide(self.swarm.select_next_some().await).is_continue() {} };
        soon(what, happens).await;
    }

    /// Dials again, and is closed before it may speak.
    async fn is_refused_by(&mut self, station: &Station) {
        self.swarm.dial(address_of(station)).expect("an address");
        self.until("it is refused", |event| match event {
            SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                ControlFlow::Break(())
            }
            SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => panic!("it may speak"),
            _ => ControlFlow::Continue(()),
        })
        .await;
    }
}

fn address_of(station: &Station) -> Multiaddr {
    let address: SocketAddr = station.gossip.listen_addr();
    let peer: PeerId = peer_id_of(&station.node).expect("a key");
    Multiaddr::from(address.ip())
        .with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
        .with(Protocol::P2p(peer))
}

/// The honest ones hear each other as before, and keep nothing of what was said.
async fn nothing_has_changed(mesh: &Mesh, hostile: NodeId) {
    let [one, other] = &mesh.stations[..] else {
        unreachable!()
    };
    for seq in 100..103 {
        one.announce(seq);
        other.announce(seq);
        other.hears(one.node, seq).await;
        one.hears(other.node, seq).await;
    }
    for station in [one, other] {
        assert!(!station.gossip.presences().contains_key(&hostile));
        assert!(!station.gossip.connected().contains(&hostile));
    }
    assert!(one.gossip.connected().contains(&other.node));
}

#[tokio::test]
async fn who_sends_garbage_is_dropped_and_stays_out() {
    let mesh = Mesh::of(2).await;
    let mut hostile = Hostile::signing(&mesh);
    hostile.connect(&mesh.stations[0]).await;
    for junk in 0..8_u8 {
        hostile.say(vec![junk; 1_000]);
    }
    hostile.until_dropped().await;
    hostile.is_refused_by(&mesh.stations[0]).await;
    nothing_has_changed(&mesh, hostile.node).await;
}

#[tokio::test]
async fn who_speaks_for_another_is_dropped_and_not_believed() {
    let mesh = Mesh::of(2).await;
    let victim = mesh.stations[1].node;
    let mut hostile = Hostile::signing(&mesh);
    hostile.connect(&mesh.stations[0]).await;
    for seq in 1_000..1_003 {
        hostile.say(presence(victim, seq).encode());
    }
    hostile.until_dropped().await;
    let believed = mesh.stations[0]
        .gossip
        .presences()
        .get(&victim)
        .map(|seen| seen.presence.seq);
    assert!(believed.is_none_or(|seq| seq < 1_000), "{believed:?}");
    nothing_has_changed(&mesh, hostile.node).await;
}

#[tokio::test]
async fn who_forges_an_author_without_its_signature_is_dropped_and_not_believed() {
    let mesh = Mesh::of(2).await;
    let victim = mesh.stations[1].node;
    let author = peer_id_of(&victim).expect("a key");
    let mut hostile = Hostile::among(&mesh, |_| MessageAuthenticity::Author(author));
    hostile.connect(&mesh.stations[0]).await;
    for seq in 1_000..1_020 {
        hostile.say(presence(victim, seq).encode());
    }
    hostile.until_dropped().await;
    let believed = mesh.stations[0]
        .gossip
        .presences()
        .get(&victim)
        .map(|seen| seen.presence.seq);
    assert!(believed.is_none_or(|seq| seq < 1_000), "{believed:?}");
    nothing_has_changed(&mesh, hostile.node).await;
}

#[tokio::test]
async fn who_floods_is_dropped_and_the_others_are_heard_meanwhile() {
    let mesh = Mesh::of(2).await;
    let mut hostile = Hostile::signing(&mesh);
    hostile.connect(&mesh.stations[0]).await;
    for seq in 0..500 {
        hostile.say(presence(hostile.node, seq).encode());
    }
    let [one, other] = &mesh.stations[..] else {
        unreachable!()
    };
    other.announce(50);
    tokio::join!(hostile.until_dropped(), one.hears(other.node, 50));
    hostile.is_refused_by(one).await;
    one.loses(hostile.node).await;
    assert!(!one.gossip.presences().contains_key(&hostile.node));
    assert!(one.gossip.connected().contains(&other.node));
}

#[tokio::test]
async fn who_claims_what_it_does_not_hold_is_dropped_in_the_end() {
    let mesh = Mesh::of(2).await;
    let mut hostile = Hostile::signing(&mesh);
    hostile.connect(&mesh.stations[0]).await;
    for _ in 0..30 {
        mesh.stations[0].gossip.report_false_claim(hostile.node);
    }
    hostile.until_dropped().await;
    hostile.is_refused_by(&mesh.stations[0]).await;
}

#[tokio::test]
async fn who_was_dropped_is_let_back_in_after_its_penalty() {
    let short = Timing {
        penalty: std::time::Duration::from_secs(2),
        ..quick()
    };
    let mesh = Mesh::with_timing(2, short).await;
    let mut hostile = Hostile::signing(&mesh);
    hostile.connect(&mesh.stations[0]).await;
    for junk in 0..4_u8 {
        hostile.say(vec![junk; 10]);
    }
    hostile.until_dropped().await;
    // It knocks until it is let in again.
    let let_in = async {
        loop {
            hostile
                .swarm
                .dial(address_of(&mesh.stations[0]))
                .expect("an address");
            loop {
                match hostile.swarm.select_next_some().await {
                    SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => break,
                    SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => return,
                    _ => {}
                }
            }
        }
    };
    soon("it is let in again", let_in).await;
    let node = hostile.node;
    hostile.say(presence(node, 1).encode());
    let heard = mesh.stations[0].hears(node, 1);
    tokio::select! {
        () = heard => {}
        () = async { loop { hostile.swarm.select_next_some().await; } } => {}
    }
}
