//! The log lines of refusals: each names who, from where and why, and none floods the log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;

/// One line per culprit in this time; then one more with the count of what was left out.
const QUIET: Duration = Duration::from_secs(60);

/// Culprits remembered at once. With more, the new ones are counted together.
const CULPRITS_MAX: usize = 256;

/// Who is refused, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Culprit {
    /// A node whose key is proven.
    Node(NodeId),
    /// Whoever sends from there; no key is proven.
    Address(IpAddr),
    /// Everybody past the limit.
    Others,
}

/// Counts and writes refusals.
#[derive(Debug, Default, Clone)]
pub(super) struct Refusals {
    left_out: Arc<Mutex<BTreeMap<Culprit, u64>>>,
}

impl Refusals {
    /// This node refused somebody who came to it.
    pub(super) fn refused(&self, culprit: Culprit, address: SocketAddr, why: &str) {
        if self.loud(culprit, "refused") {
            match culprit {
                Culprit::Node(node) => tracing::warn!(%node, %address, why, "refused a connection"),
                Culprit::Address(_) | Culprit::Others => {
                    tracing::warn!(%address, why, "refused a connection");
                }
            }
        }
    }

    /// Another node refused this one.
    pub(super) fn refused_by(&self, node: NodeId, address: SocketAddr, why: &str) {
        if self.loud(Culprit::Node(node), "refused by") {
            tracing::warn!(%node, %address, why, "another node refuses this one");
        }
    }

    /// Whether to write about a culprit now. Counts it if not.
    fn loud(&self, culprit: Culprit, what: &'static str) -> bool {
        let mut left_out = self.left_out.lock();
        let culprit = if left_out.len() < CULPRITS_MAX || left_out.contains_key(&culprit) {
            culprit
        } else {
            Culprit::Others
        };
        if let Some(count) = left_out.get_mut(&culprit) {
            *count += 1;
            return false;
        }
        left_out.insert(culprit, 0);
        drop(left_out);
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(QUIET).await;
            let count = this.left_out.lock().remove(&culprit).unwrap_or(0);
            if count > 0 {
                tracing::warn!(?culprit, count, what, "more of the same in the last minute");
            }
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Culprit = Culprit::Node(NodeId::from_bytes([9; 32]));

    #[tokio::test(start_paused = true)]
    async fn a_culprit_is_written_about_once_a_minute() {
        let refusals = Refusals::default();

        let first: Vec<bool> = (0..3).map(|_| refusals.loud(STRANGER, "refused")).collect();
        tokio::time::sleep(QUIET * 2).await;
        let later = refusals.loud(STRANGER, "refused");

        assert_eq!(first, [true, false, false]);
        assert!(later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_takes_no_more_memory_than_the_limit() {
        let refusals = Refusals::default();

        let loud = (0..10_000_u32)
            .filter(|n| refusals.loud(Culprit::Address(IpAddr::from(n.to_be_bytes())), "refused"));

        assert_eq!(loud.count(), CULPRITS_MAX + 1);
        assert_eq!(refusals.left_out.lock().len(), CULPRITS_MAX + 1);
    }
}
