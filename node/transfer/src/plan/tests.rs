//! The planner against a world of providers in fluid time: rates, round trips, stalls, lies, deaths.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

use super::*;

const STEP: Duration = Duration::from_millis(5);
const FRAME: u64 = 64 << 10;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A provider that sends what it was asked for, one frame after the other.
struct Peer {
    /// Bytes per second, from each moment on.
    rates: Vec<(Duration, u64)>,
    rtt: Duration,
    lacks: BTreeSet<u32>,
    lies_about: BTreeSet<u32>,
    /// Every request fails at once.
    refuses: bool,
    /// Its streams break at this moment, and all later ones.
    dies_at: Option<Duration>,
    queue: VecDeque<(OrderId, u32, u64)>,
}

impl Peer {
    fn at(rate: u64, rtt_ms: u64) -> Self {
        Self {
            rates: vec![(Duration::ZERO, rate)],
            rtt: Duration::from_millis(rtt_ms),
            lacks: BTreeSet::new(),
            lies_about: BTreeSet::new(),
            refuses: false,
            dies_at: None,
            queue: VecDeque::new(),
        }
    }

    fn then(mut self, after_ms: u64, rate: u64) -> Self {
        self.rates.push((Duration::from_millis(after_ms), rate));
        self
    }

    fn rate(&self, elapsed: Duration) -> u64 {
        let current = self.rates.iter().rev().find(|(from, _)| *from <= elapsed);
        current.map_or(0, |(_, rate)| *rate)
    }
}

enum Message {
    Order(Order),
    Cancel(OrderId),
    Frame { order: OrderId, item: u32, lie: bool },
    Lacking(OrderId, u32),
    Ended(OrderId),
}

struct World {
    planner: Planner,
    peers: BTreeMap<NodeId, Peer>,
    now: Elapsed,
    /// What is on its way to a peer, or (`true`) back.
    mail: Vec<(Elapsed, NodeId, bool, Message)>,
    owed: BTreeMap<OrderId, BTreeSet<u32>>,
    owners: BTreeMap<OrderId, NodeId>,
    sent: BTreeMap<NodeId, u64>,
    stored: Vec<u32>,
    asked: Vec<(Elapsed, NodeId, u32)>,
}

impl World {
    fn new(items: u32, peers: Vec<Peer>) -> Self {
        // Frames have half the raw length, as the planner supposes.
        let raw_lens = vec![u32::try_from(2 * FRAME).unwrap(); items as usize];
        let sequence = (0..items).map(Some).collect();
        let mut planner = Planner::new(Elapsed::ZERO, &raw_lens, sequence, PlanConfig::default());
        let peers: BTreeMap<NodeId, Peer> = (1..).map(node).zip(peers).collect();
        planner.set_providers(Elapsed::ZERO, &peers.keys().copied().collect::<Vec<_>>());
        for (node, peer) in &peers {
            planner.handle_path(*node, Some(peer.rtt), None);
        }
        Self {
            planner,
            peers,
            now: Elapsed::ZERO,
            mail: Vec::new(),
            owed: BTreeMap::new(),
            owners: BTreeMap::new(),
            sent: BTreeMap::new(),
            stored: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.saturating_sub(Elapsed::ZERO)
    }

    fn post(&mut self, node: NodeId, back: bool, message: Message) {
        let at = self.now.plus(self.peers[&node].rtt / 2);
        self.mail.push((at, node, back, message));
    }

    /// Runs until the plan ends or `limit` has passed.
    fn run(&mut self, limit: Duration) -> PlanState {
        while self.elapsed() < limit {
            self.step();
            let state = self.planner.state(self.now);
            if state != PlanState::Working {
                return state;
            }
            assert!(
                self.planner.poll_timeout(self.now).is_some(),
                "a plan at work has a next moment"
            );
        }
        PlanState::Working
    }

    fn step(&mut self) {
        self.planner.handle_timeout(self.now);
        while let Some(order) = self.planner.poll_cancel() {
            let Some(owner) = self.asked_of(order) else {
                continue;
            };
            self.owed.remove(&order);
            self.post(owner, false, Message::Cancel(order));
        }
        while let Some(order) = self.planner.poll_order(self.now) {
            assert!(!order.items.is_empty() && order.items.len() <= ORDER_ITEMS_MAX);
            for item in &order.items {
                self.asked.push((self.now, order.provider, *item));
            }
            self.owed.insert(order.id, order.items.iter().copied().collect());
            self.owners.insert(order.id, order.provider);
            self.post(order.provider, false, Message::Order(order));
        }
        self.now = self.now.plus(STEP);
        self.send();
        self.deliver();
    }

    fn asked_of(&self, order: OrderId) -> Option<NodeId> {
        self.owners.get(&order).copied()
    }

    /// Lets every peer send for one step.
    fn send(&mut self) {
        let elapsed = self.elapsed();
        let mut mail = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.dies_at.is_some_and(|at| elapsed >= at) {
                let broken: BTreeSet<OrderId> = peer.queue.drain(..).map(|(order, _, _)| order).collect();
                mail.extend(broken.into_iter().map(|order| (*node, Message::Ended(order))));
                continue;
            }
            let mut room = peer.rate(elapsed) * STEP.as_millis() as u64 / 1_000;
            while let Some((order, item, left)) = peer.queue.front_mut() {
                let sent = room.min(*left);
                *left -= sent;
                room -= sent;
                *self.sent.entry(*node).or_default() += sent;
                if *left > 0 {
                    break;
                }
                let lie = peer.lies_about.contains(item);
                mail.push((
                    *node,
                    Message::Frame {
                        order: *order,
                        item: *item,
                        lie,
                    },
                ));
                peer.queue.pop_front();
            }
        }
        for (node, message) in mail {
            self.post(node, true, message);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.mail)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.mail = later;
        let due: Vec<_> = due;
        for (_, node, back, message) in due {
            if back {
                self.arrive(node, message);
            } else {
                self.ask(node, message);
            }
        }
    }

