//! Which chunk is asked of whom, and when: a state machine without I/O.
//!
//! The chunks that are missing are *items*, numbered in the order of their first use. An *order* asks one provider
//! for some items, which it delivers one after the other on a stream of its own.
//!
//! Call order: after every input drain [`Planner::poll_cancel`], then [`Planner::poll_order`], then look at
//! [`Planner::state`] and sleep until [`Planner::poll_timeout`], which calls for [`Planner::handle_timeout`].
//!
//! # Invariants
//! - An item is asked of one provider at a time: an order is cancelled before its rest is asked elsewhere.
//! - An item that has arrived is never asked for again, unless it turned out to be bad.
//! - A provider that lied gets no further order; one that lacks an item is not asked for it again.
//! - What is kept with a provider is bounded by what it delivers in two round trips and a tenth of a second.
//!
//! # Non-goals
//! - Verifying, storing, streams, budgets: the shell around it ([`crate::Fetcher`]).

mod choose;
mod provider;
mod rescue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

use self::provider::Provider;

/// The least and the most bytes of an order, as far as its items allow.
const ORDER_MIN: u64 = 128 << 10;
const ORDER_MAX: u64 = 2 << 20;
/// The most items of an order.
const ORDER_ITEMS_MAX: usize = 256;
/// How often slow orders are looked for.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// An item leaves a slow provider at most so often.
const MOVES_MAX: u8 = 6;
/// Pending items looked at, at most, to find one that a provider does not lack.
const SCAN_MAX: usize = 2_048;
/// Frames are reckoned at half their raw length until some have come.
const RATIO_UNKNOWN_PERMILLE: u64 = 500;

/// Names an order within one planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderId(u64);

/// Names a reader within one planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderId(pub u64);

/// Ask this provider for these items, in this order, on a stream of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub id: OrderId,
    /// Whom to ask.
    pub provider: NodeId,
    /// What to ask for.
    pub items: Vec<u32>,
    /// Estimated bytes of the answer.
    pub bytes: u64,
}

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// There is work, and somebody who may do it.
    Working,
    /// Every item is stored.
    Done,
    /// No provider that is listed and has not lied has this item.
    Nobody {
        /// The first such item.
        item: u32,
    },
    /// Nothing arrived for the whole patience, and no provider answers.
    Unreachable,
}

/// How a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanConfig {
    /// How long to go on without any arrival while every provider fails; three times as long while one is silent.
    pub patience: Duration,
    /// The most bytes that may be outstanding altogether.
    pub outstanding_max: u64,
    /// The most providers with orders at one time.
    pub providers_max: usize,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(20),
            outstanding_max: 64 << 20,
            providers_max: 8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemState {
    Pending,
    Asked,
    /// Here, but not verified and stored yet.
    Received,
    Stored,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    raw_len: u32,
    state: ItemState,
    moves: u8,
}

#[derive(Clone, Debug)]
struct Open {
    provider: NodeId,
    /// Items still owed, with the bytes each was reckoned at.
    owed: VecDeque<(u32, u64)>,
    issued: Elapsed,
    /// When all of it was expected.
    expected: Elapsed,
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    /// The chunk the reader is at.
    position: usize,
    /// No chunk between `position` and here is pending.
    cursor: usize,
}

/// Plans the fetch of one manifest's missing chunks.
#[derive(Clone, Debug)]
pub struct Planner {
    config: PlanConfig,
    items: Vec<Item>,
    /// The item of each chunk of the manifest; `None` for those that were here from the beginning.
    sequence: Vec<Option<u32>>,
    pending: BTreeSet<u32>,
    stored: usize,
    received: usize,
    providers: BTreeMap<NodeId, Provider>,
    open: BTreeMap<OrderId, Open>,
    next_order: u64,
    cancels: VecDeque<OrderId>,
    readers: BTreeMap<ReaderId, Reader>,
    throttled: bool,
    /// Bytes received and their raw length: what to reckon for the rest.
    frame_bytes: u64,
    raw_bytes: u64,
    /// When something last arrived.
    arrived: Elapsed,
    checked: Elapsed,
}

