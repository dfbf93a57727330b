//! The endpoint: one UDP socket, and all connections on it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures::FutureExt;
use futures::future::BoxFuture;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tetryx_protocol::id::NodeId;
use tokio::sync::watch;

use super::answers::Answers;
use super::close::{self, Close};
use super::dial::dial;
use super::link::Link;
use super::listen::Listener;
use super::refusals::Refusals;
use super::requests::{self, Failure};
use super::table::{Dial, Table, Way};
use super::tls::{self, Identity};
use super::{socket, transport};
use crate::congestion::Selector;
use crate::header::{Header, Kind};
use crate::links::CALL_BYTES_MAX;
use crate::service::Lane;
use crate::{Admission, Channel, Handler, LinkError, LinkSettings, Links, PathInfo, Roster, Service};

/// How long a dial may take where no round-trip time is configured.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// How long [`Endpoint::close`] waits for the other sides to hear of it.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// What an endpoint is made of.
pub struct LinkConfig {
    /// The node's key: its identity.
    pub key: SigningKey,
    /// The UDP address to listen on and dial from.
    pub listen: SocketAddr,
    /// Who may talk to this node, and where they are.
    pub roster: Arc<dyn Roster>,
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LinkConfig")
            .field("node", &tls::node_id(&self.key))
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// A node's end of all its links. Clones are the same endpoint; dropping the last one closes it.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
    /// Dropped with the last handle, while tasks still hold `inner`.
    _owner: Arc<Owner>,
}

struct Owner(quinn::Endpoint);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close(Close::Shutdown.code(), b"shutting down");
    }
}

/// What the endpoint's tasks share.
pub(super) struct Inner {
    pub(super) node: NodeId,
    pub(super) quinn: quinn::Endpoint,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) table: Table,
    pub(super) answers: Answers,
    identity: Identity,
    handler: watch::Sender<Option<Arc<dyn Handler>>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("node", &self.inner.node)
            .field("local_addr", &self.inner.quinn.local_addr().ok())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Listens. Must be called within a tokio runtime. Whoever connects waits until [`Endpoint::serve`].
    ///
    /// # Errors
    /// [`LinkError::Bind`] if the address is taken or not ours; [`LinkError::Key`].
    pub fn bind(config: LinkConfig) -> Result<Self, LinkError> {
        let bind_error = |source: io::Error| LinkError::Bind {
            address: config.listen,
            source: Arc::new(source),
        };
        let socket = socket::bind(config.listen).map_err(bind_error)?;
        let socket = TokioRuntime.wrap_udp_socket(socket).map_err(bind_error)?;
        Self::on_socket(config, socket, Arc::new(TokioRuntime))
    }

    /// As [`Endpoint::bind`], on a socket and with timers of the caller's: for simulated networks.
    ///
    /// # Errors
    /// [`LinkError::Bind`], [`LinkError::Key`].
    pub fn on_socket(
        config: LinkConfig,
        socket: Arc<dyn AsyncUdpSocket>,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, LinkError> {
        let key_error = |error| LinkError::Key(Arc::new(error));
        let identity = Identity::new(&config.key).map_err(key_error)?;
        let server = Arc::new(identity.server().map_err(key_error)?);
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            transport::endpoint(&config.key),
            Some(quinn::ServerConfig::with_crypto(server.clone())),
            socket,
            runtime.clone(),
        );
        let quinn = quinn.map_err(|source| LinkError::Bind {
            address: config.listen,
            source: Arc::new(source),
        })?;
        let handler = watch::Sender::new(None);
        let inner = Arc::new(Inner {
            node: tls::node_id(&config.key),
            quinn: quinn.clone(),
            runtime,
            table: Table::default(),
            answers: Answers {
                roster: config.roster,
                refusals: Refusals::default(),
                handler: handler.subscribe(),
            },
            identity,
            handler,
        });
        tokio::spawn(Listener::new(inner.clone(), server).run());
        Ok(Self {
            inner,
            _owner: Arc::new(Owner(quinn)),
        })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// The address that the socket is bound to, with the port that the system chose if none was given.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.quinn.local_addr()
    }

    /// How many connections there are, of all kinds and to all nodes.
    pub fn connections(&self) -> usize {
        self.inner.quinn.open_connections()
    }

    /// Begins to answer.
    pub fn serve(&self, handler: Arc<dyn Handler>) {
        self.inner.handler.send_replace(Some(handler));
    }

    /// Closes all connections and tells the other sides. Calls under way fail; later ones do, too.
    pub async fn close(&self) {
        self.inner.quinn.close(Close::Shutdown.code(), b"shutting down");
        // Past the deadline the other sides find out by themselves.
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.inner.quinn.wait_idle()).await;
    }
}

