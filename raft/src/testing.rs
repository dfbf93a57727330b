//! What the tests of this crate stand on: a disk in memory, a network in memory, and a cluster on both.

pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod hub;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tetryx_protocol::id::{ClusterId, NodeId};
use tetryx_protocol::time::{Elapsed, UtcTime};
use tetryx_state::Body;
use tetryx_state::command::{InitCluster, Role, UpsertMember};

use tetryx_environment::{Clock, Entropy};

/// Randomness that repeats: SplitMix64.
#[derive(Debug)]
pub(crate) struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The runtime's time, which stands still unless everybody waits.
#[derive(Debug)]
pub(crate) struct RuntimeClock {
    start: tokio::time::Instant,
}

impl RuntimeClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the tests")]
    pub(crate) fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn since_start(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for RuntimeClock {
    fn utc(&self) -> UtcTime {
        UtcTime::from_unix_ms(1_800_000_000_000).plus(self.since_start())
    }

    fn elapsed(&self) -> Elapsed {
        Elapsed::from_nanos(u64::try_from(self.since_start().as_nanos()).expect("tests are short"))
    }
}

/// The node of this number.
pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// The command that must come first.
pub(crate) fn init_cluster() -> Body {
    Body::InitCluster(InitCluster {
        cluster: ClusterId::from_bytes([7; 16]),
        feature_level: tetryx_state::command::FEATURE_LEVEL,
        token_public_key: [1; 32],
        sealed_token_key: vec![2; 64],
    })
}

/// Like [`add_member`], with about 4 kB to keep.
pub(crate) fn add_large_member(number: u32) -> Body {
    let Body::UpsertMember(mut member) = add_member(number) else {
        unreachable!("it adds a member")
    };
    member.addresses = (0..16)
        .map(|at| format!("{number}-{at}-{}", "x".repeat(230)))
        .collect();
    Body::UpsertMember(member)
}

/// A command that makes a replica of the test a member, in a zone of this name.
pub(crate) fn introduce(number: u8, zone: &str, role: Role) -> Body {
    Body::UpsertMember(UpsertMember {
        node: node(number),
        name: format!("node-{number}"),
        zone: zone.to_owned(),
        addresses: vec![format!("192.0.2.{number}:4480")],
        role,
    })
}

/// A command that says `MemberAdded` when it is applied, and `Unchanged` if it were applied again.
pub(crate) fn add_member(number: u32) -> Body {
    let mut id = [0xee; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Body::UpsertMember(UpsertMember {
        node: NodeId::from_bytes(id),
        name: format!("member-{number}"),
        zone: "attic".to_owned(),
        addresses: vec![format!("192.0.2.1:{number}")],
        role: Role::Learner,
    })
}