    fn ask(&mut self, node: NodeId, message: Message) {
        let elapsed = self.elapsed();
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        match message {
            Message::Cancel(order) => peer.queue.retain(|(other, _, _)| *other != order),
            Message::Order(order) if peer.refuses || peer.dies_at.is_some_and(|at| elapsed >= at) => {
                self.post(node, true, Message::Ended(order.id));
            }
            Message::Order(order) => {
                let (lacking, has): (Vec<u32>, Vec<u32>) =
                    order.items.iter().partition(|item| peer.lacks.contains(item));
                peer.queue
                    .extend(has.into_iter().map(|item| (order.id, item, FRAME)));
                for item in lacking {
                    self.post(node, true, Message::Lacking(order.id, item));
                }
            }
            Message::Frame { .. } | Message::Lacking(..) | Message::Ended(_) => unreachable!("goes back"),
        }
    }

    fn arrive(&mut self, node: NodeId, message: Message) {
        let now = self.now;
        let done = match message {
            Message::Frame { order, item, lie } => {
                self.planner.handle_received(now, order, item, FRAME);
                if lie {
                    self.planner.handle_lost(item);
                    self.planner.ban(now, node);
                } else if self.planner.handle_stored(item) {
                    self.stored.push(item);
                }
                Some((order, item))
            }
            Message::Lacking(order, item) => {
                self.planner.handle_lacking(now, order, item);
                Some((order, item))
            }
            Message::Ended(order) => {
                self.planner.handle_ended(now, order);
                None
            }
            Message::Order(_) | Message::Cancel(_) => unreachable!("goes there"),
        };
        if let Some((order, item)) = done
            && let Some(owed) = self.owed.get_mut(&order)
        {
            owed.remove(&item);
            if owed.is_empty() {
                self.planner.handle_ended(now, order);
            }
        }
    }

    fn waste_permille(&self) -> u64 {
        let sent: u64 = self.sent.values().sum();
        (sent - self.stored.len() as u64 * FRAME) * 1_000 / sent
    }
}

const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn four_providers_share_the_work_by_their_rates() {
    // given four providers, one of them three times as fast
    let peers = [6 * MIB, 2 * MIB, 2 * MIB, 2 * MIB].map(|rate| Peer::at(rate, 20));
    let mut world = World::new(1_920, peers.into());

    // when 120 MiB are fetched
    assert_eq!(world.run(LIMIT), PlanState::Done);

    // then it takes hardly longer than their rates together allow, and each sent its share
    assert!(
        world.elapsed() < Duration::from_millis(10_800),
        "{:?}",
        world.elapsed()
    );
    assert!(world.waste_permille() < 10, "{} permille", world.waste_permille());
    let share = world.sent[&node(1)] * 100 / world.sent.values().sum::<u64>();
    assert!((45..=55).contains(&share), "{share} %");
}