#[cfg(test)]
impl Endpoint {
    /// What a call to a node would use now.
    pub(super) fn way(&self, peer: NodeId, lane: Lane) -> Option<Way> {
        Some(
            self.inner
                .table
                .way(peer, lane, || self.inner.begin_dial(peer, lane)),
        )
    }

    /// Dials although there is a connection.
    pub(super) async fn dial_anew(&self, peer: NodeId, lane: Lane) -> quinn::Connection {
        let link = self.inner.begin_dial(peer, lane).await;
        link.expect("the peer is there").connection.clone()
    }
}

impl Links for Endpoint {
    fn call(
        &self,
        to: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            check_len(to, &body)?;
            loop {
                let link = inner.link(to, service.lane()).await?;
                match requests::call(&link, inner.header(service, Kind::Call), body.clone()).await {
                    Ok(answer) => {
                        inner.table.worked(&link);
                        return Ok(answer);
                    }
                    Err(Failure::Elsewhere) => {}
                    Err(Failure::Error(error)) => return Err(error),
                }
            }
        })
    }

    fn open(&self, to: NodeId, service: Service) -> BoxFuture<'static, Result<Channel, LinkError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            loop {
                let link = inner.link(to, service.lane()).await?;
                match requests::open(&link, inner.header(service, Kind::Channel)).await {
                    Ok(channel) => return Ok(channel),
                    Err(Failure::Elsewhere) => {}
                    Err(Failure::Error(error)) => return Err(error),
                }
            }
        })
    }

    fn call_stranger(
        &self,
        addresses: Vec<String>,
        expect: NodeId,
        service: Service,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, LinkError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            check_len(expect, &body)?;
            let settings = LinkSettings::default();
            let connection = inner.dial(expect, service.lane(), &addresses, settings).await?;
            let link = inner.made(connection, expect, service.lane());
            let answer = requests::call(&link, inner.header(service, Kind::Call), body).await;
            Close::Forgotten.close(&link.connection, "answered");
            answer.map_err(|failure| match failure {
                Failure::Error(error) => error,
                Failure::Elsewhere => LinkError::NoAnswer {
                    node: expect,
                    reason: "the other side let go of the connection".to_owned(),
                },
            })
        })
    }

    fn path(&self, to: NodeId) -> Option<PathInfo> {
        self.inner.table.path(to, self.inner.runtime.now())
    }

    fn forget(&self, node: NodeId) {
        self.inner.table.forget(node);
    }
}

impl Inner {
    /// A connection that may be used for a new stream.
    async fn link(self: &Arc<Self>, peer: NodeId, lane: Lane) -> Result<Arc<Link>, LinkError> {
        if self.answers.roster.admission(peer) == Admission::Removed {
            return Err(LinkError::Unreachable {
                node: peer,
                reason: "it was removed from the cluster".to_owned(),
            });
        }
        if peer == self.node {
            return Err(LinkError::Unreachable {
                node: peer,
                reason: "that is this node itself".to_owned(),
            });
        }
        loop {
            let (dial, mut made) = match self.table.way(peer, lane, || self.begin_dial(peer, lane)) {
                Way::Link(link) => return Ok(link),
                Way::Paused(error) => return Err(error),
                Way::Wait(dial, made) => (dial, made),
            };
            tokio::select! {
                outcome = dial => return outcome,
                // The other side was faster: look again.
                _ = made.changed() => {}
            }
        }
    }