impl Planner {
    /// A plan for items of these raw lengths. `sequence` gives the item of each chunk of the manifest, `None` for a
    /// chunk that is here already.
    ///
    /// # Panics
    /// If `sequence` names an item that `raw_lens` does not have.
    #[must_use]
    pub fn new(now: Elapsed, raw_lens: &[u32], sequence: Vec<Option<u32>>, config: PlanConfig) -> Self {
        let named = sequence.iter().flatten().max();
        assert!(
            named.is_none_or(|item| (*item as usize) < raw_lens.len()),
            "an item has a length"
        );
        let items = raw_lens.iter().map(|raw_len| Item {
            raw_len: *raw_len,
            state: ItemState::Pending,
            moves: 0,
        });
        let items: Vec<Item> = items.collect();
        let count = u32::try_from(items.len()).expect("a manifest counts its chunks in 32 bits");
        Self {
            config,
            pending: (0..count).collect(),
            items,
            sequence,
            stored: 0,
            received: 0,
            providers: BTreeMap::new(),
            open: BTreeMap::new(),
            next_order: 0,
            cancels: VecDeque::new(),
            readers: BTreeMap::new(),
            throttled: false,
            frame_bytes: 0,
            raw_bytes: 0,
            arrived: now,
            checked: now,
        }
    }

    /// Input: who may be asked, best first. One that is no longer listed keeps its orders and gets no new ones.
    pub fn set_providers(&mut self, now: Elapsed, providers: &[NodeId]) {
        for provider in self.providers.values_mut() {
            provider.listed = false;
        }
        for (preference, node) in providers.iter().enumerate() {
            let provider = self
                .providers
                .entry(*node)
                .or_insert_with(|| Provider::new(now, preference));
            if !provider.listed {
                provider.listed = true;
                provider.preference = preference;
            }
        }
    }

    /// Input: the round trip to a provider, and its rate in bytes per second where one is known from before.
    pub fn handle_path(&mut self, node: NodeId, rtt: Option<Duration>, rate_hint: Option<u64>) {
        if let Some(provider) = self.providers.get_mut(&node) {
            if let Some(rtt) = rtt {
                provider.set_rtt(rtt);
            }
            if let Some(rate) = rate_hint {
                provider.set_rate_hint(rate);
            }
        }
    }

    /// Input: no new orders to this provider before `until`, since its budget is used up.
    pub fn handle_budget(&mut self, node: NodeId, until: Elapsed) {
        if let Some(provider) = self.providers.get_mut(&node) {
            provider.rests_until = provider.rests_until.max(until);
        }
    }

    /// Input: whether to make way for others: then one small order at a time is out.
    pub const fn set_throttled(&mut self, throttled: bool) {
        self.throttled = throttled;
    }

    /// Input: a reader is at this chunk; what follows it comes first, in order.
    pub fn want(&mut self, reader: ReaderId, chunk: usize) {
        let reader = self.readers.entry(reader).or_insert(Reader {
            position: chunk,
            cursor: chunk,
        });
        if chunk < reader.position {
            reader.cursor = chunk;
        }
        reader.position = chunk;
        reader.cursor = reader.cursor.max(chunk);
    }

    /// Input: a reader is gone.
    pub fn forget_reader(&mut self, reader: ReaderId) {
        self.readers.remove(&reader);
    }

    /// Input: an item's frame of `bytes` bytes came in; it is not verified yet. Returns who owed it; `None` if the
    /// order was cancelled meanwhile.
    pub fn handle_received(&mut self, now: Elapsed, order: OrderId, item: u32, bytes: u64) -> Option<NodeId> {
        let (node, estimate) = self.take_owed(order, item)?;
        self.arrived = now;
        if let Some(provider) = self.providers.get_mut(&node) {
            provider.deliver(now, bytes, estimate);
        }
        let entry = &mut self.items[item as usize];
        self.frame_bytes += bytes;
        self.raw_bytes += u64::from(entry.raw_len);
        if entry.state == ItemState::Asked {
            entry.state = ItemState::Received;
            self.received += 1;
        }
        Some(node)
    }

