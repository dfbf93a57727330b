use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use parking_lot::Mutex;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::message::Message;
use tetryx_protocol::presence::{HeldDigest, Presence, PresenceState};
use tetryx_protocol::time::{Elapsed, UtcTime};
use tokio::time::Instant;

use super::{MemoryGossip, Mesh, Tally};
use crate::{Gossip, GossipRoster, Timing, node_id_of};

/// Who is a member: the same for all.
#[derive(Debug, Default)]
struct Directory(Mutex<BTreeSet<NodeId>>);

impl GossipRoster for Directory {
    fn members(&self) -> Vec<(NodeId, Vec<String>)> {
        self.0.lock().iter().map(|node| (*node, Vec::new())).collect()
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.0.lock().contains(&node)
    }
}

struct World {
    mesh: Mesh,
    directory: Arc<Directory>,
    stations: Vec<Arc<MemoryGossip>>,
    began: Instant,
}

impl World {
    /// Members that are all connected.
    async fn of(count: u8, seed: u64) -> Self {
        let world = Self::before_they_met(count, seed);
        pass(Duration::from_secs(5)).await;
        world
    }

    fn before_they_met(count: u8, seed: u64) -> Self {
        let mut world = Self {
            mesh: Mesh::seeded(seed),
            directory: Arc::default(),
            stations: Vec::new(),
            began: now(),
        };
        world.mesh.set_latency_everywhere(Duration::from_millis(10));
        for number in 1..=count {
            let gossip = world.join(number);
            world.directory.0.lock().insert(gossip.node());
            world.stations.push(gossip);
        }
        world
    }

    fn join(&self, number: u8) -> Arc<MemoryGossip> {
        let roster = Arc::clone(&self.directory) as _;
        let began = self.began;
        let elapsed = Arc::new(move || Elapsed::ZERO.plus(now().saturating_duration_since(began)));
        let timing = Timing::for_rtt(Duration::from_millis(20));
        let joined = self.mesh.join([number; 32].into(), roster, timing, elapsed);
        joined.expect("a seed is a key")
    }

    fn node(&self, at: usize) -> NodeId {
        self.stations[at].node()
    }

    fn announce(&self, at: usize, seq: u64) {
        self.stations[at].announce(presence(self.node(at), seq));
    }

    /// What a station heard of another one last.
    fn heard(&self, at: usize, of: usize) -> Option<u64> {
        let presences = self.stations[at].presences();
        presences.get(&self.node(of)).map(|seen| seen.presence.seq)
    }

    /// How many of the others have heard this of a station.
    fn count_heard(&self, of: usize, seq: u64) -> usize {
        let others = (0..self.stations.len()).filter(|at| *at != of);
        others.filter(|at| self.heard(*at, of) >= Some(seq)).count()
    }

    fn cut_apart(&self, left: &[usize], right: &[usize]) {
        for a in left {
            for b in right {
                self.mesh.cut(self.node(*a), self.node(*b));
            }
        }
    }
}

fn presence(node: NodeId, seq: u64) -> Presence {
    Presence {
        node,
        seq,
        at: UtcTime::UNIX_EPOCH,
        applied_index: 7,
        free_bytes: 1 << 30,
        load_permille: 12,
        held: HeldDigest::default(),
        state: PresenceState::Serving,
        version: "0.1.0".to_owned(),
        feature_level: 1,
    }
}

fn node_of(seed: u8) -> NodeId {
    let key = Keypair::ed25519_from_bytes([seed; 32]).expect("32 bytes are a seed");
    node_id_of(&key.public().to_peer_id()).expect("an ed25519 key")
}

