//! Paths whose time is over leave their caches, with the NARs that no other path has.
//!
//! Which paths those are is found here, and decided where the command is applied (`tetryx_state::retention`): by the log
//! clock, on every replica the same. This node's clock only says what is worth proposing.
//!
//! # Invariants
//! - Nothing leaves because of what this node thinks the time is, or because it looked at an older state.
//! - Nothing is proposed that a member would not understand: see [`is_allowed`].
//!
//! # Non-goals
//! - Chunks: each node collects its own, by the state it has applied ([`crate::collect`]).

mod accesses;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tetryx_protocol::cache::CacheName;
use tetryx_protocol::hash::NarHash;
use tetryx_protocol::time::UtcTime;
use tetryx_raft::StateView;
use tetryx_state::command::ExpirePaths;
use tetryx_state::limits::Limit;
use tetryx_state::retention::{FEATURE_LEVEL, Leaving, period, plan};
use tetryx_state::{Outcome, query};

pub(crate) use self::accesses::{Accesses, note_accesses, tell_accesses};
use crate::{Node, NodeError};

/// What would leave by a state.
#[derive(Debug, Default)]
pub(crate) struct Forecast {
    /// The paths, each behind all that refer to it.
    caches: Vec<(CacheName, Vec<Leaving>)>,
    /// The NARs that no other path has, with their size as served.
    nars: BTreeMap<NarHash, u64>,
}

impl Forecast {
    /// How many paths.
    pub(crate) fn paths(&self) -> u64 {
        self.caches.iter().map(|(_, paths)| paths.len() as u64).sum()
    }

    /// How many NARs.
    pub(crate) fn nars(&self) -> u64 {
        self.nars.len() as u64
    }

    /// The size of the NARs as served, in bytes.
    pub(crate) fn nar_bytes(&self) -> u64 {
        self.nars.values().sum()
    }

    /// Whether the NAR would go.
    pub(crate) fn takes(&self, nar: &NarHash) -> bool {
        self.nars.contains_key(nar)
    }
}

/// What left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) paths: u64,
    pub(crate) nars: u64,
    /// The size of the NARs as served, in bytes.
    pub(crate) nar_bytes: u64,
    /// The log index from which on they are gone.
    pub(crate) index: u64,
}

/// Whether every member understands commands about retention.
pub(crate) fn is_allowed(view: &StateView) -> Result<bool, NodeError> {
    let cluster = query::cluster(view)?;
    Ok(cluster.is_some_and(|cluster| cluster.feature_level >= FEATURE_LEVEL))
}

/// What would leave now.
pub(crate) async fn forecast(node: &Node) -> Result<Forecast, NodeError> {
    let view = node.replica().view()?;
    let default = node.config().gc.default_retention;
    let own = node.clock().utc();
    node.io()
        .run(move || {
            // The log clock stands still while nothing is proposed.
            let now = query::clock(&view)?.max(own);
            look(&view, default, now)
        })
        .await?
}

/// What would leave at a moment. Blocks.
pub(crate) fn look(view: &StateView, default: Option<Duration>, now: UtcTime) -> Result<Forecast, NodeError> {
    let mut forecast = Forecast::default();
    let mut losses: BTreeMap<NarHash, u64> = BTreeMap::new();
    for (cache, record) in query::caches(view)? {
        let Some(period) = period(record.retention, default) else {
            continue;
        };
        let leaving = plan(view, &cache, period, now)?;
        for path in &leaving {
            *losses.entry(path.nar).or_default() += 1;
        }
        if !leaving.is_empty() {
            forecast.caches.push((cache, leaving));
        }
    }
    for (nar, lost) in losses {
        if let Some(record) = query::nar(view, &nar)?
            && record.references <= lost
        {
            forecast.nars.insert(nar, record.file_size);
        }
    }
    Ok(forecast)
}

/// Has everything leave whose time is over.
///
/// # Errors
/// When nobody could be asked; what left until then has left.
pub(crate) async fn expire(node: &Node, by: &str) -> Result<Expired, NodeError> {
    let mut expired = Expired {
        index: node.replica().applied_index(),
        ..Expired::default()
    };
    if !is_allowed(&node.replica().view()?)? {
        tracing::info!("no path expires before every member runs a version that knows how");
        return Ok(expired);
    }
    tell_accesses(node).await?;
    loop {
        let forecast = Arc::new(forecast(node).await?);
        let before = expired.paths;
        for (cache, leaving) in &forecast.caches {
            let most = usize::try_from(Limit::ExpiredPerCommand.bound()).unwrap_or(usize::MAX);
            for piece in leaving.chunks(most) {
                let command = ExpirePaths {
                    cache: cache.clone(),
                    default_seconds: node
                        .config()
                        .gc
                        .default_retention
                        .map(|default| default.as_secs()),
                    paths: piece.iter().map(|leaving| leaving.path).collect(),
                };
                let (index, outcome) = match node.propose(by, command).await {
                    // Destroyed meanwhile.
                    Err(NodeError::Refused(tetryx_state::Refusal::NoSuchCache { .. })) => break,
                    done => done?,
                };
                expired.index = expired.index.max(index);
                if let Outcome::PathsExpired { paths, nars } = outcome {
                    expired.paths += paths;
                    expired.nars += nars;
                }
            }
        }
        let view = node.replica().view()?;
        let counted = Arc::clone(&forecast);
        let gone = node.io().run(move || gone(&view, &counted)).await??;
        expired.nar_bytes += gone;
        // What stays of a forecast, for a large command or a clock, is left to the next collection; but not more.
        let went = expired.paths - before;
        if went == 0 || went == forecast.paths() {
            break;
        }
    }
    if expired.paths > 0 {
        let Expired { paths, nars, .. } = expired;
        tracing::info!(paths, nars, "paths have left their caches: their time is over");
    }
    Ok(expired)
}

/// The size of those NARs of a forecast that are gone. Blocks.
fn gone(view: &StateView, forecast: &Forecast) -> Result<u64, NodeError> {
    let mut bytes = 0;
    for (nar, size) in &forecast.nars {
        if query::nar(view, nar)?.is_none() {
            bytes += size;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