    /// Input: bytes of an order came in, though no whole item yet: its provider is not silent.
    pub fn handle_progress(&mut self, now: Elapsed, order: OrderId) {
        if let Some(open) = self.open.get(&order) {
            self.arrived = now;
            if let Some(provider) = self.providers.get_mut(&open.provider) {
                provider.heard = now;
            }
        }
    }

    /// Input: an item is verified and stored, whichever order it came from. Tells whether that is news.
    pub fn handle_stored(&mut self, item: u32) -> bool {
        let entry = &mut self.items[item as usize];
        match std::mem::replace(&mut entry.state, ItemState::Stored) {
            ItemState::Stored => return false,
            ItemState::Received => self.received -= 1,
            // It came from an order that was cancelled before.
            ItemState::Pending => {
                self.pending.remove(&item);
            }
            ItemState::Asked => {}
        }
        self.stored += 1;
        true
    }

    /// Input: an item that had come in is not in the store after all: it was bad, or could not be written.
    pub fn handle_lost(&mut self, item: u32) {
        if self.items[item as usize].state == ItemState::Received {
            self.received -= 1;
            self.reopen(item);
        }
    }

    /// Input: this provider must not be asked any more; its orders are cancelled.
    pub fn ban(&mut self, now: Elapsed, node: NodeId) {
        if let Some(provider) = self.providers.get_mut(&node) {
            provider.banned = true;
        }
        self.cancel_all(now, node);
    }

    /// Input: the provider does not have the item, or has it damaged.
    pub fn handle_lacking(&mut self, now: Elapsed, order: OrderId, item: u32) {
        let Some((node, estimate)) = self.take_owed(order, item) else {
            return;
        };
        if let Some(provider) = self.providers.get_mut(&node) {
            provider.settle(estimate);
            provider.heard = now;
            provider.lacks.insert(item);
        }
        if self.items[item as usize].state == ItemState::Asked {
            self.reopen(item);
        }
    }

    /// Input: the order's stream has ended. What it still owed goes back; an order that ended early counts as a
    /// failure of its provider, which then rests.
    pub fn handle_ended(&mut self, now: Elapsed, order: OrderId) {
        let Some(open) = self.open.remove(&order) else {
            return;
        };
        if open.owed.is_empty() {
            return;
        }
        if let Some(provider) = self.providers.get_mut(&open.provider) {
            provider.fail(now);
        }
        self.give_back(&open);
    }

    /// Input: time has passed; looks for orders that would be served sooner elsewhere.
    pub fn handle_timeout(&mut self, now: Elapsed) {
        if now.saturating_sub(self.checked) < CHECK_EVERY {
            return;
        }
        self.checked = now;
        self.drop_stalled(now);
        self.move_slow(now);
    }

    /// Output: an order to cancel. Its items are free already; frames that still come of it are not owed.
    pub fn poll_cancel(&mut self) -> Option<OrderId> {
        self.cancels.pop_front()
    }

    /// Output: the next order to send.
    pub fn poll_order(&mut self, now: Elapsed) -> Option<Order> {
        if self.pending.is_empty() || self.outstanding() >= self.config.outstanding_max {
            return None;
        }
        if self.throttled && !self.open.is_empty() {
            return None;
        }
        let busy = self
            .providers
            .values()
            .filter(|provider| provider.outstanding > 0)
            .count();
        let mut ready: Vec<(bool, Duration, usize, NodeId)> = self
            .providers
            .iter()
            .filter(|(_, provider)| provider.is_ready(now))
            .filter(|(_, provider)| provider.outstanding < provider.window())
            .filter(|(_, provider)| provider.outstanding > 0 || busy < self.config.providers_max)
            .map(|(node, provider)| {
                let empty_handed = !provider.proven && !provider.lacks.is_empty();
                (
                    empty_handed,
                    provider.eta(now, ORDER_MIN),
                    provider.preference,
                    *node,
                )
            })
            .collect();
        ready.sort_unstable();
        ready
            .into_iter()
            .find_map(|(_, _, _, node)| self.order_for(now, node))
    }

