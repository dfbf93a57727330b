//! What a node does when the cluster drains or removes it.

use tetryx_protocol::member::MemberState;

use crate::node::Node;
use crate::peers::Standing;

/// How far a node is with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainProgress {
    /// It stays.
    Staying,
    /// It hands over what it has.
    HandingOver,
    /// It was removed.
    Removed,
}

impl DrainProgress {
    pub(crate) fn of(node: &Node) -> Self {
        match node.roster().standing() {
            Standing::Unknown | Standing::Member(MemberState::Active) => Self::Staying,
            Standing::Member(MemberState::Draining { .. }) => Self::HandingOver,
            Standing::Member(MemberState::Removed { .. }) => Self::Removed,
        }
    }
}

/// Says in the log what became of this node's membership, whenever that changes.
pub(crate) async fn watch_own_state(node: Node) {
    let mut changes = node.roster().changes();
    let mut before = DrainProgress::Staying;
    loop {
        let now = DrainProgress::of(&node);
        if now != before {
            match now {
                DrainProgress::Staying => tracing::info!("this node is an active member"),
                DrainProgress::HandingOver => {
                    tracing::warn!(
                        "this node is being drained: it hands over what it has and takes nothing new"
                    );
                }
                DrainProgress::Removed => tracing::error!(
                    "this node was removed from the cluster: its key is refused for ever; \
                     stop it, and join with an empty data directory if it shall come back"
                ),
            }
            before = now;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
