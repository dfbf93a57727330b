//! Upload sessions: what a client has sent and not yet published.
//!
//! A session owns a pin in the chunk store. Every chunk it asked for or sent is pinned, so that a collection leaves
//! it alone until the session ends; by then a published path needs it, or nobody wants it any more. A commit does not
//! release the pin: the client may have asked for chunks of the next NAR already.
//!
//! # Invariants
//! - While a request uses a session ([`Lease`]), its pin is not released, whatever happens to the session.
//! - A session ends with the process, its pin does not: for the configured time a collection leaves it alone, so that
//!   a push which goes on after a restart finds what it had sent ([`crate::collect`]).
//! - A session that is closed, or that nobody used for the configured time, is as good as unknown.
//!
//! # Non-goals
//! - Access control: the routes ask whether the caller may push to the session's cache.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::id::{HoldId, UploadId};
use tetryx_protocol::time::Elapsed;
use tetryx_store::PinId;

use super::ingest::Verified;

/// The open sessions of a node.
#[derive(Debug)]
pub(super) struct Sessions {
    open: Mutex<BTreeMap<UploadId, Arc<Session>>>,
    ttl: Duration,
    sessions_max: usize,
}

/// No further session may be opened now.
#[derive(Debug, thiserror::Error)]
#[error(
    "{sessions_max} upload sessions are open, which is the limit; wait for others to finish, or raise uploads.sessions_max"
)]
pub(super) struct TooManySessions {
    sessions_max: usize,
}

/// One push, from the first question to the last commit.
#[derive(Debug)]
pub(super) struct Session {
    id: UploadId,
    cache: CacheName,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When a request last began or ended.
    used: Elapsed,
    /// Requests under way.
    leases: usize,
    closed: bool,
    /// A proposal of the session may be applied yet.
    undecided: bool,
    verified: BTreeMap<NarHash, Verified>,
}

impl Sessions {
    pub(super) fn new(ttl: Duration, sessions_max: usize) -> Self {
        Self {
            open: Mutex::default(),
            ttl,
            sessions_max,
        }
    }

    /// How long an unused session lives.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Opens a session for pushing to `cache`. The id is random, so it is not in use.
    pub(super) fn open(&self, id: UploadId, cache: CacheName, now: Elapsed) -> Result<(), TooManySessions> {
        let mut open = self.open.lock();
        if open.len() >= self.sessions_max {
            return Err(TooManySessions {
                sessions_max: self.sessions_max,
            });
        }
        let state = State {
            used: now,
            leases: 0,
            closed: false,
            undecided: false,
            verified: BTreeMap::new(),
        };
        open.insert(
            id,
            Arc::new(Session {
                id,
                cache,
                state: Mutex::new(state),
            }),
        );
        Ok(())
    }

    /// The cache the session pushes to, if there is such a session.
    pub(super) fn cache_of(&self, id: &UploadId, now: Elapsed) -> Option<CacheName> {
        let session = self.open.lock().get(id).map(Arc::clone)?;
        let alive = session.state.lock().is_alive(now, self.ttl);
        alive.then(|| session.cache.clone())
    }

    /// Uses the session for a request. `None` when it is closed, expired, or was never there.
    pub(super) fn lease(&self, id: &UploadId, now: Elapsed) -> Option<Lease> {
        let session = self.open.lock().get(id).map(Arc::clone)?;
        {
            let mut state = session.state.lock();
            if !state.is_alive(now, self.ttl) {
                return None;
            }
            state.leases += 1;
            state.used = now;
        }
        Some(Lease { session })
    }

    /// Ends the session: no request finds it any more. Its pin is released by [`Self::take_ended`].
    pub(super) fn close(&self, id: &UploadId) {
        if let Some(session) = self.open.lock().get(id) {
            session.state.lock().closed = true;
        }
    }

    /// Forgets the sessions that are closed or expired and not in use, and returns their pins for release.
    pub(super) fn take_ended(&self, now: Elapsed) -> Vec<PinId> {
        let mut ended = Vec::new();
        self.open.lock().retain(|_, session| {
            let state = session.state.lock();
            let fresh = now.saturating_sub(state.used) < self.ttl;
            let stays = state.leases > 0 || (fresh && (!state.closed || state.undecided));
            if !stays {
                ended.push(session.pin());
            }
            stays
        });
        ended
    }

    /// How many sessions are open, those included that have expired and are not forgotten yet.
    pub(super) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether the pin belongs to a session that is open or in use.
    pub(super) fn owns(&self, pin: &PinId) -> bool {
        self.open.lock().contains_key(&UploadId::from_bytes(pin.0))
    }
}

impl State {
    fn is_alive(&self, now: Elapsed, ttl: Duration) -> bool {
        !self.closed && (self.leases > 0 || now.saturating_sub(self.used) < ttl)
    }
}

impl Session {
    fn pin(&self) -> PinId {
        PinId(*self.id.as_bytes())
    }
}

/// A session in use by one request. Dropping it ends the use.
pub(super) struct Lease {
    session: Arc<Session>,
}

impl Lease {
    pub(super) fn cache(&self) -> &CacheName {
        &self.session.cache
    }

    pub(super) fn pin(&self) -> PinId {
        self.session.pin()
    }

    /// The name under which other nodes hold what the session has.
    pub(super) fn hold(&self) -> HoldId {
        HoldId::from_bytes(*self.session.id.as_bytes())
    }

    /// Shows that the request goes on.
    pub(super) fn touch(&self, now: Elapsed) {
        self.session.state.lock().used = now;
    }

    /// Keeps the session's pin for its full time, even if the client ends it.
    pub(super) fn leave_undecided(&self) {
        self.session.state.lock().undecided = true;
    }

    /// Remembers a NAR that is stored whole.
    pub(super) fn remember(&self, nar: Verified) {
        self.session.state.lock().verified.insert(nar.nar_hash, nar);
    }

    /// The NAR, if this session has stored it whole.
    pub(super) fn verified(&self, nar: &NarHash) -> Option<Verified> {
        self.session.state.lock().verified.get(nar).copied()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.session.state.lock().leases -= 1;
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("session", &self.session.id)
            .finish_non_exhaustive()
    }
}
