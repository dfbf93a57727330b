//! The libp2p swarm: what is composed, and how it is set.

use std::io;
use std::time::Duration;

use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds, TopicScoreParams,
    ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, SwarmBuilder, identify, mdns, quic};
use tetryx_protocol::id::ClusterId;
use tetryx_protocol::presence::PRESENCE_LEN_MAX;

use crate::{GossipError, Timing, degree};

type Gossipsub = gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>;

/// What the swarm does. Members are checked first: what it refuses, the others never see.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) members: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    pub(crate) gossipsub: Gossipsub,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// The data window of one stream: more than a presence, and what quinn holds on a lossy link without closing.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// The data window of one connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Around a presence: signature, author, topic, lengths.
const MESSAGE_OVERHEAD: usize = 4 * 1024;
/// Handshakes under way at once. Strangers come no further than this.
const PENDING_INCOMING_MAX: u32 = 64;
/// Two members may have dialled each other at the same moment, and again after one side noticed a loss first.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Connections stay, whether or not there is something to say.
const STAY_CONNECTED: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Gossipsub's own score at which a member is dropped: five or six messages with bad signatures in a row.
pub(crate) const SCORE_DROPPED: f64 = -30.0;

/// The topic of a cluster's presences.
pub(crate) fn topic(cluster: &ClusterId) -> IdentTopic {
    IdentTopic::new(format!("tetryx/presence/1/{cluster}"))
}

/// Builds the swarm. It listens nowhere yet. Must be called on the runtime that will drive it.
pub(crate) fn swarm(
    keypair: Keypair,
    cluster: &ClusterId,
    with_mdns: bool,
    timing: &Timing,
) -> Result<Swarm<Behaviour>, GossipError> {
    let behaviour = |keypair: &Keypair| behaviour(keypair, cluster, with_mdns, timing);
    let built = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_quic_config(|config| quic_config(config, timing))
        .with_behaviour(behaviour)
        .map_err(|error| GossipError::Thread {
            source: io::Error::other(error.to_string()),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(STAY_CONNECTED));
    Ok(built.build())
}

fn quic_config(mut config: quic::Config, timing: &Timing) -> quic::Config {
    config.handshake_timeout = timing.handshake;
    config.max_idle_timeout = u32::try_from(timing.idle.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = timing.keep_alive;
    config.max_concurrent_stream_limit = 32;
    config.max_stream_data = STREAM_WINDOW;
    config.max_connection_data = CONNECTION_WINDOW;
    config
}

fn behaviour(
    keypair: &Keypair,
    cluster: &ClusterId,
    with_mdns: bool,
    timing: &Timing,
) -> Result<Behaviour, Box<dyn std::error::Error + Send + Sync>> {
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_INCOMING_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
    // Addresses come from the roster alone: a member must not be able to have others dial where it points.
    let identify = identify::Config::new("tetryx/1".to_owned(), keypair.public())
        .with_agent_version(concat!("tetryx/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    Ok(Behaviour {
        members: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identify),
        gossipsub: gossipsub(keypair, cluster, timing)?,
        mdns: mdns(keypair, with_mdns).into(),
    })
}

/// Discovery on the local network, where there is one. Without it the roster's addresses remain.
fn mdns(keypair: &Keypair, wanted: bool) -> Option<mdns::tokio::Behaviour> {
    if !wanted {
        return None;
    }
    match mdns::tokio::Behaviour::new(mdns::Config::default(), keypair.public().to_peer_id()) {
        Ok(behaviour) => Some(behaviour),
        Err(error) => {
            tracing::warn!(
                %error,
                "cannot look for members on the local network (mDNS); the roster's addresses are used alone"
            );
            None
        }
    }
}

fn gossipsub(
    keypair: &Keypair,
    cluster: &ClusterId,
    timing: &Timing,
) -> Result<Gossipsub, Box<dyn std::error::Error + Send + Sync>> {
    let topic = topic(cluster);
    // Every member is connected to every other one and hears it directly (`flood_publish`); the mesh carries
    // presences around links that are cut, for which few neighbours are enough.
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/tetryx/gossip")
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(PRESENCE_LEN_MAX + MESSAGE_OVERHEAD)
        .heartbeat_interval(timing.heartbeat)
        .iwant_followup_time(timing.answer)
        .publish_queue_duration(timing.queue)
        .forward_queue_duration(timing.queue)
        .mesh_n(degree::GOAL)
        .mesh_n_low(degree::LOW)
        .mesh_n_high(degree::HIGH)
        .mesh_outbound_min(1)
        .gossip_lazy(degree::LAZY)
        .gossip_factor(0.0)
        .history_gossip(degree::RECENT)
        .build()?;
    let filter = WhitelistSubscriptionFilter([topic.hash()].into_iter().collect());
    let authenticity = MessageAuthenticity::Signed(keypair.clone());
    let mut gossipsub = Gossipsub::new_with_subscription_filter(authenticity, config, filter)?;
    gossipsub.with_peer_score(score_params(&topic), score_thresholds())?;
    gossipsub.subscribe(&topic)?;
    Ok(gossipsub)
}

/// Only what an honest member never does counts: not being slow, far away, or one of many behind an address.
fn score_params(topic: &IdentTopic) -> PeerScoreParams {
    let presence = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_secs(60)),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: [(topic.hash(), presence)].into_iter().collect(),
        app_specific_weight: 0.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: gossipsub::score_parameter_decay(Duration::from_secs(60)),
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

fn score_thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: SCORE_DROPPED / 3.0,
        publish_threshold: SCORE_DROPPED / 2.0,
        graylist_threshold: SCORE_DROPPED,
        ..PeerScoreThresholds::default()
    }
}
