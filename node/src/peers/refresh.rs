//! Keeps the roster current: from the own state as it is applied, and from others while that lags behind.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tetryx_link::Roster;
use tetryx_protocol::id::NodeId;
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
/// So many are asked at once; the others by turns. Each tells of all members, and everybody may have to ask.
const ASKED_AT_ONCE: usize = 8;

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
    let mut turns = Turns::default();
    let changes = node.roster().changes();
    loop {
        let is_knock = tokio::select! {
            biased;
            () = node.roster().knocks() => true,
            () = leaderless(&node, pause) => false,
        };
        if is_knock {
            // A newcomer is often here before the log that tells of it.
            let before = *changes.borrow();
            tokio::time::sleep(ASK_PAUSE).await;
            if *changes.borrow() != before {
                continue;
            }
        }
        if node.is_cut_off() {
            greet(node.links().as_ref(), node.roster().others()).await;
        }
        let leader = node.replica().status().leader;
        let asked = turns.next(node.node_id(), node.roster().others(), leader);
        if ask_for_roster(&node, asked).await {
            pause = ASK_PAUSE;
        } else if turns.all_were_asked() {
            pause = (pause * 2).min(ASK_PAUSE_MAX);
        }
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

/// Whose turn it is to be asked.
#[derive(Debug, Default)]
struct Turns {
    asked: usize,
}

impl Turns {
    /// The leader, if there is one, and the next few of the others. Everybody begins elsewhere.
    fn next(&mut self, own: NodeId, mut others: Vec<NodeId>, leader: Option<NodeId>) -> Vec<NodeId> {
        others.sort_unstable();
        let first = others.partition_point(|other| *other < own);
        others.rotate_left(first);
        let leader = leader.filter(|leader| others.contains(leader));
        let end = others.len().min(self.asked + ASKED_AT_ONCE);
        let mut few = others[self.asked.min(end)..end].to_vec();
        self.asked = if end == others.len() { 0 } else { end };
        if let Some(leader) = leader.filter(|leader| !few.contains(leader)) {
            few.push(leader);
        }
        few
    }

    /// Whether the last few were the last of all.
    const fn all_were_asked(&self) -> bool {
        self.asked == 0
    }
}

/// Asks these members at once. True when one of them knew something new.
async fn ask_for_roster(node: &Node, others: Vec<NodeId>) -> bool {
    let roster = node.roster();
    let questions: FuturesUnordered<_> = others
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    #[test]
    fn everybody_is_asked_by_turns_and_the_leader_each_time() {
        let others: Vec<NodeId> = (1..=30).filter(|number| *number != 7).map(id).collect();
        let (mut turns, mut asked) = (Turns::default(), BTreeSet::new());
        let mut rounds = 0;
        loop {
            let few = turns.next(id(7), others.clone(), Some(id(3)));
            assert!(few.contains(&id(3)) && few.len() <= ASKED_AT_ONCE + 1, "{few:?}");
            asked.extend(few);
            rounds += 1;
            if turns.all_were_asked() {
                break;
            }
        }
        assert_eq!(asked, others.into_iter().collect());
        assert_eq!(rounds, 4);
    }

    #[test]
    fn in_a_small_cluster_all_are_asked_at_once() {
        let mut turns = Turns::default();
        for _ in 0..3 {
            assert_eq!(turns.next(id(2), vec![id(1), id(3)], None), [id(3), id(1)]);
            assert!(turns.all_were_asked());
        }
        assert!(turns.next(id(2), Vec::new(), None).is_empty());
    }
}
