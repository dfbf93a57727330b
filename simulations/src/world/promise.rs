//! What a cluster promises, in words. Each is watched by a check of its own ([`super::invariants`]).

use std::fmt;

/// A promise that must never be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    NoPanic,
    StaysUp,
    OneLeaderPerTerm,
    LogMatching,
    LeaderCompleteness,
    CommittedStays,
    NothingGoesBack,
    SameState,
    AppliedOnce,
    Bounded,
    AcknowledgedStays,
    DeletedGone,
    ServedAsNamed,
    CopiesKept,
    NothingLiveCollected,
    KeptForItsTime,
    NothingLeaks,
    DamageFound,
    RevokedRefused,
    LiveAccepted,
    Linearizable,
    AgeTold,
    ProvisionalKept,
    NotServedBeforeDurable,
    Converges,
    Exercised,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPanic => "no task of a station panics",
            Self::StaysUp => "a station ends only when it is told to, or its disk fails",
            Self::OneLeaderPerTerm => "a term has one leader at most",
            Self::LogMatching => "logs that agree on an entry agree on all before it",
            Self::LeaderCompleteness => "a leader has every entry that was committed before its term",
            Self::CommittedStays => "what is committed is on a quorum, and never changes",
            Self::NothingGoesBack => "the term, the vote and what was applied never go back",
            Self::SameState => "what applied the same log has the same state",
            Self::AppliedOnce => "a proposal is applied once, however often it is repeated",
            Self::Bounded => "queues and memory stay within their bounds",
            Self::AcknowledgedStays => "an acknowledged write survives",
            Self::DeletedGone => "a deleted path is gone wherever the deletion is applied",
            Self::ServedAsNamed => "no byte is served that does not hash to its name",
            Self::CopiesKept => {
                "a published path's chunks are on as many live nodes as promised, or on their way from one that has them"
            }
            Self::NothingLiveCollected => "a collection removes no chunk that a live path or a pin names",
            Self::KeptForItsTime => {
                "a path leaves by itself when its time is over by the log, and nothing keeps it; and then it does"
            }
            Self::NothingLeaks => "what nobody needs any more gives its place back",
            Self::DamageFound => "what a disk damages is found within a round of scrubbing",
            Self::RevokedRefused => "a revoked token is refused wherever the revocation is applied",
            Self::LiveAccepted => "a token that nobody revoked counts, everywhere, as long as it says",
            Self::Linearizable => "caches, tokens and paths are as if there were one copy of them",
            Self::AgeTold => "an answer shows all that was acknowledged longer ago than it says",
            Self::ProvisionalKept => "a push that waits in an outbox is delivered once, or reported",
            Self::NotServedBeforeDurable => "a path is published only when its chunks are durable",
            Self::Converges => "once faults end, every station comes to the same state and serves everything",
            Self::Exercised => "a run exercises the faults that it claims",
        })
    }
}
