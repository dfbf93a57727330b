//! Copies that go when the disk is full: which, and in what order.
//!
//! Copies that are only cached here go by the rule of [`super::surplus`]. If that is not enough, so do copies that this
//! node should hold, under a narrower one: of the holders in their order, the first `replication.write_replicas` never
//! give up a copy for want of room, and each further one may once all of the first have said "placed".
//!
//! # Why no two nodes drop each other's last copy
//! Whoever drops relies on the first holders only, and these do not drop while they are the first. If the members change
//! such that X, which dropped because A was among the first, is among the first now instead of A: A must hear "placed"
//! from X before it drops, by a state no older than the one A goes by ([`super::ask::have_as_of`]). By that state X is
//! among the first, so a collection of X that began later keeps the copy, and one that runs respects the hold under
//! which X has answered.
//!
//! # Invariants
//! - Within each kind, what was unused for longest goes first.
//! - What makes room for others' copies does not come back at once: see [`crate::room::Left::has_plenty_for`].

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::peer::Holding;
use tetryx_raft::StateView;
use tetryx_state::query;

use super::ask::have_as_of;
use super::pass::is_complete;
use super::policy::{CopyRules, Duty, Membership, may_drop};
use super::surplus::{Proof, Surplus, is_here};
use crate::{Node, NodeError};

/// NARs looked at together.
const PAGE: usize = 1024;
/// Candidates of which the holders are asked together.
const ASKED_AT_ONCE: usize = 256;
/// Candidates that are remembered at once: those unused for longest.
const CANDIDATES_MAX: usize = 1 << 16;

/// Which copies may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evict {
    /// Those that this node owes to nobody.
    OnlyCached,
    /// Those that it should hold, and enough others do.
    Placed,
}

struct Candidate {
    nar: NarHash,
    manifest: ManifestHash,
    bytes: u64,
    idle: Duration,
    /// Who must have it.
    keepers: Vec<NodeId>,
}

/// How many of a NAR's holders, in their order, never give it up for want of room.
pub(super) fn keepers_of<'a>(node: &Node, holders: &'a [NodeId]) -> &'a [NodeId] {
    let enough = usize::from(node.config().replication.write_replicas.max(1));
    &holders[..enough.min(holders.len())]
}

/// Finds copies that may go, until they are of so many bytes together or there are no more.
pub(crate) async fn find(node: &Node, what: Evict, bytes: u64) -> Result<Surplus, NodeError> {
    let view = node.replica().view()?;
    let index = view.applied_index();
    let membership = super::membership(node, &view, &node.replication().away(node))?;
    let mut surplus = Surplus::default();
    if membership.others().next().is_none() {
        return Ok(surplus);
    }
    let rules = CopyRules::read(&view, node.config().replication.copies)?;
    let in_background = node.clone();
    let looked = node
        .io()
        .run(move || candidates(&in_background, &view, &membership, &rules, what));
    let mut candidates = looked.await??;
    candidates.sort_by_key(|candidate| (std::cmp::Reverse(candidate.idle), candidate.nar));
    let mut found = 0;
    for some in candidates.chunks(ASKED_AT_ONCE) {
        if found >= bytes {
            break;
        }
        let mut questions: BTreeMap<NodeId, Vec<ManifestHash>> = BTreeMap::new();
        for candidate in some {
            for keeper in &candidate.keepers {
                questions.entry(*keeper).or_default().push(candidate.manifest);
            }
        }
        let told = have_as_of(node, questions, index).await;
        let answer = |keeper: &NodeId, manifest: ManifestHash| -> Option<Holding> {
            told.get(&(*keeper, manifest)).copied()
        };
        for candidate in some {
            if found < bytes && may_drop(&candidate.keepers, |keeper| answer(keeper, candidate.manifest)) {
                found += candidate.bytes;
                surplus.add(
                    candidate.nar,
                    Proof {
                        keepers: candidate.keepers.clone(),
                        is_placed_here: what == Evict::Placed,
                    },
                );
            }
        }
    }
    Ok(surplus)
}

/// All copies of a kind, with who must have them. Blocks.
fn candidates(
    node: &Node,
    view: &StateView,
    membership: &Membership,
    rules: &CopyRules,
    what: Evict,
) -> Result<Vec<Candidate>, NodeError> {
    let now = node.clock().elapsed();
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let rows = query::nars(view, after.as_ref(), PAGE)?;
        let Some((last, _)) = rows.last() else {
            return Ok(found);
        };
        after = Some(*last);
        for (nar, record) in rows {
            let copies = rules.of(view, &nar)?;
            let holders = membership.holders(&nar, copies);
            let duty = membership.duty(&nar, copies, &holders);
            let keepers = keepers_of(node, &holders);
            let may_go = match what {
                Evict::OnlyCached => duty == Duty::None && is_here(node, &nar, &record)?,
                Evict::Placed => {
                    duty == Duty::Holder
                        && !keepers.contains(&membership.me())
                        && is_complete(node, &nar, &record)?
                }
            };
            if !may_go {
                continue;
            }
            found.push(Candidate {
                idle: node.replication().known.lock().idle(&nar, now),
                manifest: record.manifest,
                bytes: record.file_size,
                keepers: match what {
                    Evict::OnlyCached => holders,
                    Evict::Placed => keepers.to_vec(),
                },
                nar,
            });
        }
        if found.len() > CANDIDATES_MAX {
            found.sort_by_key(|candidate| (std::cmp::Reverse(candidate.idle), candidate.nar));
            found.truncate(CANDIDATES_MAX / 2);
        }
    }
}
