//! How much a node keeps in memory for moving and serving data: for whoever checks that it is bounded.

use crate::Node;

/// What is kept, each as a number of things unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InMemory {
    /// Upload sessions, those included that have ended and are not forgotten yet.
    pub upload_sessions: usize,
    /// Holds: for uploads at other nodes, and for fetches of this one.
    pub holds: usize,
    /// Uploads that others begin to hold ahead of their commit.
    pub uploads_ahead: usize,
    /// Manifests being fetched.
    pub fetches: usize,
    /// NARs being fetched for clients.
    pub pulls: usize,
    /// NARs known to be whole here.
    pub known_here: usize,
    /// Copies known to be placed on other nodes.
    pub known_elsewhere: usize,
    /// NARs whose last use is remembered.
    pub known_uses: usize,
    /// Fetches that have failed.
    pub failures: usize,
    /// Bytes of remembered layouts of files.
    pub layout_bytes: u64,
    /// Paths pulled here that the cluster has not been told of.
    pub accesses: usize,
    /// Proposals of the outbox without an answer.
    pub outbox_proposals: usize,
}

impl Node {
    /// What this node keeps in memory now.
    pub fn in_memory(&self) -> InMemory {
        let mut kept = InMemory {
            upload_sessions: self.uploads().open_sessions(),
            fetches: self.fetcher().underway(),
            accesses: self.accesses().len(),
            outbox_proposals: self.outbox().proposals_open(),
            ..InMemory::default()
        };
        self.replication().count_memory(&mut kept);
        self.substituter().count_memory(&mut kept);
        kept
    }
}