    /// Dials in a task of its own: a caller that loses patience does not make the next one begin anew.
    fn begin_dial(self: &Arc<Self>, peer: NodeId, lane: Lane) -> Dial {
        let inner = self.clone();
        let task = tokio::spawn(async move {
            let addresses = inner.answers.roster.addresses(peer);
            let settings = inner.answers.roster.link_settings(peer);
            let outcome = inner.dial(peer, lane, &addresses, settings).await;
            let outcome = outcome.map(|connection| {
                let link = Arc::new(inner.made(connection, peer, lane));
                inner.take_up(link)
            });
            let pause = inner.table.dialled(peer, lane, outcome.as_ref().err());
            if let Some(pause) = pause {
                inner.resume_after(peer, lane, pause);
            }
            outcome
        });
        let dial = task.map(move |outcome| {
            outcome.unwrap_or_else(|_| {
                Err(LinkError::Unreachable {
                    node: peer,
                    reason: "this endpoint is closed".to_owned(),
                })
            })
        });
        dial.boxed().shared()
    }

    async fn dial(
        &self,
        peer: NodeId,
        lane: Lane,
        addresses: &[String],
        settings: LinkSettings,
    ) -> Result<quinn::Connection, LinkError> {
        let client = self.identity.client(peer, lane);
        let client = client.map_err(|error| LinkError::Key(Arc::new(error)))?;
        let mut config = quinn::ClientConfig::new(Arc::new(client));
        config.transport_config(Arc::new(transport::transport(settings, Selector::new(settings))));
        let slow = settings.rtt.unwrap_or_default() * 10;
        dial(&self.quinn, &config, peer, addresses, DIAL_DEADLINE.max(slow)).await
    }

    /// A connection that this node dialled.
    fn made(&self, connection: quinn::Connection, peer: NodeId, lane: Lane) -> Link {
        Link::new(connection, peer, lane, self.node, self.runtime.now())
    }

    /// Puts a connection to use: streams can come and go on it, whoever dialled.
    pub(super) fn take_up(self: &Arc<Self>, link: Arc<Link>) -> Arc<Link> {
        tracing::debug!(
            peer = %link.peer.fmt_short(),
            lane = ?link.lane,
            address = %link.connection.remote_address(),
            ours = link.dialler == self.node,
            "connected"
        );
        let inner = self.clone();
        let served = link.clone();
        tokio::spawn(async move {
            inner.answers.serve(served.clone()).await;
            inner.ended(&served).await;
        });
        self.table.take_up(link, self.runtime.now())
    }

    /// A connection ended: if it was refused, says so and pauses.
    async fn ended(self: &Arc<Self>, link: &Link) {
        let cause = link.connection.closed().await;
        let reason = close::in_words(&cause);
        tracing::debug!(peer = %link.peer.fmt_short(), lane = ?link.lane, reason, "disconnected");
        if !Close::Refused.is_cause_of(&cause) {
            self.table.worked(link);
        } else {
            let address = link.connection.remote_address();
            self.answers.refusals.refused_by(link.peer, address, &reason);
            let error = LinkError::Refused {
                node: link.peer,
                reason,
            };
            let pause = self.table.refused(link, &error);
            self.resume_after(link.peer, link.lane, pause);
        }
    }

    fn resume_after(self: &Arc<Self>, peer: NodeId, lane: Lane, pause: Duration) {
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(inner) = inner.upgrade() {
                inner.table.resume(peer, lane);
            }
        });
    }

    fn header(&self, service: Service, kind: Kind) -> Header {
        Header {
            service,
            kind,
            cluster: self.answers.roster.cluster(),
        }
    }
}

fn check_len(node: NodeId, body: &Bytes) -> Result<(), LinkError> {
    if body.len() > CALL_BYTES_MAX {
        return Err(LinkError::TooLarge {
            node,
            len: body.len(),
            max: CALL_BYTES_MAX,
        });
    }
    Ok(())
}
