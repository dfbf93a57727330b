//! Which members hold a NAR: weighted rendezvous hashing, spread over zones.
//!
//! Every member gets for every NAR a number u in (0, 1): the first 8 bytes (little endian) of the BLAKE3 of
//! `"tetryx-place-1"`, node id and NAR hash, as a fraction of 2^64. Its score is -log2(u) / weight, and the lowest
//! scores win. So a member is chosen first in proportion to its weight, and one that comes or goes changes nothing
//! between two others (Highest Random Weight: Thaler and Ravishankar 1998; weights: Schindelhauer and Schomaker
//! 2005). The logarithm is computed in integers, so that every machine gets the same order.
//!
//! # Invariants
//! - The same members in any order give the same result on every machine.
//! - While there are zones without a copy, no zone gets a second one.
//! - A member of weight 0 is never chosen.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::hash::NarHash;
use crate::id::NodeId;

/// On how many nodes a NAR is kept unless its cache says otherwise.
pub const COPIES_DEFAULT: u8 = 3;
/// On how many nodes a push must be durable before it is acknowledged, unless the configuration says otherwise.
pub const WRITE_REPLICAS_DEFAULT: u8 = 2;

/// What begins everything that is hashed for a score, so that it is the hash of nothing else.
const CONTEXT: &[u8] = b"tetryx-place-1";
/// Bits of a score behind the point. With 40 the scores of the best of a million members differ.
const FRACTION_BITS: u32 = 40;

/// A member that can hold something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceCandidate {
    /// Who.
    pub node: NodeId,
    /// The failure zone it is in.
    pub zone: String,
    /// Its share, relative to the others'.
    pub weight: u32,
}

/// How many copies there shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// So many, or as many as there are members.
    Exactly(u8),
    /// One on every member.
    All,
}

/// The members that shall hold a NAR, best first.
pub fn place(nar: &NarHash, members: &[PlaceCandidate], copies: Copies) -> Vec<NodeId> {
    let mut ranked: Vec<_> = members
        .iter()
        .filter(|member| member.weight > 0)
        .map(|member| Ranked {
            log: negative_log2(draw(&member.node, nar)),
            member,
        })
        .collect();
    ranked.sort_unstable_by(Ranked::compare);
    let copies = match copies {
        Copies::Exactly(copies) => usize::from(copies).min(ranked.len()),
        Copies::All => ranked.len(),
    };
    let mut zones = BTreeSet::new();
    let (first_of_zone, others): (Vec<_>, Vec<_>) = ranked
        .iter()
        .partition(|ranked| zones.insert(ranked.member.zone.as_str()));
    let in_order = first_of_zone.into_iter().chain(others);
    in_order.take(copies).map(|ranked| ranked.member.node).collect()
}

struct Ranked<'a> {
    log: u64,
    member: &'a PlaceCandidate,
}

impl Ranked<'_> {
    /// By log / weight, compared without division; the node id decides between equals.
    fn compare(&self, other: &Self) -> Ordering {
        let mine = u128::from(self.log) * u128::from(other.member.weight);
        let theirs = u128::from(other.log) * u128::from(self.member.weight);
        mine.cmp(&theirs).then(self.member.node.cmp(&other.member.node))
    }
}

fn draw(node: &NodeId, nar: &NarHash) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CONTEXT);
    hasher.update(node.as_bytes());
    hasher.update(nar.as_bytes());
    let hash = hasher.finalize();
    let first = hash.as_bytes().first_chunk().expect("a BLAKE3 has 32 bytes");
    u64::from_le_bytes(*first)
}

/// -log2(draw / 2^64), with [`FRACTION_BITS`] bits behind the point: 64 of them for the smallest draw, about 0 for
/// the largest.
fn negative_log2(draw: u64) -> u64 {
    // 0 would have no logarithm.
    let draw = draw.max(1);
    let whole = draw.ilog2();
    // The mantissa in [1, 2), with 63 bits behind the point. Squaring doubles its logarithm: each time it reaches 2,
    // the next bit of the logarithm is 1.
    let mut mantissa = u128::from(draw) << (63 - whole);
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    let log2 = (u64::from(whole) << FRACTION_BITS) | fraction;
    (64 << FRACTION_BITS) - log2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_real_numbers() {
        for draw in [1, 2, 3, 1 << 32, 0x1234_5678_9abc_def0, u64::MAX / 3, u64::MAX] {
            let found = negative_log2(draw) as f64 / (1_u64 << FRACTION_BITS) as f64;
            let real = 64.0 - (draw as f64).log2();
            assert!((found - real).abs() < 1e-9, "{draw}: {found}, not {real}");
        }
    }

    #[test]
    fn the_logarithm_falls_where_the_draw_grows() {
        let mut last = u64::MAX;
        for step in 0..10_000_u64 {
            let log = negative_log2(step * (u64::MAX / 10_000) + 1);
            assert!(log < last);
            last = log;
        }
    }
}
