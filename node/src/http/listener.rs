//! The listening socket and the connections it accepts.
//!
//! HTTP/1.1 only: Nix speaks HTTP/2 over TLS alone, and TLS is a proxy's business here.
//!
//! # Invariants
//! - A client that stalls while it sends holds a connection for `header_read_timeout` or `body_idle_timeout`, not
//!   longer. One that reads slowly is served slowly: some links are.
//! - After a stop, no request that was begun is cut before `drain_timeout`.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::{Config, Limits};
use crate::error::chain;
use crate::{Node, NodeError};

/// How long to wait before accepting again when the machine is out of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The head of a request may be this much larger than configured before the connection refuses it by itself.
const HARD_HEAD_FACTOR: usize = 2;
/// Up to this many headers the parser needs no memory of its own.
const PARSER_HEADERS: usize = 100;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds the address. `[::]` falls back to `0.0.0.0` on a machine without IPv6.
    ///
    /// # Errors
    /// [`NodeError::AddressInUse`] or [`NodeError::Listen`].
    pub async fn bind(address: SocketAddr) -> Result<Self, NodeError> {
        let bound = match TcpListener::bind(address).await {
            Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        let socket = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => NodeError::AddressInUse { address },
            _ => NodeError::Listen { address, source },
        })?;
        let address = socket
            .local_addr()
            .map_err(|source| NodeError::Listen { address, source })?;
        Ok(Self { socket, address })
    }

    /// The address, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets running requests finish, for `http.drain_timeout` at the most.
    pub async fn serve(self, node: &Node, app: Router, stop: impl Future<Output = ()>) {
        let config = node.config();
        let builder = connection_settings(config);
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(
            config.http.connections_max.min(Semaphore::MAX_PERMITS),
        ));
        let mut stop = std::pin::pin!(stop);
        loop {
            let (stream, slot) = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.accept(&slots) => accepted,
            };
            let service = TowerToHyperService::new(app.clone());
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            let node = node.clone();
            tokio::spawn(async move {
                node.metrics().connections.inc();
                if let Err(error) = connection.await {
                    tracing::debug!(error = %chain(&error), "a connection ended early");
                }
                node.metrics().connections.dec();
                drop(slot);
            });
        }
        drop(self.socket);
        let limit = config.http.drain_timeout;
        let open = graceful.count();
        tracing::info!(
            connections = open,
            "stopped listening; waiting for running requests"
        );
        if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
            tracing::warn!(limit = ?limit, "requests still running after http.drain_timeout are cut off");
        }
    }

    async fn accept(&self, slots: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
        let slot = Arc::clone(slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // Answers are written whole; waiting for more to send only adds latency.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY is not available");
                    }
                    return (stream, slot);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

fn connection_settings(config: &Config) -> http1::Builder {
    let Limits {
        header_bytes_max,
        header_count_max,
        ..
    } = config.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.http.header_read_timeout)
        .max_header_size(header_bytes_max.as_usize().saturating_mul(HARD_HEAD_FACTOR));
    if header_count_max.saturating_mul(3) / 2 > PARSER_HEADERS {
        builder.max_headers(header_count_max.saturating_mul(HARD_HEAD_FACTOR));
    }
    builder
}

/// Whether IPv6 is switched off, in one of the ways machines do that.
fn lacks_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    error
        .raw_os_error()
        .is_some_and(|code| codes.iter().any(|known| known.raw_os_error() == code))
}

/// Whether the error concerns one client that is gone, not the socket.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_ipv6_is_told_from_one_with_a_wrong_address() {
        for code in [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL] {
            assert!(lacks_ipv6(&io::Error::from_raw_os_error(code.raw_os_error())));
        }
        for kind in [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied] {
            assert!(!lacks_ipv6(&io::Error::from(kind)));
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let error = Listener::bind(first.address()).await.unwrap_err();
        assert!(
            matches!(error, NodeError::AddressInUse { address } if address == first.address()),
            "{error}"
        );
    }
}
