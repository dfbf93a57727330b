//! What is taken back from providers that stall, slow down or lied.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

use super::provider::Provider;
use super::{MOVES_MAX, OrderId, Planner, provider};

impl Planner {
    fn cancel(&mut self, order: OrderId) {
        if let Some(open) = self.open.remove(&order) {
            self.give_back(&open);
            self.cancels.push_back(order);
        }
    }

    pub(super) fn cancel_all(&mut self, now: Elapsed, node: NodeId) {
        if let Some(provider) = self.providers.get_mut(&node) {
            provider.fail(now);
        }
        let orders = self.open.iter().filter(|(_, open)| open.provider == node);
        let orders: Vec<OrderId> = orders.map(|(id, _)| *id).collect();
        for order in orders {
            self.cancel(order);
        }
    }

    /// Cancels what was asked of providers that have fallen silent; longer patience when nobody else could help.
    pub(super) fn drop_stalled(&mut self, now: Elapsed) {
        let helpers = self
            .providers
            .values()
            .filter(|p| p.is_ready(now) && p.outstanding == 0)
            .count();
        let delivering = |p: &Provider| p.outstanding > 0 && now.saturating_sub(p.heard) < p.stall_after();
        let helpers = helpers + self.providers.values().filter(|p| delivering(p)).count();
        let stalled: Vec<NodeId> = self
            .providers
            .iter()
            .filter(|(_, provider)| provider.outstanding > 0)
            .filter(|(_, provider)| {
                let patience = provider.stall_after() * if helpers > 0 { 1 } else { 4 };
                now.saturating_sub(provider.heard) >= patience
            })
            .map(|(node, _)| *node)
            .collect();
        for node in stalled {
            self.cancel_all(now, node);
        }
    }

    /// Cancels orders that another provider would serve much sooner: late ones at any time, all of them once
    /// nothing else is left to ask for.
    pub(super) fn move_slow(&mut self, now: Elapsed) {
        let mut ahead: BTreeMap<NodeId, u64> = BTreeMap::new();
        let mut moved = Vec::new();
        let mut taken: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (id, open) in &self.open {
            let owed: u64 = open.owed.iter().map(|(_, estimate)| *estimate).sum();
            let before = ahead.entry(open.provider).or_default();
            *before += owed;
            let Some(slow) = self.providers.get(&open.provider) else {
                continue;
            };
            let allowed = open.expected.saturating_sub(open.issued) * 4 + Duration::from_secs(1);
            let late = now.saturating_sub(open.issued) > allowed;
            let movable = open
                .owed
                .iter()
                .all(|(item, _)| self.items[*item as usize].moves < MOVES_MAX);
            if owed == 0 || !movable || !(late || self.pending.is_empty()) {
                continue;
            }
            let here = provider::time_for(*before, slow.rate(now));
            let others = self.providers.iter().filter(|(node, other)| {
                **node != open.provider
                    && other.is_ready(now)
                    && other.proven
                    && open.owed.iter().all(|(item, _)| !other.lacks.contains(item))
            });
            let best = others
                .map(|(node, other)| {
                    (
                        other.eta(now, owed + taken.get(node).copied().unwrap_or(0)),
                        *node,
                    )
                })
                .min();
            if let Some((there, node)) = best
                && here > there * 3 + Duration::from_millis(200)
            {
                *taken.entry(node).or_default() += owed;
                moved.push(*id);
            }
        }
        for id in moved {
            let slow = self.open.get(&id).map(|open| open.provider);
            if let Some(slow) = slow.and_then(|node| self.providers.get_mut(&node)) {
                slow.slow_down(now);
            }
            let items: Vec<u32> = self
                .open
                .get(&id)
                .into_iter()
                .flat_map(|o| &o.owed)
                .map(|(i, _)| *i)
                .collect();
            for item in items {
                self.items[item as usize].moves += 1;
            }
            self.cancel(id);
        }
    }
}
