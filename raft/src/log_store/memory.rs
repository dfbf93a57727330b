//! What the log store knows without asking the disk: the vote, both ends of the log, and its newest entries.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::EntryPayload;
use openraft::storage::LogState;

use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Bytes of durable entries kept in memory for replication and apply, beside those that are not durable yet.
const CACHE_BYTES: usize = 8 << 20;
/// What an entry takes beside its command.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// The part of the log that is in memory.
///
/// # Invariants
/// - `tail` is an unbroken run of entries that ends at `last`, or it is empty.
/// - Every entry of the log that is not in `tail` is durable and can be read from the disk.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) vote: Option<Vote>,
    /// Up to where the log is known to be committed.
    pub(super) committed: Option<LogId>,
    purged: Option<LogId>,
    /// Index of the first entry, if there is any.
    first: u64,
    last: Option<LogId>,
    tail: VecDeque<Cached>,
    tail_bytes: usize,
}

#[derive(Debug)]
struct Cached {
    /// The write that makes it durable.
    write: u64,
    entry: Entry,
}

/// Where the entries of a range are.
#[derive(Debug)]
pub(super) struct Located {
    /// Indexes to read from the disk.
    pub(super) on_disk: Range<u64>,
    /// The entries that follow them.
    pub(super) in_memory: Vec<Entry>,
}

impl Memory {
    pub(super) fn new(vote: Option<Vote>, purged: Option<LogId>, entries: Option<(u64, LogId)>) -> Self {
        Self {
            vote,
            purged,
            first: entries.map_or(0, |(first, _)| first),
            last: entries.map(|(_, last)| last).or(purged),
            ..Self::default()
        }
    }

    /// What the entries in memory take.
    pub(super) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    pub(super) fn state(&self) -> LogState<TypeConfig> {
        LogState {
            last_purged_log_id: self.purged,
            last_log_id: self.last,
        }
    }

    /// Adds entries that write number `write` will make durable. Refuses entries that would leave a hole.
    pub(super) fn append(&mut self, write: u64, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            if let Some(last) = self.last
                && entry.log_id.index != last.index + 1
            {
                return Err(format!(
                    "entry {} does not follow the last one, {last}",
                    entry.log_id
                ));
            }
            if self.last == self.purged {
                self.first = entry.log_id.index;
            }
            self.last = Some(entry.log_id);
            self.tail_bytes += size(entry);
            self.tail.push_back(Cached {
                write,
                entry: entry.clone(),
            });
        }
        Ok(())
    }

    /// Forgets every entry from index `from` on. `last` is the entry before it, if any.
    pub(super) fn truncate(&mut self, from: u64, last: Option<LogId>) {
        while self
            .tail
            .back()
            .is_some_and(|cached| cached.entry.log_id.index >= from)
        {
            self.drop_newest();
        }
        if self.last.is_some_and(|end| end.index >= from) {
            self.last = last.or(self.purged);
        }
    }

    /// Forgets every entry up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self
            .tail
            .front()
            .is_some_and(|cached| cached.entry.log_id.index <= upto.index)
        {
            self.drop_oldest();
        }
        self.purged = self.purged.max(Some(upto));
        self.first = self.first.max(upto.index + 1);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }

    /// Everything up to write number `write` is durable: old entries need no longer be in memory.
    pub(super) fn flushed(&mut self, write: u64) {
        while self.tail_bytes > CACHE_BYTES && self.tail.front().is_some_and(|cached| cached.write <= write) {
            self.drop_oldest();
        }
    }

    /// Where the entries of `range` are that the log has: at least one of them, if there is one, and otherwise as
    /// many as fit into `bytes_max`, as far as their size is known here.
    pub(super) fn locate(&self, range: Range<u64>, bytes_max: usize) -> Located {
        let end = self.last.map_or(0, |last| last.index + 1);
        let range = range.start.max(self.first)..range.end.min(end);
        if range.is_empty() {
            return Located {
                on_disk: 0..0,
                in_memory: Vec::new(),
            };
        }
        let tail_start = self.tail.front().map_or(end, |cached| cached.entry.log_id.index);
        let on_disk = range.start..range.end.min(tail_start).max(range.start);
        let mut in_memory = Vec::new();
        let mut bytes = 0;
        let skip = usize::try_from(on_disk.end.saturating_sub(tail_start)).unwrap_or(usize::MAX);
        for cached in self.tail.iter().skip(skip) {
            bytes += size(&cached.entry);
            let is_first = in_memory.is_empty() && on_disk.is_empty();
            if cached.entry.log_id.index >= range.end || (bytes > bytes_max && !is_first) {
                break;
            }
            in_memory.push(cached.entry.clone());
        }
        Located { on_disk, in_memory }
    }

    fn drop_oldest(&mut self) {
        if let Some(cached) = self.tail.pop_front() {
            self.tail_bytes -= size(&cached.entry);
        }
    }

    fn drop_newest(&mut self) {
        if let Some(cached) = self.tail.pop_back() {
            self.tail_bytes -= size(&cached.entry);
        }
    }
}

/// About how many bytes an entry takes in memory.
pub(super) fn size(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match &entry.payload {
            EntryPayload::Normal(proposal) => proposal.0.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}
