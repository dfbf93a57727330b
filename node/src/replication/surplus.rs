//! Copies that this node owes to nobody, and that may go because every holder has its own.
//!
//! Found anew before each collection and used by that one only: [`super::policy`] argues why that is safe.
//!
//! # Invariants
//! - A copy is named here only after each of its holders has just answered "placed"; where there is no room for it, the
//!   first of its holders are enough ([`super::evict`]).
//! - A copy that was read here within `replication.keep_surplus` stays.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_raft::StateView;
use tetryx_state::query;

use super::ask::have_all;
use super::pass::is_complete;
use super::policy::{CopyRules, Duty, Membership, may_drop};
use crate::{Node, NodeError};

/// NARs looked at together.
const PAGE: usize = 1024;
/// Copies given up in one collection; the next one finds more.
const SURPLUS_MAX: usize = 1 << 16;

/// Copies that one collection may take, each with the holders that have answered.
#[derive(Debug, Default)]
pub(crate) struct Surplus {
    proven: BTreeMap<NarHash, Proof>,
}

/// Why a copy may go.
#[derive(Debug)]
pub(super) struct Proof {
    /// Who has just said that its own copy is placed: all holders, or the first of them.
    pub(super) keepers: Vec<NodeId>,
    /// Whether this node should hold it, too, and the first holders are enough for want of room.
    pub(super) is_placed_here: bool,
}

impl Surplus {
    pub(super) fn add(&mut self, nar: NarHash, proof: Proof) {
        self.proven.insert(nar, proof);
    }

    /// How many copies there are.
    pub(crate) fn len(&self) -> usize {
        self.proven.len()
    }
}

/// The live NARs by a state, as a collection asks for them.
pub(crate) struct Keep {
    membership: Membership,
    rules: CopyRules,
    surplus: Surplus,
}

impl Keep {
    /// Must be made from a state applied after the collection began.
    pub(crate) fn new(node: &Node, view: &StateView, surplus: Surplus) -> Result<Self, NodeError> {
        Ok(Self {
            membership: super::membership(node, view, &node.replication().away(node))?,
            rules: CopyRules::read(view, node.config().replication.copies)?,
            surplus,
        })
    }

    /// Whether the NAR has to stay: unless it was proven surplus, and by this state still is.
    pub(crate) fn keeps(&self, view: &StateView, nar: &NarHash) -> Result<bool, NodeError> {
        let Some(proven) = self.surplus.proven.get(nar) else {
            return Ok(true);
        };
        let copies = self.rules.of(view, nar)?;
        let holders = self.membership.holders(nar, copies);
        let may_go = if proven.is_placed_here {
            let me = self.membership.me();
            let is_led_by = holders.starts_with(&proven.keepers);
            is_led_by && holders.contains(&me) && !proven.keepers.contains(&me)
        } else {
            holders == proven.keepers && self.membership.duty(nar, copies, &holders) == Duty::None
        };
        Ok(!may_go)
    }
}

/// Asks the holders of every copy that nobody has read here for `keep`.
pub(crate) async fn find(node: &Node, keep: Duration) -> Result<Surplus, NodeError> {
    let view = node.replica().view()?;
    let membership = super::membership(node, &view, &node.replication().away(node))?;
    let mut surplus = Surplus::default();
    if membership.others().next().is_none() {
        return Ok(surplus);
    }
    let rules = CopyRules::read(&view, node.config().replication.copies)?;
    let mut after = None;
    while surplus.proven.len() < SURPLUS_MAX {
        let (page, last) = {
            let (node, view) = (node.clone(), view.clone());
            let (membership, rules) = (membership.clone(), rules.clone());
            let io = node.io().clone();
            io.run(move || look(&node, &view, &membership, &rules, keep, after.as_ref()))
                .await??
        };
        let Some(last) = last else { break };
        after = Some(last);
        let mut questions: BTreeMap<NodeId, Vec<ManifestHash>> = BTreeMap::new();
        for (_, manifest, holders) in &page {
            for holder in holders {
                questions.entry(*holder).or_default().push(*manifest);
            }
        }
        let answers = have_all(node, questions.clone()).await;
        let mut told = BTreeMap::new();
        for (holder, answers) in answers {
            for (manifest, answer) in questions[&holder].iter().zip(answers) {
                told.insert((holder, *manifest), answer);
            }
        }
        for (nar, manifest, holders) in page {
            if may_drop(&holders, |holder| told.get(&(*holder, manifest)).copied()) {
                let proof = Proof {
                    keepers: holders,
                    is_placed_here: false,
                };
                surplus.add(nar, proof);
            }
        }
    }
    Ok(surplus)
}

type Page = (Vec<(NarHash, ManifestHash, Vec<NodeId>)>, Option<NarHash>);

/// A page of what is whole here, owed to nobody and unused, and where the page ends. Blocks.
fn look(
    node: &Node,
    view: &StateView,
    membership: &Membership,
    rules: &CopyRules,
    keep: Duration,
    after: Option<&NarHash>,
) -> Result<Page, NodeError> {
    let rows = query::nars(view, after, PAGE)?;
    let last = rows.last().map(|(nar, _)| *nar);
    let now = node.clock().elapsed();
    let mut page = Vec::new();
    for (nar, record) in rows {
        let copies = rules.of(view, &nar)?;
        let holders = membership.holders(&nar, copies);
        if membership.duty(&nar, copies, &holders) == Duty::None
            && node.replication().known.lock().idle(&nar, now) >= keep
            && is_here(node, &nar, &record)?
        {
            page.push((nar, record.manifest, holders));
        }
    }
    Ok((page, last))
}

/// A part of a NAR is a copy too, as far as it goes: it stays as long as a whole one would.
pub(super) fn is_here(
    node: &Node,
    nar: &NarHash,
    record: &tetryx_state::records::NarRecord,
) -> Result<bool, NodeError> {
    Ok(is_complete(node, nar, record)? || node.store().contains_manifest(&record.manifest)?)
}
