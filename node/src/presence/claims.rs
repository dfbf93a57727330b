//! Whether members hold what their digests claim.
//!
//! A digest errs, is a few seconds old, and a member may get or lose a NAR at any time. So a claim counts as false only
//! when the member has denied the NAR, then announced that it holds it, then denied it again; and a member only when it
//! does so for far more NARs than its digest may err about.
//!
//! # Invariants
//! - It takes at most [`REMEMBERED_MAX`] NARs for each member.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_gossip::Seen;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

/// Denied NARs that are remembered of one member.
const REMEMBERED_MAX: usize = 256;
/// NARs denied twice that make a judgement.
const SAMPLES_MIN: usize = 32;
/// A presence that was heard so long after a denial was made after it.
const MADE_AFTER: Duration = Duration::from_secs(15);
/// The false claims in a thousand that an honest digest stays below, on top of three times its own rate of errors.
const DOUBTFUL_PERMILLE: usize = 100;

/// What each member has denied to hold, and when.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    members: Mutex<BTreeMap<NodeId, BTreeMap<NarHash, Elapsed>>>,
}

impl Claims {
    /// Notes that the member does not hold these NARs. True if what it announces of itself is a lie.
    pub(super) fn denied(&self, node: NodeId, nars: &[NarHash], seen: Option<&Seen>, now: Elapsed) -> bool {
        let mut members = self.members.lock();
        let before = members.entry(node).or_default();
        let (mut samples, mut claimed) = (0, 0);
        for nar in nars {
            let room = before.len() < REMEMBERED_MAX;
            match (before.get_mut(nar), seen) {
                (Some(at), Some(seen)) if seen.heard >= at.plus(MADE_AFTER) => {
                    samples += 1;
                    claimed += usize::from(seen.presence.held.contains(nar));
                    *at = now;
                }
                (Some(_), _) => {}
                (None, _) if room => {
                    before.insert(*nar, now);
                }
                (None, _) => {}
            }
        }
        let Some(seen) = seen else { return false };
        let errors = usize::try_from(seen.presence.held.false_positive_permille()).unwrap_or(1_000);
        samples >= SAMPLES_MIN && claimed * 1_000 > samples * (3 * errors + DOUBTFUL_PERMILLE)
    }

    /// Forgets everybody but these.
    pub(super) fn retain(&self, is_member: impl Fn(&NodeId) -> bool) {
        self.members.lock().retain(|node, _| is_member(node));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tetryx_protocol::presence::{HeldDigest, Presence, PresenceState};
    use tetryx_protocol::time::UtcTime;

    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 32]);

    fn at(seconds: u64) -> Elapsed {
        Elapsed::ZERO.plus(Duration::from_secs(seconds))
    }

    /// Hashes as random as those of NARs.
    fn nars(from: u32, count: u32) -> Vec<NarHash> {
        let hash = |number: u32| NarHash::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        (from..from + count).map(hash).collect()
    }

    fn heard(held: &[NarHash], seconds: u64) -> Seen {
        let presence = Presence {
            node: NODE,
            seq: 1,
            at: UtcTime::UNIX_EPOCH,
            applied_index: 1,
            free_bytes: 1,
            load_permille: 1,
            held: HeldDigest::of(held, held.len() as u64),
            state: PresenceState::Serving,
            version: String::new(),
            feature_level: 1,
        };
        Seen {
            presence: Arc::new(presence),
            heard: at(seconds),
        }
    }

    #[test]
    fn who_claims_again_what_it_denies_again_lies() {
        let (claims, lacking) = (Claims::default(), nars(0, 100));
        assert!(!claims.denied(NODE, &lacking, Some(&heard(&lacking, 1)), at(2)));
        assert!(claims.denied(NODE, &lacking, Some(&heard(&lacking, 30)), at(31)));
    }

    #[test]
    fn what_was_dropped_since_the_last_announcement_is_no_lie() {
        let (claims, lacking) = (Claims::default(), nars(0, 100));
        assert!(!claims.denied(NODE, &lacking, Some(&heard(&lacking, 1)), at(2)));
        assert!(
            !claims.denied(NODE, &lacking, Some(&heard(&lacking, 1)), at(32)),
            "nothing new was heard"
        );
        assert!(!claims.denied(NODE, &lacking, Some(&heard(&[], 40)), at(62)));
    }

    #[test]
    fn the_errors_of_an_honest_digest_are_no_lies() {
        let claims = Claims::default();
        let (held, lacking) = (nars(1_000, 5_000), nars(0, 256));
        for round in 0..20 {
            let seen = heard(&held, round * 30);
            assert!(!claims.denied(NODE, &lacking, Some(&seen), at(round * 30 + 1)));
        }
    }

    #[test]
    fn a_few_nars_prove_nothing() {
        let (claims, lacking) = (Claims::default(), nars(0, 10));
        for round in 0..20 {
            let seen = heard(&lacking, round * 30);
            assert!(!claims.denied(NODE, &lacking, Some(&seen), at(round * 30 + 1)));
        }
    }

    #[test]
    fn memory_is_bounded_and_goes_with_the_member() {
        let claims = Claims::default();
        claims.denied(NODE, &nars(0, 5_000), None, at(1));
        assert_eq!(claims.members.lock()[&NODE].len(), REMEMBERED_MAX);
        claims.retain(|_| false);
        assert!(claims.members.lock().is_empty());
    }
}
