//! Who comes in.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::close::{self, Close};
use super::endpoint::Inner;
use super::link::Link;
use super::refusals::Culprit;
use super::{tls, transport};
use crate::LinkSettings;
use crate::congestion::Selector;
use crate::header::admit;
use crate::service::Lane;

/// Handshakes under way at once. Past half of them, whoever knocks must prove that its address is its own.
const HANDSHAKES_MAX: usize = 256;

/// Joiners talked to at once.
const JOINERS_MAX: usize = 32;

/// Takes connections until the endpoint is closed.
pub(super) struct Listener {
    inner: Arc<Inner>,
    crypto: Arc<QuicServerConfig>,
    handshakes: Arc<Semaphore>,
    joiners: Arc<Semaphore>,
}

impl Listener {
    pub(super) fn new(inner: Arc<Inner>, crypto: Arc<QuicServerConfig>) -> Self {
        Self {
            inner,
            crypto,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            joiners: Arc::new(Semaphore::new(JOINERS_MAX)),
        }
    }

    pub(super) async fn run(self) {
        let this = Arc::new(self);
        while let Some(incoming) = this.inner.quinn.accept().await {
            let Ok(permit) = this.handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let busy = this.handshakes.available_permits() < HANDSHAKES_MAX / 2;
            if busy && !incoming.remote_address_validated() && incoming.may_retry() {
                // Fails only for one that was already asked to retry.
                let _ = incoming.retry();
                continue;
            }
            let address = incoming.remote_address();
            let mut config = quinn::ServerConfig::with_crypto(this.crypto.clone());
            let congestion = Selector::default();
            let transport = transport::transport(LinkSettings::default(), congestion.clone());
            config.transport_config(Arc::new(transport));
            match incoming.accept_with(Arc::new(config)) {
                Ok(connecting) => {
                    let this = this.clone();
                    tokio::spawn(async move { this.welcome(connecting, address, congestion, permit).await });
                }
                Err(error) => this.refuse_address(address, &close::in_words(&error)),
            }
        }
    }

    async fn welcome(
        &self,
        connecting: quinn::Connecting,
        address: SocketAddr,
        congestion: Selector,
        permit: OwnedSemaphorePermit,
    ) {
        let connection = match connecting.await {
            Ok(connection) => connection,
            Err(error) => return self.refuse_address(address, &close::in_words(&error)),
        };
        drop(permit);
        let (Some(peer), Some(lane)) = (tls::peer_of(&connection), tls::lane_of(&connection)) else {
            Close::Misbehaved.close(&connection, "no key or no protocol agreed");
            return self.refuse_address(address, "no key or no protocol agreed");
        };
        let inner = &self.inner;
        if let Err(reason) = admit(inner.answers.roster.as_ref(), peer, lane == Lane::Join) {
            inner
                .answers
                .refusals
                .refused(Culprit::Node(peer), address, &reason);
            return Close::Refused.close(&connection, &reason);
        }
        congestion.select(inner.answers.roster.link_settings(peer));
        let link = Arc::new(Link::new(connection, peer, lane, peer, inner.runtime.now()));
        if lane == Lane::Join {
            self.serve_joiner(&link).await;
        } else {
            inner.take_up(link);
        }
    }

    /// A joiner's connection is for its requests alone: nothing is sent to it by ourselves.
    async fn serve_joiner(&self, link: &Arc<Link>) {
        let Ok(_permit) = self.joiners.try_acquire() else {
            return Close::Refused.close(&link.connection, "too many nodes are joining at once; try again");
        };
        self.inner.answers.serve(link.clone()).await;
    }

    fn refuse_address(&self, address: SocketAddr, why: &str) {
        let refusals = &self.inner.answers.refusals;
        refusals.refused(Culprit::Address(address.ip()), address, why);
    }
}
