//! How many bytes background fetches may take from each peer, and when they make way.
//!
//! # Invariants
//! - Over any span of time, background fetches take from a peer at most its rate times the span, plus one second's
//!   worth and what was asked for before the budget ran out.
//! - Interactive fetches are never held back.
//!
//! # Non-goals
//! - Limiting what this node serves: the fetching side asks for no more than the budget, on every node alike.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

/// Limits for background fetches. Clones share their counts.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    /// Bytes per second from each peer; `None` for no limit.
    default: Option<NonZeroU64>,
    /// Peers with a limit of their own.
    own: BTreeMap<NodeId, Option<NonZeroU64>>,
    debts: Arc<Mutex<BTreeMap<NodeId, Debt>>>,
}

/// A peer's token bucket, as the moment at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Debt {
    paid_at: Elapsed,
}

/// A budget may be overdrawn by what it yields in this time, so that short transfers do not stutter.
const BURST: Duration = Duration::from_secs(1);

impl Budgets {
    /// No limits.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// At most `rate` bytes per second from each peer; `None` for no limit.
    #[must_use]
    pub fn per_peer(rate: Option<NonZeroU64>) -> Self {
        Self {
            default: rate,
            ..Self::default()
        }
    }

    /// As `self`, with another limit for one peer.
    #[must_use]
    pub fn with_peer(mut self, peer: NodeId, rate: Option<NonZeroU64>) -> Self {
        self.own.insert(peer, rate);
        self
    }

    /// The limit for a peer, in bytes per second.
    #[must_use]
    pub fn rate(&self, peer: NodeId) -> Option<NonZeroU64> {
        self.own.get(&peer).copied().unwrap_or(self.default)
    }

    /// Notes bytes that a background fetch received, and returns until when it must ask this peer for nothing more.
    pub(crate) fn spend(&self, now: Elapsed, peer: NodeId, bytes: u64) -> Option<Elapsed> {
        let rate = self.rate(peer)?;
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut debts = self.debts.lock();
        let debt = debts.entry(peer).or_default();
        debt.paid_at = debt.paid_at.max(now).plus(cost);
        let ahead = debt.paid_at.saturating_sub(now);
        (ahead > BURST).then(|| now.plus(ahead - BURST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Elapsed {
        Elapsed::ZERO.plus(Duration::from_millis(ms))
    }

    fn peer(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn a_budget_allows_a_burst_and_then_its_rate() {
        let budgets = Budgets::per_peer(NonZeroU64::new(1_000));

        assert_eq!(budgets.spend(at(0), peer(1), 1_000), None);
        assert_eq!(budgets.spend(at(0), peer(1), 500), Some(at(500)));
        assert_eq!(budgets.spend(at(500), peer(1), 1_000), Some(at(1_500)));
        assert_eq!(
            budgets.spend(at(60_000), peer(1), 1_000),
            None,
            "the past is not saved up"
        );
        assert_eq!(budgets.spend(at(60_000), peer(1), 1_000), Some(at(61_000)));
    }

    #[test]
    fn peers_have_budgets_of_their_own() {
        let budgets = Budgets::per_peer(NonZeroU64::new(1_000)).with_peer(peer(2), None);

        assert!(budgets.spend(at(0), peer(1), 5_000).is_some());
        assert_eq!(budgets.spend(at(0), peer(2), 5_000), None);
        assert_eq!(budgets.spend(at(0), peer(3), 1_000), None);
        assert_eq!(Budgets::unlimited().spend(at(0), peer(1), u64::MAX), None);
    }
}