#[test]
fn four_equal_providers_are_almost_four_times_as_fast_as_one() {
    let time = |count: usize| {
        let peers = (0..count).map(|_| Peer::at(5 * MIB / 2, 40)).collect();
        let mut world = World::new(1_024, peers);
        assert_eq!(world.run(LIMIT), PlanState::Done);
        assert!(world.waste_permille() < 10);
        world.elapsed()
    };

    assert!(time(1) > time(4) * 37 / 10, "{:?} {:?}", time(1), time(4));
}

#[test]
fn a_link_with_a_long_round_trip_is_kept_full() {
    // 6 MiB/s at 600 ms: 64 MiB take 10.7 s at best.
    let mut world = World::new(1_024, vec![Peer::at(6 * MIB, 600)]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    assert!(world.elapsed() < Duration::from_secs(15), "{:?}", world.elapsed());
}

#[test]
fn a_provider_that_slows_down_is_replanned() {
    // given two providers, one of which nearly stops after a second
    let slow = Peer::at(4 * MIB, 20).then(1_000, 16 << 10);
    let mut world = World::new(640, vec![slow, Peer::at(4 * MIB, 20)]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    // then the other one does the rest in the time that it needs for it, and little is sent twice
    assert!(world.elapsed() < Duration::from_secs(12), "{:?}", world.elapsed());
    assert!(world.waste_permille() < 10, "{} permille", world.waste_permille());
}

#[test]
fn a_provider_that_falls_silent_is_replanned() {
    let silent = Peer::at(4 * MIB, 20).then(1_000, 0);
    let mut world = World::new(640, vec![silent, Peer::at(4 * MIB, 20)]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    assert!(world.elapsed() < Duration::from_secs(13), "{:?}", world.elapsed());
    assert!(world.waste_permille() < 10, "{} permille", world.waste_permille());
}

#[test]
fn the_only_provider_is_waited_for() {
    let pausing = Peer::at(4 * MIB, 20).then(1_000, 0).then(6_000, 4 * MIB);
    let mut world = World::new(256, vec![pausing]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    assert_eq!(world.waste_permille(), 0);
}

#[test]
fn a_provider_that_dies_leaves_its_work_to_the_others() {
    let mut dying = Peer::at(4 * MIB, 20);
    dying.dies_at = Some(Duration::from_millis(800));
    let mut world = World::new(640, vec![dying, Peer::at(4 * MIB, 20)]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    assert!(
        world.elapsed() < Duration::from_millis(9_800),
        "{:?}",
        world.elapsed()
    );
}

#[test]
fn a_provider_that_lies_loses_one_chunk_and_is_asked_no_more() {
    let mut liar = Peer::at(4 * MIB, 20);
    liar.lies_about = (0..640).filter(|item| item % 13 == 7).collect();
    let mut world = World::new(640, vec![liar, Peer::at(4 * MIB, 20)]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    // Whatever it had sent before is kept, and at most what was under way is lost besides the lie.
    let from_liar = world.sent[&node(1)] / FRAME;
    assert!(from_liar <= 64, "{from_liar} frames");
    assert_eq!(world.stored.len(), 640);
}

#[test]
fn an_item_is_not_asked_again_of_whom_lacks_it() {
    let mut half = Peer::at(4 * MIB, 20);
    half.lacks = (100..200).collect();
    let mut world = World::new(200, vec![half, Peer::at(MIB, 20)]);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    let mut asked = BTreeSet::new();
    for (_, provider, item) in &world.asked {
        let fresh = asked.insert((*provider, *item));
        assert!(
            fresh || *provider != node(1) || *item < 100,
            "item {item} asked twice of one that lacks it"
        );
    }
}

#[test]
fn a_plan_says_which_item_nobody_has() {
    let lacking = || {
        let mut peer = Peer::at(4 * MIB, 20);
        peer.lacks = [17].into();
        peer
    };
    let mut world = World::new(64, vec![lacking(), lacking()]);

    assert_eq!(world.run(LIMIT), PlanState::Nobody { item: 17 });

    assert_eq!(world.stored.len(), 63, "what can be had is fetched all the same");
}

#[test]
fn a_plan_without_providers_ends_at_once() {
    let mut world = World::new(1, vec![]);

    assert_eq!(world.run(LIMIT), PlanState::Nobody { item: 0 });
}

#[test]
fn a_plan_ends_when_nobody_answers_for_the_whole_patience() {
    let mut refusing = Peer::at(MIB, 20);
    refusing.refuses = true;
    let mut world = World::new(8, vec![refusing]);

    assert_eq!(world.run(LIMIT), PlanState::Unreachable);

    let patience = PlanConfig::default().patience;
    assert!(world.elapsed() >= patience && world.elapsed() < patience * 2);
    assert!(
        world.asked.len() < 8 * 12,
        "it rests between attempts: {}",
        world.asked.len()
    );
}

#[test]
fn what_follows_a_reader_comes_first() {
    let mut world = World::new(400, vec![Peer::at(4 * MIB, 20)]);
    world.planner.want(ReaderId(1), 300);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    let first: Vec<u32> = world.stored[..100].to_vec();
    assert_eq!(
        first,
        (300..400).collect::<Vec<_>>(),
        "then the rest: {:?}",
        &world.stored[100..104]
    );
    assert_eq!(world.stored[100], 0);
}

#[test]
fn two_readers_advance_side_by_side() {
    let mut world = World::new(400, vec![Peer::at(4 * MIB, 20)]);
    world.planner.want(ReaderId(1), 0);
    world.planner.want(ReaderId(2), 200);

    assert_eq!(world.run(LIMIT), PlanState::Done);

    let of_first = world.stored[..200].iter().filter(|item| **item < 200).count();
    assert!((60..=140).contains(&of_first), "{of_first} of the first 200");
}

#[test]
fn a_reader_that_jumps_is_followed_within_one_window() {
    let mut world = World::new(1_000, vec![Peer::at(2 * MIB, 20)]);
    world.planner.want(ReaderId(1), 0);
    while world.elapsed() < Duration::from_secs(1) {
        world.step();
    }
    let before = world.stored.len();
    world.planner.want(ReaderId(1), 800);
    while world.stored.last() != Some(&800) && world.elapsed() < LIMIT {
        world.step();
    }

    let between = (world.stored.len() - before) as u64 * FRAME;
    assert!(between <= 2 * MIB, "{between} bytes came before what was wanted");
}

#[test]
fn a_plan_that_makes_way_has_one_small_order_out() {
    let mut world = World::new(100, vec![Peer::at(4 * MIB, 20), Peer::at(4 * MIB, 20)]);
    world.planner.set_throttled(true);

    let first = world.planner.poll_order(Elapsed::ZERO).expect("one order");

    assert!(first.bytes <= 3 * ORDER_MIN);
    assert_eq!(world.planner.poll_order(Elapsed::ZERO), None);
}

#[test]
fn a_budget_holds_orders_back_until_its_moment() {
    let mut world = World::new(100, vec![Peer::at(4 * MIB, 20)]);
    let until = Elapsed::ZERO.plus(Duration::from_secs(5));
    world.planner.handle_budget(node(1), until);

    assert_eq!(world.planner.poll_order(Elapsed::ZERO), None);
    assert_eq!(world.planner.poll_timeout(Elapsed::ZERO), Some(until));
    assert!(world.planner.poll_order(until).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the providers do, a plan ends; it has everything if one of them is honest, whole and alive; nothing
    /// is stored twice, and nothing is asked of two providers at once.
    #[test]
    fn every_plan_ends_and_one_good_provider_suffices(
        items in 1_u32..300,
        rates in proptest::collection::vec((1_u64..64, 1_u64..400, 0_u8..6), 1..5),
        good in proptest::option::of(1_u64..16),
    ) {
        let mut peers: Vec<Peer> = rates
            .into_iter()
            .map(|(rate, rtt, fault)| {
                let mut peer = Peer::at(rate * 256 * 1_024, rtt);
                match fault {
                    0 => peer.lacks = (0..items).filter(|item| item % 3 == 0).collect(),
                    1 => peer.lies_about = (items / 2..items).collect(),
                    2 => peer.refuses = true,
                    3 => peer.dies_at = Some(Duration::from_millis(rate * 40)),
                    4 => peer = peer.then(rate * 20, 0),
                    _ => {}
                }
                peer
            })
            .collect();
        let has_good = good.is_some();
        peers.extend(good.map(|rate| Peer::at(rate * 256 * 1_024, 30)));
        let mut world = World::new(items, peers);

        let state = world.run(LIMIT);

        let distinct: BTreeSet<u32> = world.stored.iter().copied().collect();
        prop_assert_eq!(distinct.len(), world.stored.len());
        prop_assert_ne!(state, PlanState::Working);
        if has_good {
            prop_assert_eq!(state, PlanState::Done);
            prop_assert_eq!(distinct.len(), items as usize);
        }
    }
}
