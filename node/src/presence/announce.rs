//! Telling the others: every few seconds, and soon after something has changed.

use std::time::Duration;

use tetryx_gossip::Gossip;
use tetryx_protocol::message::Message;
use tetryx_protocol::presence::{Presence, PresenceState};
use tetryx_raft::ReplicaError;
use tetryx_state::query;

use crate::{Node, NodeError};

/// Between two looks at whether something has changed.
const LOOK: Duration = Duration::from_secs(1);
/// The longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// What the presences of all members together may take of the thinnest link in the long run, in bytes a second.
const BYTES_PER_SECOND: usize = 128 * 1024;
/// What one member's may take of that, however few there are: a full digest is announced every six seconds at the most.
const BYTES_PER_SECOND_EACH: usize = 8 * 1024;

/// Announces this node until it stops, and has replication look again when others come, go or change.
pub(crate) async fn announce(node: Node) {
    let Some(gossip) = node.gossip() else { return };
    let mut connected = gossip.watch_connected();
    let mut seq = u64::try_from(node.clock().utc().unix_ms()).unwrap_or(0);
    let mut last: Option<Presence> = None;
    let mut silent_since = node.clock().elapsed();
    let mut pause = Duration::ZERO;
    loop {
        let silence = node.clock().elapsed().saturating_sub(silent_since);
        if silence >= pause {
            match presence(&node, seq + 1).await {
                Ok(presence) if silence >= SILENCE_MAX.max(pause) || is_news(last.as_ref(), &presence) => {
                    seq += 1;
                    silent_since = node.clock().elapsed();
                    let members = node.roster().others().len() + 1;
                    pause = pause_after(presence.encode().len(), members);
                    gossip.announce(presence.clone());
                    last = Some(presence);
                    retime(&node, gossip);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    error = error.chain(),
                    "this node's presence could not be announced"
                ),
            }
        }
        tokio::select! {
            biased;
            changed = connected.changed() => {
                if changed.is_err() {
                    tracing::error!("gossip has ended; the others do not hear this node until it is restarted");
                    return;
                }
                connected.mark_unchanged();
                node.replication().wake();
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The silence that pays for an announcement among so many members.
fn pause_after(len: usize, members: usize) -> Duration {
    let share = BYTES_PER_SECOND_EACH
        .min(BYTES_PER_SECOND / members.max(1))
        .max(1);
    let ms = len.saturating_mul(1_000) / share;
    LOOK.max(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

/// Whether others want to know at once.
fn is_news(last: Option<&Presence>, now: &Presence) -> bool {
    last.is_none_or(|last| {
        last.state != now.state || last.applied_index != now.applied_index || last.held != now.held
    })
}

async fn presence(node: &Node, seq: u64) -> Result<Presence, NodeError> {
    let store = node.store().clone();
    let stats = node.io().run(move || store.stats()).await??;
    Ok(Presence {
        node: node.node_id(),
        seq,
        at: node.clock().utc(),
        applied_index: node.replica().applied_index(),
        free_bytes: stats.free_bytes,
        load_permille: node.io().load_permille(),
        held: node.replication().held(),
        state: state(node)?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: node.feature_level(),
    })
}

fn state(node: &Node) -> Result<PresenceState, NodeError> {
    let status = node.replica().status();
    if let Some(ReplicaError::NeedsUpgrade { .. }) = status.failure {
        return Ok(PresenceState::NeedsUpgrade);
    }
    let view = match node.replica().view() {
        Err(ReplicaError::Diverged { .. }) => return Ok(PresenceState::Diverged),
        view => view?,
    };
    let own = query::member(&view, &node.node_id())?;
    Ok(match own {
        Some(member) if member.state.is_draining() => PresenceState::Draining,
        _ if status.leader.is_none() => PresenceState::CatchingUp,
        _ => PresenceState::Serving,
    })
}

/// Gossip's timers follow the longest round trip that the links measure.
fn retime(node: &Node, gossip: &dyn Gossip) {
    let others = node.roster().others().into_iter();
    let paths = others.filter_map(|other| node.links().path(other));
    if let Some(longest) = paths.map(|path| path.rtt).max() {
        gossip.retime(longest);
    }
}

#[cfg(test)]
mod tests {
    use tetryx_protocol::presence::PRESENCE_LEN_MAX;

    use super::*;

    #[test]
    fn a_full_digest_is_announced_every_few_seconds_and_a_small_one_every_second() {
        assert_eq!(pause_after(200, 5), Duration::from_secs(1));
        let full = pause_after(PRESENCE_LEN_MAX, 5);
        assert!(
            full >= Duration::from_secs(5) && full <= Duration::from_secs(10),
            "{full:?}"
        );
    }

    #[test]
    fn however_many_members_there_are_a_thin_link_carries_their_digests() {
        for members in [1, 5, 16, 50, 200, 1_000] {
            let pause = pause_after(PRESENCE_LEN_MAX, members);
            let bytes_per_second = PRESENCE_LEN_MAX as u128 * members as u128 * 1_000 / pause.as_millis();
            assert!(bytes_per_second <= 140_000, "{members}: {bytes_per_second}");
        }
        assert_eq!(
            pause_after(250, 200),
            Duration::from_secs(1),
            "small ones may be many"
        );
    }
}
