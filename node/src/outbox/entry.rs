//! What stands in the journal.

use serde::{Deserialize, Serialize};
use tetryx_protocol::api::{OutboxEntry, OutboxState};
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::id::{HoldId, NodeId, ProposalId, TokenId};
use tetryx_protocol::store_path::StorePath;
use tetryx_protocol::time::UtcTime;
use tetryx_state::command::{NewPath, PublishPaths};

/// Names an entry, and gives it its place: entries are handed over in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct EntryId {
    /// Counts what was taken.
    pub(super) sequence: u64,
    /// Counts the paths of an entry that was split.
    pub(super) part: u32,
}

impl EntryId {
    pub(super) const fn first(sequence: u64) -> Self {
        Self { sequence, part: 0 }
    }

    /// The name under which other nodes hold what the entry needs: the same at every attempt.
    pub(super) fn hold(self, node: NodeId) -> HoldId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"tetryx-outbox-hold-1");
        hasher.update(node.as_bytes());
        hasher.update(&self.sequence.to_le_bytes());
        hasher.update(&self.part.to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        HoldId::from_bytes(id)
    }
}

/// One command that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) cache: CacheName,
    /// Whose token it was pushed with.
    pub(super) by: String,
    /// The token, unless an earlier version took the entry without.
    pub(super) token: Option<TokenId>,
    pub(super) accepted: UtcTime,
    /// In an order in which each path may refer to those before it.
    pub(super) paths: Vec<NewPath>,
    pub(super) upstream: Vec<StorePath>,
    /// Under which id it is proposed; none before the first attempt.
    pub(super) proposal: Option<ProposalId>,
}

impl Entry {
    /// The command.
    pub(super) fn command(&self) -> PublishPaths {
        PublishPaths {
            cache: self.cache.clone(),
            paths: self.paths.clone(),
            upstream: self.upstream.clone(),
        }
    }

    /// An entry for each path, to be proposed one by one.
    pub(super) fn split(&self) -> impl Iterator<Item = Self> {
        self.paths.iter().map(|path| Self {
            paths: vec![path.clone()],
            upstream: self
                .upstream
                .iter()
                .filter(|upstream| path.references.contains(*upstream))
                .cloned()
                .collect(),
            proposal: None,
            ..self.clone()
        })
    }
}

/// A record of the journal. Append-only: the position is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// Everything before it repeats an older file; what follows is new.
    Begun,
    /// An entry waits.
    Waiting(EntryId, Entry),
    /// From now on it is proposed under this id.
    Proposed(EntryId, ProposalId),
    /// Its paths are entries of their own from now on, in its place.
    Split(EntryId),
    /// What became of its paths, in their order.
    Decided(EntryId, Vec<OutboxState>),
    /// What became of a path.
    Remembered(OutboxEntry),
    /// The next entry has at least this sequence number.
    Sequence(u64),
}
