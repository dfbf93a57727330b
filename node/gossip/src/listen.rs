//! Where the overlay listens.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, TransportError};

use crate::GossipError;
use crate::behaviour::Behaviour;

/// How long the system may take to name the port it gave.
const PORT_KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// A socket address as libp2p writes it: QUIC over UDP.
pub(crate) fn multiaddr_of(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip())
        .with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
}

/// Listens at the address; at the unspecified one of IPv6 for both families, as far as the machine has them.
pub(crate) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    address: SocketAddr,
) -> Result<SocketAddr, GossipError> {
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
