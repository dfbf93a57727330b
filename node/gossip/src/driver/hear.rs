//! What the swarm tells: messages, connections, members on the local network, strangers.

use std::sync::Arc;

use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::swarm::{ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, mdns};

use super::{ADDRESSES_MAX, Driver, REFUSAL_LOG_EVERY, REFUSALS_MAX};
use crate::behaviour::BehaviourEvent;
use crate::book::{Content, Letter, Verdict};
use crate::{Seen, node_id_of};

impl Driver<'_> {
    pub(super) fn hear(&mut self, event: SwarmEvent<BehaviourEvent>) {
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
                        read: &|| Content::read(&message.data),
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
                let seen = Seen { presence, heard: now };
                self.memory.board.presences.send_modify(|presences| {
                    Arc::make_mut(presences).insert(letter.author, seen);
                });
                MessageAcceptance::Accept
            }
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
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
}
