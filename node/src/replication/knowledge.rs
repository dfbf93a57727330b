//! What this node has found out about who holds what, and who answers.
//!
//! Nothing here is stored, and nothing that must be right depends on it: it saves questions. Before a copy is
//! dropped, the holders are asked again.
//!
//! # Invariants
//! - It takes at most about 96 bytes for each NAR of the cluster and each of its copies, but for [`STALE_MAX`] NARs that
//!   are no more.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::presence::HeldDigest;
use tetryx_protocol::time::Elapsed;

use crate::InMemory;

/// Half of a NAR's hash: enough to tell NARs apart that nobody made up, and many of them are remembered.
type Short = [u8; 16];

fn short(nar: &NarHash) -> Short {
    *nar.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[derive(Debug, Default)]
pub(super) struct Knowledge {
    /// NARs that are whole on this node.
    complete: HashSet<Short>,
    /// The digest of `complete`, until that changes.
    digest: Option<HeldDigest>,
    /// Known damage in the store when `complete` was begun.
    damaged: u64,
    /// NARs that are whole here, with frames of another total length than the record says.
    differing: HashSet<Short>,
    peers: BTreeMap<NodeId, Peer>,
    /// When a NAR was last read here without being placed here; those not listed count from `since`.
    used: BTreeMap<Short, Elapsed>,
    since: Elapsed,
}

#[derive(Debug)]
struct Peer {
    /// NARs it has said it holds for good.
    placed: HashSet<Short>,
    heard: Elapsed,
    answers: bool,
}

/// What is remembered of NARs that are no more, of each member.
const STALE_MAX: usize = 1 << 10;
/// NARs whose last use is remembered; the longest unused are forgotten first, and then count as never used.
const USED_MAX: usize = 1 << 16;

impl Knowledge {
    pub(super) fn new(now: Elapsed) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }

    /// Whether the NAR is known to be whole here.
    pub(super) fn is_complete(&self, nar: &NarHash) -> bool {
        self.complete.contains(&short(nar))
    }

    pub(super) fn note_complete(&mut self, nar: &NarHash, differs: bool) {
        if self.complete.insert(short(nar)) {
            self.digest = None;
        }
        if differs {
            self.differing.insert(short(nar));
        } else {
            self.differing.remove(&short(nar));
        }
    }

    /// Whether the local file of the NAR is another one than its record describes.
    pub(super) fn differs(&self, nar: &NarHash) -> bool {
        self.differing.contains(&short(nar))
    }

    /// What this node holds whole, for the others to know where to ask first.
    pub(super) fn held(&mut self) -> HeldDigest {
        if let Some(digest) = &self.digest {
            return digest.clone();
        }
        // A digest looks at the first half of a hash only.
        let hashes: Vec<NarHash> = self
            .complete
            .iter()
            .map(|short| {
                let mut bytes = [0; 32];
                bytes[..16].copy_from_slice(short);
                NarHash::from_bytes(bytes)
            })
            .collect();
        let digest = HeldDigest::of(&hashes, hashes.len() as u64);
        self.digest = Some(digest.clone());
        digest
    }

    /// Everything has to be looked at again.
    pub(super) fn forget_all_local(&mut self) {
        self.complete.clear();
        self.digest = None;
    }

    /// Looks at everything again if the store has found other damage since.
    pub(super) fn see_damage(&mut self, damaged: u64) {
        if damaged != self.damaged {
            self.damaged = damaged;
            self.forget_all_local();
        }
    }

    /// Forgets what is remembered here, and of each member, when more than half of it must be about NARs that are no
    /// more: the cluster has so many. What is still true is found out again.
    pub(super) fn trim(&mut self, nars: usize) {
        let bound = 2 * nars + STALE_MAX;
        if self.complete.len() > bound {
            self.forget_all_local();
        }
        for peer in self.peers.values_mut() {
            if peer.placed.len() > bound {
                peer.placed.clear();
            }
        }
    }

    /// Forgets members that are gone, and begins to watch new ones.
    pub(super) fn keep_members(&mut self, members: &BTreeSet<NodeId>, now: Elapsed) {
        self.peers.retain(|node, _| members.contains(node));
        for node in members {
            self.peers.entry(*node).or_insert_with(|| Peer {
                placed: HashSet::new(),
                heard: now,
                answers: true,
            });
        }
    }

    /// The member has answered. One that comes back, for which this is true, may have lost anything.
    pub(super) fn heard(&mut self, node: NodeId, now: Elapsed) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else {
            return false;
        };
        peer.heard = now;
        let is_back = !peer.answers;
        if is_back {
            peer.answers = true;
            peer.placed.clear();
        }
        is_back
    }

    /// The member has not answered.
    pub(super) fn not_heard(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.answers = false;
        }
    }

    /// Whether the member has answered when it was last asked; true of those never asked.
    pub(super) fn answers(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_none_or(|peer| peer.answers)
    }

    /// The members that do not answer and have not for so long.
    pub(super) fn away(&self, for_at_least: Duration, now: Elapsed) -> BTreeSet<NodeId> {
        let away = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.answers && now.saturating_sub(peer.heard) >= for_at_least);
        away.map(|(node, _)| *node).collect()
    }

    /// The members in the order in which they were last heard.
    pub(super) fn longest_unheard(&self, mut members: Vec<NodeId>) -> Vec<NodeId> {
        members.sort_by_key(|node| self.peers.get(node).map(|peer| peer.heard));
        members
    }

    /// Whether the member has said that it holds the NAR for good.
    pub(super) fn is_placed(&self, node: &NodeId, nar: &NarHash) -> bool {
        self.peers
            .get(node)
            .is_some_and(|peer| peer.placed.contains(&short(nar)))
    }

    pub(super) fn note_placed(&mut self, node: NodeId, nar: &NarHash, placed: bool) {
        if let Some(peer) = self.peers.get_mut(&node) {
            if placed {
                peer.placed.insert(short(nar));
            } else {
                peer.placed.remove(&short(nar));
            }
        }
    }

    /// Adds up what is remembered.
    pub(super) fn count_memory(&self, kept: &mut InMemory) {
        kept.known_here = self.complete.len();
        kept.known_elsewhere = self.peers.values().map(|peer| peer.placed.len()).sum();
        kept.known_uses = self.used.len();
    }

    /// The NAR was read here.
    pub(super) fn touch(&mut self, nar: &NarHash, now: Elapsed) {
        self.used.insert(short(nar), now);
        if self.used.len() > USED_MAX {
            let mut times: Vec<Elapsed> = self.used.values().copied().collect();
            let (_, median, _) = times.select_nth_unstable(USED_MAX / 2);
            let median = *median;
            self.used.retain(|_, at| *at > median);
        }
    }

    /// How long the NAR was not read here, as far as is remembered.
    pub(super) fn idle(&self, nar: &NarHash, now: Elapsed) -> Duration {
        let used = self.used.get(&short(nar)).copied().unwrap_or(self.since);
        now.saturating_sub(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 32]);

    fn at(seconds: u64) -> Elapsed {
        Elapsed::from_nanos(seconds * 1_000_000_000)
    }

    fn nar(n: u32) -> NarHash {
        NarHash::of(&n.to_le_bytes())
    }

    #[test]
    fn nars_that_are_no_more_are_forgotten_in_time() {
        let mut knowledge = knowledge();
        let nars = 40;
        for n in 0..10_000 {
            knowledge.note_complete(&nar(n), false);
            knowledge.note_placed(NODE, &nar(n), true);
            knowledge.trim(nars);
            let mut kept = InMemory::default();
            knowledge.count_memory(&mut kept);
            assert!(kept.known_here <= 2 * nars + STALE_MAX);
            assert!(kept.known_elsewhere <= 2 * nars + STALE_MAX);
        }
        assert!(knowledge.is_placed(&NODE, &nar(9_999)));
    }

    fn knowledge() -> Knowledge {
        let mut knowledge = Knowledge::new(at(0));
        knowledge.keep_members(&[NODE].into(), at(0));
        knowledge
    }

    #[test]
    fn those_that_were_heard_longest_ago_are_asked_by_turns() {
        let ids: Vec<NodeId> = (1..=4).map(|id| NodeId::from_bytes([id; 32])).collect();
        let mut knowledge = Knowledge::new(at(0));
        knowledge.keep_members(&ids.iter().copied().collect(), at(0));
        let mut asked = Vec::new();
        for second in 1..=4 {
            let next = knowledge.longest_unheard(ids.clone())[0];
            knowledge.heard(next, at(second));
            asked.push(next);
        }
        assert_eq!(asked, ids);
    }

    #[test]
    fn a_member_is_away_only_after_it_was_silent_for_so_long() {
        let mut knowledge = knowledge();
        let patience = Duration::from_secs(600);
        knowledge.heard(NODE, at(100));
        assert!(
            knowledge.away(patience, at(5000)).is_empty(),
            "it was not asked meanwhile"
        );
        knowledge.not_heard(NODE);
        assert!(knowledge.away(patience, at(699)).is_empty());
        assert_eq!(knowledge.away(patience, at(700)), [NODE].into());
        knowledge.heard(NODE, at(701));
        assert!(knowledge.away(patience, at(5000)).is_empty());
    }

    #[test]
    fn who_comes_back_is_asked_again() {
        let mut knowledge = knowledge();
        knowledge.note_placed(NODE, &nar(1), true);
        knowledge.heard(NODE, at(1));
        assert!(knowledge.is_placed(&NODE, &nar(1)));
        knowledge.not_heard(NODE);
        knowledge.heard(NODE, at(2));
        assert!(!knowledge.is_placed(&NODE, &nar(1)));
    }

    #[test]
    fn the_digest_names_what_is_whole_here() {
        let mut knowledge = knowledge();
        for n in 0..50 {
            knowledge.note_complete(&nar(n), false);
        }
        let held = knowledge.held();
        assert!((0..50).all(|n| held.contains(&nar(n))));
        assert!((50..1000).filter(|n| held.contains(&nar(*n))).count() < 50);
    }

    #[test]
    fn new_damage_makes_everything_be_looked_at_again() {
        let mut knowledge = knowledge();
        knowledge.note_complete(&nar(1), true);
        knowledge.see_damage(0);
        assert!(knowledge.is_complete(&nar(1)) && knowledge.differs(&nar(1)));
        knowledge.see_damage(1);
        assert!(!knowledge.is_complete(&nar(1)));
        knowledge.note_complete(&nar(1), false);
        assert!(!knowledge.differs(&nar(1)));
    }

    #[test]
    fn remembering_uses_is_bounded_and_keeps_the_latest() {
        let mut knowledge = knowledge();
        for n in 0..=u32::try_from(USED_MAX).unwrap() {
            knowledge.touch(&nar(n), at(u64::from(n)));
        }
        assert!(knowledge.used.len() <= USED_MAX);
        let last = u32::try_from(USED_MAX).unwrap();
        let now = at(u64::from(last) + 5);
        assert_eq!(knowledge.idle(&nar(last), now), Duration::from_secs(5));
        assert_eq!(
            knowledge.idle(&nar(0), now),
            Duration::from_secs(u64::from(last) + 5)
        );
    }
}
