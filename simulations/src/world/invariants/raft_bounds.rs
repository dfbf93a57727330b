//! Queues and memory stay within their bounds, as far as consensus is concerned.
//!
//! The bounds are far above what a world asks for and far below what hurts: what passes one has no limit of its own.

use tetryx_raft::Observation;
use tetryx_state::limits::OPEN_PROPOSALS_MAX;

/// Changes of the log that wait for a disk.
const LOG_WRITES_MAX: u64 = 2_048;
/// What the log keeps of itself in memory: 8 MiB, and what is not durable yet.
const LOG_CACHED_BYTES_MAX: usize = 64 << 20;
/// Reads that wait for a leader to prove itself.
const READS_MAX: usize = 1_024;
/// One for each leader there was since the others ended.
const APPEND_STREAMS_MAX: usize = 64;
/// Views that wait to be hashed.
const AUDITS_MAX: usize = 4;

/// The most of each that was seen at once.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    most: [u64; 6],
}

impl Bounds {
    pub(super) fn look(&mut self, seen: &[Observation]) -> Result<(), String> {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for seen in seen {
            let queues = &seen.queues;
            let counts = [
                ("changes of the log", queues.log_writes, LOG_WRITES_MAX),
                ("open proposals", wide(queues.proposals), OPEN_PROPOSALS_MAX),
                ("waiting reads", wide(queues.reads), wide(READS_MAX)),
                (
                    "append streams",
                    wide(queues.append_streams),
                    wide(APPEND_STREAMS_MAX),
                ),
                ("states to be hashed", wide(queues.audits), wide(AUDITS_MAX)),
                (
                    "bytes of the log in memory",
                    wide(queues.log_cached_bytes),
                    wide(LOG_CACHED_BYTES_MAX),
                ),
            ];
            for ((what, count, bound), most) in counts.into_iter().zip(&mut self.most) {
                *most = count.max(*most);
                if count > bound {
                    return Err(format!(
                        "node {} has {count} {what}, and should have {bound} at most",
                        seen.node
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::raft_fixture::{entry, following, node};
    use super::*;

    #[test]
    fn a_queue_that_grows_without_end_is_noticed() {
        let mut seen = following(node(1), entry(1, 1, 1).at);
        let mut bounds = Bounds::default();
        for log_writes in 0..=LOG_WRITES_MAX {
            seen.queues.log_writes = log_writes;
            assert_eq!(bounds.look(std::slice::from_ref(&seen)), Ok(()));
        }
        seen.queues.log_writes += 1;
        bounds.look(&[seen]).expect_err("it is over the bound");
        assert_eq!(bounds.most[0], LOG_WRITES_MAX + 1);
    }
}
