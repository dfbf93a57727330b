//! What members ask one another besides consensus and chunks, on `tetryx-rpc/1`: one request, one answer.

use serde::{Deserialize, Serialize};

use crate::hash::{ManifestHash, NarHash};
use crate::id::{ClusterId, HoldId, NodeId};
use crate::member::RosterEntry;
use crate::message::Message;

/// The most bytes of a request or an answer.
pub const PEER_LEN_MAX: usize = 16 * 1024 * 1024;

/// A request between members. Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Who the members are, as the asked node knows it.
    Roster,
    /// Fetch what is missing of these NARs, make them durable, and keep them until their record is applied, or the
    /// hold is released or runs out.
    Hold {
        /// Names the hold. Repeating a request with the same id changes nothing.
        hold: HoldId,
        /// The NARs.
        nars: Vec<HoldNar>,
        /// Who has their chunks.
        providers: Vec<NodeId>,
    },
    /// End a hold, once the asked node has applied the log up to where the records are.
    Release {
        /// Which.
        hold: HoldId,
        /// The log index from which on the records are applied; 0 when there are none.
        index: u64,
    },
    /// Which of these NARs the asked node has.
    Have {
        /// Their manifests.
        manifests: Vec<ManifestHash>,
    },
    /// The lengths of the frames a NAR is served as.
    Layout {
        /// Its manifest.
        manifest: ManifestHash,
    },
    /// What the asked node still has to hand over before it can leave.
    HandOver {
        /// The answer must be as of this log index, or a later one.
        index: u64,
    },
    /// Give back what no NAR needs any more.
    Collect {
        /// By a state of this log index, or a later one.
        index: u64,
        /// Only say what would go, with the paths that are over.
        dry_run: bool,
    },
}

/// A NAR to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldNar {
    /// The hash of the NAR.
    pub nar_hash: NarHash,
    /// Its manifest.
    pub manifest: ManifestHash,
    /// Its size in bytes.
    pub nar_size: u64,
}

/// The answer to a [`PeerRequest`]. Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerResponse {
    /// To [`PeerRequest::Roster`].
    Roster {
        /// The cluster.
        cluster: ClusterId,
        /// How often it was recovered, plus one.
        epoch: u64,
        /// The log index the asked node had applied.
        index: u64,
        /// The members, removed ones included.
        members: Vec<RosterEntry>,
    },
    /// To [`PeerRequest::Hold`]: what is durable and held.
    Held {
        /// The manifests of the NARs that are.
        durable: Vec<ManifestHash>,
        /// Why not all of them are, in words.
        reason: Option<String>,
    },
    /// To [`PeerRequest::Release`].
    Released,
    /// To [`PeerRequest::Have`].
    Have {
        /// The log index the asked node had applied.
        index: u64,
        /// For each manifest asked about, in order.
        answers: Vec<Holding>,
    },
    /// To [`PeerRequest::Layout`].
    Layout {
        /// The length of each frame in bytes, in the order of the NAR; empty when the asked node lacks some.
        frame_lens: Vec<u32>,
    },
    /// To [`PeerRequest::HandOver`].
    HandOver {
        /// NARs that too few others hold.
        nars: u64,
        /// Their bytes, uncompressed.
        bytes: u64,
    },
    /// To [`PeerRequest::Collect`].
    Collected {
        /// Chunks that went, or would.
        chunks: u64,
        /// Bytes of disk.
        bytes: u64,
    },
}

/// Whether a node has a NAR. Append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holding {
    /// Not, or not whole.
    No,
    /// Whole and durable, but it may go any time.
    Complete,
    /// Whole and durable, and this node is among those that should hold it: it will not drop it.
    Placed,
}

impl Message for PeerRequest {
    const WHAT: &'static str = "a request of a peer";
    const MAGIC: [u8; 4] = *b"TXPQ";
    const LEN_MAX: usize = PEER_LEN_MAX;
}

impl Message for PeerResponse {
    const WHAT: &'static str = "the answer of a peer";
    const MAGIC: [u8; 4] = *b"TXPA";
    const LEN_MAX: usize = PEER_LEN_MAX;
}
