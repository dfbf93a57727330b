//! Keeps the roster current: from the own state as it is applied, and from others while that lags behind.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tetryx_link::Roster;
use tetryx_protocol::peer::{PeerRequest, PeerResponse};
use tetryx_state::query;

use super::requests::{ASK_TIMEOUT, ask, greet};
use crate::node::Node;
use crate::{NodeError, membership};

/// The state is looked at this often while it changes: the roster is small, and changes seldom.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);
/// Others are asked this often at the most.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// And this often while no leader is heard and they have no news.
const ASK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Takes over the members of the applied state whenever they change. Ends with the replica.
pub(crate) async fn follow_state(node: Node) {
    loop {
        let seen = match take_over(&node) {
            Ok(index) => index,
            Err(error) => {
                tracing::error!(error = error.chain(), "the members cannot be read");
                return;
            }
        };
        if node.replica().wait_applied(seen + 1).await.is_err() {
            return;
        }
        tokio::time::sleep(FOLLOW_PAUSE).await;
    }
}

/// Takes over the members of the applied state, and returns its index. The node does so by itself; simulations, which
/// start no tasks, ask for it.
///
/// # Errors
/// When the state cannot be read.
pub fn take_over(node: &Node) -> Result<u64, NodeError> {
    let view = node.replica().view()?;
    let index = view.applied_index();
    let Some(cluster) = query::cluster(&view)? else {
        return Ok(index);
    };
    let entries = membership::entries(&view)?;
    let gone: Vec<_> = entries
        .iter()
        .filter(|entry| entry.state.is_removed())
        .map(|entry| entry.node)
        .collect();
    if node
        .roster()
        .learn_from_state(cluster.id, cluster.epoch, index, entries)
    {
        for gone in gone {
            node.links().forget(gone);
        }
    }
    Ok(index)
}

/// Asks the others who the members are, when an unknown node knocks or nobody leads: this node may have been away
/// while the cluster changed.
pub(crate) async fn keep_current(node: Node) {
    let mut pause = ASK_PAUSE;
    loop {
        tokio::select! {
            biased;
            () = node.roster().knocks() => {}
            () = leaderless(&node, pause) => {}
        }
        if node.is_cut_off() {
            greet(node.links().as_ref(), node.roster().others()).await;
        }
        pause = if ask_others(&node).await {
            ASK_PAUSE
        } else {
            (pause * 2).min(ASK_PAUSE_MAX)
        };
        tokio::time::sleep(ASK_PAUSE).await;
        if !node.is_cut_off() {
            pause = ASK_PAUSE;
        }
    }
}

/// Resolves when no leader was heard at the beginning and at the end of a time.
async fn leaderless(node: &Node, time: Duration) {
    loop {
        let before = node.is_cut_off();
        tokio::time::sleep(time).await;
        if before && node.is_cut_off() {
            return;
        }
    }
}

/// Asks all other members at once. True when one of them knew something new.
async fn ask_others(node: &Node) -> bool {
    let roster = node.roster();
    let questions: FuturesUnordered<_> = roster
        .others()
        .into_iter()
        .map(|other| async move {
            let links = node.links().as_ref();
            (other, ask(links, other, &PeerRequest::Roster, ASK_TIMEOUT).await)
        })
        .collect();
    let answers: Vec<_> = questions.collect().await;
    let mut news = false;
    for (other, answer) in answers {
        match answer {
            Ok(PeerResponse::Roster {
                cluster,
                epoch,
                index,
                members,
            }) => news |= roster.learn(cluster, epoch, index, members),
            Ok(_) => tracing::debug!(
                node = other.fmt_short(),
                "an answer that does not fit the question"
            ),
            Err(error) => tracing::debug!(%error, "a member could not be asked for the roster"),
        }
    }
    if news {
        tracing::info!(epoch = ?roster.cluster().map(|(_, epoch)| epoch), "learned of changed members from another member");
    }
    news
}