#[expect(clippy::disallowed_methods, reason = "the tests' virtual clock")]
fn now() -> Instant {
    Instant::now()
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_presence_arrives_at_everybody_one_latency_later() {
    let world = World::of(12, 1).await;
    world.announce(0, 1);
    pass(Duration::from_millis(9)).await;
    assert_eq!(world.count_heard(0, 1), 0);
    pass(Duration::from_millis(3)).await;
    assert_eq!(world.count_heard(0, 1), 11);
    assert_eq!(world.heard(0, 0), None, "a member does not hear itself");
}

#[tokio::test(start_paused = true)]
async fn every_presence_arrives_although_two_in_five_messages_are_lost() {
    let world = World::of(30, 2).await;
    world.mesh.set_loss_everywhere(400);
    for at in 0..30 {
        world.announce(at, 1);
    }
    pass(seconds(5)).await;
    for at in 0..30 {
        assert_eq!(world.count_heard(at, 1), 29, "of station {at}");
    }
    assert!(world.mesh.tally().asked > 0, "some are only heard on request");
}

#[tokio::test(start_paused = true)]
async fn members_that_cannot_hear_each_other_directly_hear_by_others() {
    let world = World::of(8, 3).await;
    world.mesh.cut(world.node(0), world.node(1));
    world.announce(0, 1);
    pass(seconds(3)).await;
    assert_eq!(world.heard(1, 0), Some(1));
    world.mesh.heal_all();
    world.mesh.cut_one_way(world.node(2), world.node(3));
    world.announce(2, 1);
    pass(seconds(3)).await;
    assert_eq!(world.heard(3, 2), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_split_is_noticed_after_its_silence_and_re_merges_when_it_is_healed() {
    let world = World::of(7, 4).await;
    world.cut_apart(&[0, 1, 2], &[3, 4, 5, 6]);
    let idle = Timing::for_rtt(Duration::from_millis(20)).idle;
    pass(idle - seconds(2)).await;
    assert_eq!(world.stations[0].connected().len(), 6, "nobody knows yet");
    pass(seconds(4)).await;
    assert_eq!(world.stations[0].connected().len(), 2);
    assert_eq!(world.stations[3].connected().len(), 3);
    world.announce(0, 1);
    world.announce(6, 1);
    pass(seconds(60)).await;
    assert_eq!((world.count_heard(0, 1), world.count_heard(6, 1)), (2, 3));

    world.mesh.heal_all();
    let timing = Timing::for_rtt(Duration::from_millis(20));
    // Whoever is dialling in vain when the split heals goes on until its patience ends.
    pass(timing.redial_max + timing.handshake + seconds(2)).await;
    assert_eq!((world.count_heard(0, 1), world.count_heard(6, 1)), (6, 6));
    for station in &world.stations {
        assert_eq!(station.connected().len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_believed_in_the_name_of_another() {
    let world = World::of(4, 5).await;
    let (liar, victim) = (world.node(0), world.node(1));
    let forged = presence(victim, 1_000).encode();
    for _ in 0..3 {
        world.mesh.say(liar, victim, forged.clone());
    }
    world.mesh.say(liar, liar, forged);
    pass(seconds(1)).await;
    assert_eq!(world.count_heard(1, 1), 0);
    world.announce(1, 1);
    pass(seconds(1)).await;
    assert_eq!(world.count_heard(1, 1), 3, "the victim has lost nothing");
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_forging_or_talks_garbage_is_dropped_and_let_in_again_after_its_penalty() {
    for forges in [true, false] {
        let world = World::of(4, 6).await;
        let (liar, victim) = (world.node(0), world.node(1));
        for number in 0..8 {
            let author = if forges { victim } else { liar };
            world.mesh.say(liar, author, vec![number; 100]);
        }
        pass(seconds(30)).await;
        assert!(world.stations[0].connected().is_empty());
        assert!(
            world.stations[1..]
                .iter()
                .all(|station| station.connected().len() == 2)
        );
        pass(seconds(700)).await;
        assert_eq!(world.stations[0].connected().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_presence_changes_nothing() {
    let world = World::of(3, 7).await;
    world.announce(0, 5);
    pass(seconds(1)).await;
    world.announce(0, 4);
    pass(seconds(1)).await;
    assert_eq!((world.heard(1, 0), world.heard(2, 0)), (Some(5), Some(5)));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_not_let_in_until_it_is_a_member() {
    let mut world = World::of(3, 8).await;
    let stranger = world.join(99);
    stranger.announce(presence(stranger.node(), 1));
    world.stations.push(stranger);
    pass(seconds(20)).await;
    assert_eq!(world.count_heard(3, 1), 0);
    assert!(world.stations[3].connected().is_empty());
    world.directory.0.lock().insert(world.node(3));
    pass(seconds(20)).await;
    assert_eq!(world.count_heard(3, 1), 3);
}

#[tokio::test(start_paused = true)]
async fn a_removed_member_is_disconnected_and_forgotten() {
    let world = World::of(3, 9).await;
    world.announce(2, 1);
    pass(seconds(1)).await;
    world.directory.0.lock().remove(&world.node(2));
    pass(seconds(2)).await;
    assert_eq!(world.count_heard(2, 1), 0);
    assert_eq!(world.stations[0].connected().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_was_killed_and_starts_again_hears_what_it_missed() {
    let mut world = World::of(5, 10).await;
    world.mesh.take_away(world.node(4));
    pass(seconds(60)).await;
    assert_eq!(world.stations[0].connected().len(), 3);
    world.announce(0, 7);
    world.announce(1, 7);
    pass(seconds(10)).await;
    world.stations[4] = world.join(5);
    assert_eq!(world.node(4), node_of(5));
    pass(seconds(20)).await;
    assert_eq!((world.heard(4, 0), world.heard(4, 1)), (Some(7), Some(7)));
    world.announce(4, 1);
    pass(seconds(1)).await;
    assert_eq!(world.count_heard(4, 1), 4);
}

#[tokio::test(start_paused = true)]
async fn the_old_handle_of_a_member_that_came_again_does_nothing() {
    let mut world = World::of(2, 11).await;
    let again = world.join(1);
    let old = std::mem::replace(&mut world.stations[0], again);
    drop(old);
    pass(seconds(20)).await;
    world.announce(0, 1);
    pass(seconds(1)).await;
    assert_eq!(world.heard(1, 0), Some(1));
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_is_gone_at_once() {
    let world = World::of(3, 12).await;
    world.stations[0].shutdown().await;
    pass(Duration::from_millis(20)).await;
    assert_eq!(world.stations[1].connected().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_member_hears_when_it_thaws_and_its_words_wait_as_well() {
    let world = World::of(3, 13).await;
    world.mesh.freeze(world.node(2));
    world.announce(0, 1);
    world.announce(2, 1);
    pass(seconds(3)).await;
    assert_eq!((world.heard(2, 0), world.heard(0, 2)), (None, None));
    world.mesh.thaw(world.node(2));
    pass(seconds(2)).await;
    assert_eq!((world.heard(2, 0), world.heard(0, 2)), (Some(1), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn who_claims_falsely_is_dropped() {
    let world = World::of(3, 14).await;
    for _ in 0..4 {
        world.stations[0].report_false_claim(world.node(1));
    }
    pass(seconds(2)).await;
    assert!(!world.stations[0].connected().contains(&world.node(1)));
    assert!(
        world.stations[2].connected().contains(&world.node(1)),
        "only one has reported it"
    );
}

#[tokio::test(start_paused = true)]
async fn new_timers_are_taken_over_without_losing_what_was_heard() {
    let world = World::of(3, 15).await;
    world.announce(0, 1);
    pass(seconds(1)).await;
    world.stations[1].retime(seconds(2));
    assert!(world.stations[1].connected().is_empty());
    assert_eq!(world.heard(1, 0), Some(1));
    pass(seconds(20)).await;
    assert_eq!(world.stations[1].connected().len(), 2);
}

/// What everybody heard, in its order, and the counts at the end.
async fn story(seed: u64) -> (Vec<(Duration, usize, BTreeMap<NodeId, u64>)>, Tally) {
    let world = World::before_they_met(9, seed);
    world.mesh.set_loss_everywhere(100);
    world.mesh.set_duplicates_everywhere(50);
    let mut told = Vec::new();
    for round in 1..40 {
        for at in 0..9 {
            world.announce(at, round);
        }
        match round {
            10 => world.cut_apart(&[0, 1, 2, 3], &[4, 5, 6, 7, 8]),
            20 => world.mesh.take_away(world.node(8)),
            25 => world.mesh.heal_all(),
            _ => {}
        }
        pass(Duration::from_millis(997)).await;
        for (at, station) in world.stations.iter().enumerate() {
            let presences = station.presences();
            let heard = presences.iter().map(|(node, seen)| (*node, seen.presence.seq));
            told.push((now() - world.began, at, heard.collect()));
        }
    }
    (told, world.mesh.tally())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_tells_the_same_story_and_another_one_another() {
    let first = story(42).await;
    assert_eq!(first, story(42).await);
    assert_ne!(first, story(43).await);
}

#[tokio::test(start_paused = true)]
async fn neighbours_stay_few_among_many() {
    let world = World::of(60, 16).await;
    pass(seconds(30)).await;
    world.mesh.change(|state| {
        for seat in state.seats.values() {
            assert_eq!(seat.connections.len(), 59);
            let neighbours = seat.neighbours().count();
            assert!(
                (crate::degree::LOW..=crate::degree::HIGH).contains(&neighbours),
                "{neighbours}"
            );
        }
    });
}
