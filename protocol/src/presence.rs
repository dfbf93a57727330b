//! What a node says of itself by gossip: alive, how far, how full, and roughly what it holds.
//!
//! Nothing that must be right depends on it: it is lost, late and possibly a lie.

use serde::{Deserialize, Serialize};

use crate::hash::NarHash;
use crate::id::NodeId;
use crate::message::Message;
use crate::time::UtcTime;

/// The most bytes of an encoded presence.
pub const PRESENCE_LEN_MAX: usize = 64 * 1024;
/// The most bytes of the filter in a digest.
pub const DIGEST_BYTES_MAX: usize = 48 * 1024;
/// The most bytes of a version.
const VERSION_LEN_MAX: usize = 64;
/// Bits a digest takes for every NAR as long as there is room.
const BITS_PER_NAR: u64 = 10;
/// The most bits one NAR sets.
const PROBES_MAX: u8 = 7;
const DIGEST_BYTES_MIN: u64 = 8;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Who.
    pub node: NodeId,
    /// Grows with every presence of the node, over restarts as well: it starts with the time.
    pub seq: u64,
    /// What its clock said.
    pub at: UtcTime,
    /// The last log index it has applied.
    pub applied_index: u64,
    /// Bytes it can still store.
    pub free_bytes: u64,
    /// How busy it is, in thousandths.
    pub load_permille: u32,
    /// Which NARs it holds whole.
    pub held: HeldDigest,
    /// Whether it serves.
    pub state: PresenceState,
    /// The version it runs.
    pub version: String,
    /// The newest commands it understands.
    pub feature_level: u32,
}

/// Whether a node serves. Append-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PresenceState {
    /// It does.
    #[default]
    Serving,
    /// It does, and hands over what it has.
    Draining,
    /// It is catching up.
    CatchingUp,
    /// Its state differs from the others': it serves nothing.
    Diverged,
    /// The log has entries it does not understand.
    NeedsUpgrade,
}

impl Message for Presence {
    const WHAT: &'static str = "a presence";
    const MAGIC: [u8; 4] = *b"TXPS";
    const LEN_MAX: usize = PRESENCE_LEN_MAX;

    fn check(&self) -> Result<(), String> {
        if self.version.len() > VERSION_LEN_MAX {
            return Err(format!("its version has more than {VERSION_LEN_MAX} bytes"));
        }
        self.held.check()
    }
}

/// A set of NARs, roughly: a Bloom filter.
///
/// It never misses a NAR that was put in, and takes some for held that are not: below 1 % up to about 39,000 NARs
/// (10 bits each), then the filter stays at [`DIGEST_BYTES_MAX`] and the rate grows: about 15 % at 100,000, 40 % at
/// 200,000, 63 % at 400,000. It is a hint where to ask first, no more.
///
/// A NAR hash is random already, so it is its own hash: bit `i` of a NAR is
/// `(bytes 0..8 + i * (bytes 8..16 | 1)) mod bits`, numbers little endian and wrapping, for `i` below `probes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDigest {
    /// How many NARs were put in.
    count: u64,
    /// How many bits each of them sets.
    probes: u8,
    bits: Vec<u8>,
}

impl HeldDigest {
    /// The digest of these NARs. `count` says how many they are, or nearly: it sizes the filter.
    pub fn of<'a>(nars: impl IntoIterator<Item = &'a NarHash>, count: u64) -> Self {
        if count == 0 {
            return nars.into_iter().fold(Self::sized(1), Self::with);
        }
        nars.into_iter().fold(Self::sized(count), Self::with)
    }

    fn sized(count: u64) -> Self {
        let bytes = count.saturating_mul(BITS_PER_NAR).div_ceil(8);
        let bytes = bytes.clamp(DIGEST_BYTES_MIN, DIGEST_BYTES_MAX as u64);
        // The best number of bits is ln 2 times the bits per NAR.
        let probes = (bytes * 8 * 69 / 100 / count).clamp(1, u64::from(PROBES_MAX));
        Self {
            count: 0,
            probes: u8::try_from(probes).unwrap_or(PROBES_MAX),
            bits: vec![0; usize::try_from(bytes).unwrap_or(DIGEST_BYTES_MAX)],
        }
    }

    fn with(mut self, nar: &NarHash) -> Self {
        let len = self.bits.len() as u64 * 8;
        for bit in probes(nar, self.probes, len) {
            self.bits[bit / 8] |= 1 << (bit % 8);
        }
        self.count += 1;
        self
    }

    /// Whether the NAR may be held. `false` is certain, as far as the node told the truth.
    pub fn contains(&self, nar: &NarHash) -> bool {
        let len = self.bits.len() as u64 * 8;
        len > 0 && probes(nar, self.probes, len).all(|bit| self.bits[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// How many NARs it says it holds.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many in a thousand of the NARs that are not held are taken for held, from how full the filter is.
    pub fn false_positive_permille(&self) -> u32 {
        let len = self.bits.len() as u64 * 8;
        if len == 0 {
            return 0;
        }
        let set: u64 = self.bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let fill = (set << 20) / len;
        let rate = (0..self.probes).fold(1 << 20, |rate, _| (rate * fill) >> 20);
        u32::try_from((rate * 1000) >> 20).unwrap_or(1000)
    }

    fn check(&self) -> Result<(), String> {
        let len = self.bits.len();
        if len > DIGEST_BYTES_MAX {
            return Err(format!(
                "its digest has {len} bytes, more than {DIGEST_BYTES_MAX}"
            ));
        }
        if self.probes > PROBES_MAX || (self.probes == 0 && len > 0) {
            return Err(format!("its digest sets {} bits for a NAR", self.probes));
        }
        Ok(())
    }
}

fn probes(nar: &NarHash, count: u8, len: u64) -> impl Iterator<Item = usize> {
    let word = |at: usize| {
        let bytes = nar.as_bytes()[at..at + 8]
            .try_into()
            .expect("a NAR hash has 32 bytes");
        u64::from_le_bytes(bytes)
    };
    let (start, step) = (word(0), word(8) | 1);
    (0..u64::from(count)).map(move |index| {
        let bit = start.wrapping_add(index.wrapping_mul(step)) % len;
        usize::try_from(bit).expect("a digest has less than 2^32 bits")
    })
}
