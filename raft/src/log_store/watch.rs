//! Looking at the log from beside openraft.

use std::ops::Range;
use std::sync::{Arc, Weak};

use super::{APPLY_BYTES, LogStore, Shared};
use crate::error::ReplicaError;
use crate::types::{Entry, LogId, Vote};

/// A look at the log, which does not keep it open.
#[derive(Clone, Debug)]
pub(crate) struct LogWatch(Weak<Shared>);

/// The end of the log at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogEnd {
    pub(crate) last: Option<LogId>,
    /// The last entry when something was last acknowledged as durable.
    pub(crate) acknowledged: Option<LogId>,
    pub(crate) acknowledged_vote: Option<Vote>,
    /// Changes that are not durable yet.
    pub(crate) unflushed: u64,
    /// What the newest entries take in memory.
    pub(crate) cached_bytes: usize,
}

impl LogStore {
    pub(crate) fn watch(&self) -> LogWatch {
        LogWatch(Arc::downgrade(&self.shared))
    }
}

impl LogWatch {
    /// The end of the log; of one that is closed, nothing.
    pub(crate) fn end(&self) -> LogEnd {
        let Some(shared) = self.0.upgrade() else {
            return LogEnd::default();
        };
        let numbered = shared.memory.read();
        LogEnd {
            last: numbered.memory.state().last_log_id,
            acknowledged: numbered.acknowledged,
            acknowledged_vote: numbered.acknowledged_vote,
            unflushed: numbered.write - numbered.flushed,
            cached_bytes: numbered.memory.tail_bytes(),
        }
    }

    /// Calls `each` with the entries of `range` that the log has, in order.
    pub(crate) async fn read(
        &self,
        mut range: Range<u64>,
        mut each: impl FnMut(&Entry),
    ) -> Result<(), ReplicaError> {
        while !range.is_empty() {
            let shared = self.0.upgrade().ok_or(ReplicaError::Stopped)?;
            let read = shared.read(range.clone(), APPLY_BYTES).await;
            let entries = read.map_err(ReplicaError::storage("reading the log"))?;
            let Some(last) = entries.last() else { break };
            range.start = last.log_id.index + 1;
            entries.iter().for_each(&mut each);
        }
        Ok(())
    }
}
