//! What a provider is asked for next, and whether it is worth asking.

use std::collections::VecDeque;
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

use super::{
    ItemState, ORDER_ITEMS_MAX, ORDER_MAX, ORDER_MIN, Open, Order, OrderId, Planner, RATIO_UNKNOWN_PERMILLE,
    Reader, SCAN_MAX, provider,
};

impl Planner {
    /// Estimated bytes of a frame.
    fn estimate(&self, item: u32) -> u64 {
        let raw_len = u64::from(self.items[item as usize].raw_len);
        let permille = match self.raw_bytes {
            0 => RATIO_UNKNOWN_PERMILLE,
            raw => (u128::from(self.frame_bytes) * 1_000 / u128::from(raw)) as u64,
        };
        (raw_len * permille.clamp(10, 1_010) / 1_000).max(1)
    }

    fn pending_bytes(&self) -> u64 {
        // The average of some items is near enough for the whole.
        let sample = self.pending.len().min(64);
        let bytes: u64 = self
            .pending
            .iter()
            .take(sample)
            .map(|item| self.estimate(*item))
            .sum();
        bytes * self.pending.len() as u64 / (sample as u64).max(1)
    }

    pub(super) fn order_for(&mut self, now: Elapsed, node: NodeId) -> Option<Order> {
        let provider = self.providers.get(&node)?;
        let room = provider.window().saturating_sub(provider.outstanding);
        let pending = self.pending_bytes();
        let share = pending / (2 * self.providers.values().filter(|p| p.is_ready(now)).count().max(1) as u64);
        let size = (provider.window() / 4).min(share).clamp(ORDER_MIN, ORDER_MAX);
        let size = if self.throttled {
            ORDER_MIN
        } else {
            size.min(room.max(ORDER_MIN))
        };
        if !self.would_help(now, node, size.min(pending), pending) {
            return None;
        }
        let mut owed = VecDeque::new();
        let mut bytes = 0;
        while bytes < size && owed.len() < ORDER_ITEMS_MAX {
            let Some(item) = self.next_item(node) else { break };
            let estimate = self.estimate(item);
            if !owed.is_empty() && bytes + estimate > size + ORDER_MIN {
                break;
            }
            self.pending.remove(&item);
            self.items[item as usize].state = ItemState::Asked;
            owed.push_back((item, estimate));
            bytes += estimate;
        }
        if owed.is_empty() {
            return None;
        }
        let id = OrderId(self.next_order);
        self.next_order += 1;
        let provider = self.providers.get_mut(&node)?;
        let expected = now.plus(provider.eta(now, bytes));
        provider.begin(now, bytes);
        let items = owed.iter().map(|(item, _)| *item).collect();
        let open = Open {
            provider: node,
            owed,
            issued: now,
            expected,
        };
        self.open.insert(id, open);
        Some(Order {
            id,
            provider: node,
            items,
            bytes,
        })
    }

    /// Whether this provider would deliver `bytes` before the others could have done everything.
    fn would_help(&self, now: Elapsed, node: NodeId, bytes: u64, pending: u64) -> bool {
        let Some(provider) = self.providers.get(&node) else {
            return false;
        };
        let others = self.providers.iter().filter(|(other, _)| **other != node);
        let others =
            others.filter(|(_, other)| other.is_ready(now) && other.proven && other.lacks.is_empty());
        let (mut rate, mut work, mut rtt) = (0_u64, pending, Duration::ZERO);
        for (_, other) in others {
            rate = rate.saturating_add(other.rate(now));
            work = work.saturating_add(other.outstanding);
            rtt = rtt.max(other.rtt());
        }
        if rate == 0 {
            return true;
        }
        let alone = rtt + provider::time_for(work, rate);
        provider.eta(now, bytes) <= alone + alone / 2 + Duration::from_millis(50)
    }

    /// The pending item to ask this provider for next.
    fn next_item(&mut self, node: NodeId) -> Option<u32> {
        let lacks = &self.providers.get(&node)?.lacks;
        let (pending, sequence) = (&self.pending, &self.sequence);
        let is_pending = |chunk: usize| sequence[chunk].filter(|item| pending.contains(item));
        for reader in self.readers.values_mut() {
            while reader.cursor < sequence.len() && is_pending(reader.cursor).is_none() {
                reader.cursor += 1;
            }
        }
        let mut readers: Vec<&Reader> = self.readers.values().collect();
        readers.sort_by_key(|reader| reader.cursor - reader.position);
        let ahead = readers.into_iter().find_map(|reader| {
            let range = reader.cursor..sequence.len().min(reader.cursor + SCAN_MAX);
            range.filter_map(is_pending).find(|item| !lacks.contains(item))
        });
        ahead.or_else(|| pending.iter().find(|item| !lacks.contains(item)).copied())
    }
}
