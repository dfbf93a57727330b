//! Histories to be judged, made up.

use std::collections::BTreeMap;

use tetryx_protocol::id::{ClientId, NodeId};
use tetryx_raft::{EntryKind, EntryMark, LogPosition, Observation, ObservedVote, Queues, ReplicaRole};

use super::raft::Sight;

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A run of a node.
pub(super) fn run(number: u8) -> ClientId {
    ClientId::from_bytes([number; 16])
}

/// An entry with the bytes that are usual for its place.
pub(super) fn entry(term: u64, leader: u8, index: u64) -> EntryMark {
    let at = LogPosition {
        term,
        leader: node(leader),
        index,
    };
    EntryMark {
        at,
        hash: *blake3::hash(format!("{at:?}").as_bytes()).as_bytes(),
        kind: EntryKind::Blank,
    }
}

/// A follower of whoever wrote this entry, which it has applied; nothing is known of the membership.
pub(super) fn following(node: NodeId, end: LogPosition) -> Observation {
    Observation {
        node,
        opened_as: run(1),
        term: end.term,
        vote: Some(ObservedVote {
            term: end.term,
            leader: end.leader,
            is_granted: true,
        }),
        role: ReplicaRole::Follower,
        leader: Some(end.leader),
        last_log: Some(end),
        acknowledged: Some(end),
        committed: Some(end),
        applied: Some(end),
        snapshot: None,
        purged: None,
        matched: BTreeMap::new(),
        membership_at: None,
        voters: Vec::new(),
        learners: [].into(),
        queues: Queues::default(),
    }
}

/// A leader whose log is empty.
pub(super) fn leading(node: NodeId, term: u64) -> Observation {
    let at = LogPosition {
        term,
        leader: node,
        index: 0,
    };
    Observation {
        role: ReplicaRole::Leader,
        ..following(node, at)
    }
}

/// Three voters, all of which have this entry.
pub(super) fn three_voters(end: LogPosition) -> [Observation; 3] {
    [1, 2, 3].map(|number| Observation {
        voters: vec![[1, 2, 3].map(node).into()],
        membership_at: Some(entry(1, 1, 1).at),
        ..following(node(number), end)
    })
}

/// A node with these entries, none of which is known to be committed.
pub(super) fn sight(node: NodeId, entries: Vec<EntryMark>) -> Sight {
    let end = entries.last().map_or_else(|| entry(1, 1, 0).at, |mark| mark.at);
    Sight {
        seen: Observation {
            committed: None,
            applied: None,
            ..following(node, end)
        },
        entries,
    }
}
