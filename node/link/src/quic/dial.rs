//! Finding a node at one of its addresses.

use std::net::SocketAddr;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tetryx_protocol::id::NodeId;

use super::close;
use crate::LinkError;

/// After this time without an answer, the next address is tried as well.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(400);

/// The most addresses tried in one dial, after names were resolved.
const ADDRESSES_MAX: usize = 8;

/// Tries the addresses in order, with overlap, until one answers with the key of `node`.
///
/// # Errors
/// [`LinkError::Unreachable`] with what came of each address.
pub(super) async fn dial(
    endpoint: &quinn::Endpoint,
    config: &quinn::ClientConfig,
    node: NodeId,
    addresses: &[String],
    deadline: Duration,
) -> Result<quinn::Connection, LinkError> {
    let mut failures = Vec::new();
    let mut targets = resolve(endpoint, addresses, &mut failures).await.into_iter();
    let mut attempts = FuturesUnordered::new();
    let deadline = tokio::time::sleep(deadline);
    tokio::pin!(deadline);
    let mut waiting = Vec::new();
    if addresses.is_empty() {
        failures.push("no address of it is known".to_owned());
    }
    loop {
        match targets.next() {
            Some(target) => {
                waiting.push(target);
                attempts.push(attempt(endpoint, config.clone(), target));
            }
            None if attempts.is_empty() => break,
            None => {}
        }
        let next = tokio::time::sleep(NEXT_ADDRESS_AFTER);
        tokio::pin!(next);
        tokio::select! {
            biased;
            Some((target, outcome)) = attempts.next() => match outcome {
                Ok(connection) => return Ok(connection),
                Err(reason) => {
                    waiting.retain(|other| *other != target);
                    failures.push(format!("{target}: {reason}"));
                }
            },
            () = &mut next, if targets.len() > 0 => {}
            () = &mut deadline => {
                failures.extend(waiting.iter().map(|target| format!("{target}: no answer")));
                break;
            }
        }
    }
    Err(unreachable(node, &failures))
}

fn unreachable(node: NodeId, failures: &[String]) -> LinkError {
    LinkError::Unreachable {
        node,
        reason: failures.join("; "),
    }
}

async fn attempt(
    endpoint: &quinn::Endpoint,
    config: quinn::ClientConfig,
    target: SocketAddr,
) -> (SocketAddr, Result<quinn::Connection, String>) {
    // The name is not sent and not checked: the key is.
    let outcome = match endpoint.connect_with(config, target, "tetryx") {
        Ok(connecting) => connecting.await.map_err(|error| close::in_words(&error)),
        Err(error) => Err(error.to_string()),
    };
    (target, outcome)
}

async fn resolve(
    endpoint: &quinn::Endpoint,
    addresses: &[String],
    failures: &mut Vec<String>,
) -> Vec<SocketAddr> {
    let over_v6 = endpoint.local_addr().is_ok_and(|address| address.is_ipv6());
    let mut targets: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let found = match address.parse::<SocketAddr>() {
            Ok(target) => vec![target],
            Err(_) => match tokio::net::lookup_host(address.as_str()).await {
                Ok(found) => found.collect(),
                Err(error) => {
                    failures.push(format!("{address}: {error}"));
                    continue;
                }
            },
        };
        for target in found {
            let usable = target.is_ipv4() || over_v6;
            if usable && !targets.contains(&target) && targets.len() < ADDRESSES_MAX {
                targets.push(target);
            }
        }
    }
    targets
}
