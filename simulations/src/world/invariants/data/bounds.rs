//! What a node keeps in memory for moving and serving data stays within its bounds.
//!
//! # Non-goals
//! - The queues of consensus: [`super::super::raft`].

use tetryx_node::InMemory;

/// The product's own limits.
const HOLDS_MAX: usize = 16 << 10;
const USES_MAX: usize = (1 << 16) + 1;
const FAILURES_MAX: usize = 1 << 14;
const ACCESSES_MAX: usize = 1 << 16;
const LAYOUT_BYTES_MAX: u64 = 16 << 20;
/// What is remembered of NARs that are no more.
const STALE_MAX: usize = 1 << 10;

/// What a station is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) sessions_max: usize,
    /// NARs in its state, and the most there were since the last look.
    pub(super) nars: usize,
    /// Members of the cluster.
    pub(super) members: usize,
}

/// Judges what a node keeps.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge(kept: &InMemory, size: Size) -> Result<(), String> {
    let known = 2 * size.nars + STALE_MAX;
    let rows = [
        ("upload sessions", kept.upload_sessions, size.sessions_max),
        ("holds", kept.holds, HOLDS_MAX),
        ("uploads held ahead", kept.uploads_ahead, size.sessions_max),
        // Each is under way for a hold, a client or the replicator.
        ("fetches", kept.fetches, HOLDS_MAX),
        ("NARs fetched for clients", kept.pulls, kept.holds),
        ("NARs known to be here", kept.known_here, known),
        (
            "copies known elsewhere",
            kept.known_elsewhere,
            known * size.members.max(1),
        ),
        ("uses remembered", kept.known_uses, USES_MAX),
        ("failures remembered", kept.failures, FAILURES_MAX),
        ("pulls to tell of", kept.accesses, ACCESSES_MAX),
    ];
    for (what, count, bound) in rows {
        if count > bound {
            return Err(format!(
                "{count} {what} are kept in memory; at most {bound} should be"
            ));
        }
    }
    if kept.layout_bytes > LAYOUT_BYTES_MAX {
        return Err(format!(
            "layouts of files take {} bytes of memory",
            kept.layout_bytes
        ));
    }
    Ok(())
}

/// Judges a node that nobody has asked for anything for longer than sessions and holds last.
///
/// # Errors
/// In words, how the promise is broken.
pub(super) fn judge_idle(kept: &InMemory) -> Result<(), String> {
    let rows = [
        ("upload sessions", kept.upload_sessions),
        ("holds", kept.holds),
        ("uploads held ahead", kept.uploads_ahead),
        ("fetches", kept.fetches),
        ("NARs fetched for clients", kept.pulls),
        ("proposals of the outbox", kept.outbox_proposals),
    ];
    match rows.into_iter().find(|(_, count)| *count > 0) {
        Some((what, count)) => Err(format!("at rest, {count} {what} are still kept in memory")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        sessions_max: 10,
        nars: 5,
        members: 3,
    };

    #[test]
    fn what_grows_beyond_its_bound_is_noticed() {
        assert_eq!(judge(&InMemory::default(), SIZE), Ok(()));
        let within = InMemory {
            upload_sessions: 10,
            known_here: 5,
            known_elsewhere: 15,
            ..InMemory::default()
        };
        assert_eq!(judge(&within, SIZE), Ok(()));
        for beyond in [
            InMemory {
                upload_sessions: 11,
                ..within
            },
            InMemory {
                known_elsewhere: 1 << 20,
                ..within
            },
            InMemory {
                layout_bytes: 1 << 30,
                ..within
            },
        ] {
            assert!(judge(&beyond, SIZE).is_err());
        }
    }

    #[test]
    fn what_nobody_uses_any_more_is_noticed() {
        assert_eq!(judge_idle(&InMemory::default()), Ok(()));
        let leaked = InMemory {
            holds: 1,
            ..InMemory::default()
        };
        assert!(judge_idle(&leaked).unwrap_err().contains("1 holds"));
    }
}