    /// Output: when to call [`Planner::handle_timeout`] at the latest, and poll again.
    #[must_use]
    pub fn poll_timeout(&self, now: Elapsed) -> Option<Elapsed> {
        if self.stored == self.items.len() {
            return None;
        }
        let check = (!self.open.is_empty()).then(|| self.checked.plus(CHECK_EVERY));
        let waiting = !self.pending.is_empty();
        let rests = self
            .providers
            .values()
            .filter(|provider| waiting && provider.listed && !provider.banned);
        let rests = rests
            .map(|provider| provider.rests_until)
            .filter(|until| *until > now);
        let idle = (waiting && self.open.is_empty()).then(|| self.arrived.plus(self.config.patience));
        // Never in the past: whoever polls has just been served.
        let floor = now.plus(Duration::from_millis(1));
        check
            .into_iter()
            .chain(rests)
            .chain(idle)
            .min()
            .map(|at| at.max(floor))
    }

    /// Output: where the plan stands.
    #[must_use]
    pub fn state(&self, now: Elapsed) -> PlanState {
        if self.stored == self.items.len() {
            return PlanState::Done;
        }
        let waited = now.saturating_sub(self.arrived);
        if self.received > 0 || (!self.open.is_empty() && waited < self.config.patience * 3) {
            return PlanState::Working;
        }
        if !self.open.is_empty() {
            return PlanState::Unreachable;
        }
        let usable = || {
            self.providers
                .values()
                .filter(|provider| provider.listed && !provider.banned)
        };
        let Some(first) = self.pending.first() else {
            return PlanState::Working;
        };
        let forsaken = |item: &u32| usable().all(|provider| provider.lacks.contains(item));
        if let Some(item) = self.pending.iter().take(SCAN_MAX).find(|item| forsaken(item)) {
            return PlanState::Nobody { item: *item };
        }
        if usable().next().is_none() {
            return PlanState::Nobody { item: *first };
        }
        let failing = |item: &u32| usable().all(|p| p.failures() > 0 || p.lacks.contains(item));
        if waited >= self.config.patience && self.pending.iter().take(SCAN_MAX).any(failing) {
            return PlanState::Unreachable;
        }
        PlanState::Working
    }

    /// The rates measured, in bytes per second.
    pub fn rates(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        let measured = self.providers.iter().filter(|(_, provider)| provider.proven);
        measured.filter_map(|(node, provider)| provider.measured_rate().map(|rate| (*node, rate)))
    }

    /// Bytes asked for and not delivered.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.providers.values().map(|provider| provider.outstanding).sum()
    }

    /// Takes an item off the order that owes it; the provider and the bytes it was reckoned at.
    fn take_owed(&mut self, order: OrderId, item: u32) -> Option<(NodeId, u64)> {
        let open = self.open.get_mut(&order)?;
        let at = open.owed.iter().position(|(owed, _)| *owed == item)?;
        let (_, estimate) = open.owed.remove(at)?;
        Some((open.provider, estimate))
    }

    fn reopen(&mut self, item: u32) {
        self.items[item as usize].state = ItemState::Pending;
        self.pending.insert(item);
        for reader in self.readers.values_mut() {
            reader.cursor = reader.position;
        }
    }

    fn give_back(&mut self, open: &Open) {
        for (item, estimate) in &open.owed {
            if let Some(provider) = self.providers.get_mut(&open.provider) {
                provider.settle(*estimate);
            }
            if self.items[*item as usize].state == ItemState::Asked {
                self.reopen(*item);
            }
        }
    }
}
