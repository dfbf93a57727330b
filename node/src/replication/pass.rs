//! One look at every NAR: what this node owes, what it lacks, and what the others have.
//!
//! # Invariants
//! - Memory is bounded: NARs are taken page by page, and at most [`FETCHES_MAX`] of those that are missing are
//!   remembered until they are fetched; the next pass finds the rest.
//! - A pass changes nothing but what this node holds. Whatever it finds can be found again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::{HoldId, NodeId};
use tetryx_protocol::peer::Holding;
use tetryx_protocol::time::Elapsed;
use tetryx_raft::StateView;
use tetryx_state::query;
use tetryx_state::records::NarRecord;
use tetryx_store::StoreError;
use tetryx_transfer::Priority;

use super::ask::{have, have_all};
use super::bring::{Wanted, bring};
use super::evict::keepers_of;
use super::policy::{CopyRules, Duty, Membership};
use super::{Figures, Totals, providers};
use crate::error::chain;
use crate::presence::FRESH;
use crate::{Node, NodeError, room};

/// NARs looked at together.
const PAGE: usize = 1024;
/// Others that every pass asks whether they are there.
const ASKED_MAX: usize = 32;
/// Missing NARs that one pass fetches.
const FETCHES_MAX: usize = 256;
/// Fetches in the background at once; each takes its chunks from several nodes.
const FETCHES_AT_ONCE: usize = 4;
/// The wait after a failed fetch, doubled with each further failure up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(15);
const RETRY_MAX: Duration = Duration::from_secs(15 * 60);

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// NARs that were fetched and are whole and durable here now.
    pub fetched: u64,
    /// NARs whose fetch failed; they are tried again later.
    pub failed: u64,
    /// NARs that this node should hold, lacks, and will fetch in a further pass.
    pub left: u64,
    /// What was found before anything was fetched.
    pub figures: Figures,
    /// How long this node was busy looking, without waiting for others.
    pub look_took: Duration,
}

/// A NAR on its way through a pass.
struct Item {
    nar: NarHash,
    record: NarRecord,
    holders: Vec<NodeId>,
    duty: Duty,
    complete: bool,
    /// Whether enough others should hold it to do without, where there is no room.
    is_dispensable: bool,
}

/// Runs one pass to its end; another one waits.
pub(super) async fn run(node: &Node) -> Result<PassReport, NodeError> {
    let replication = node.replication();
    let _one_at_a_time = replication.passes.lock().await;
    let begun = node.clock().elapsed();
    super::release_ended(node).await?;
    let view = node.replica().view()?;
    let members = super::membership(node, &view, &BTreeSet::new())?;
    replication
        .known
        .lock()
        .keep_members(&members.others().collect(), begun);
    if members.others().next().is_none() {
        *replication.figures.lock() = Figures {
            as_of: view.applied_index(),
            ..Figures::default()
        };
        return Ok(PassReport::default());
    }
    let asked = whom_to_ask(node, &members);
    join_all(asked.into_iter().map(|other| have(node, other, &[]))).await;
    let damaged = {
        let store = node.store().clone();
        node.io().run(move || store.stats()).await??.damaged
    };
    replication.known.lock().see_damage(damaged);
    let away = replication.away(node);
    let membership = super::membership(node, &view, &away)?;
    let rules = CopyRules::read(&view, node.config().replication.copies)?;

    let room = room::left(node).await?;
    let mut report = PassReport::default();
    report.figures.as_of = view.applied_index();
    let mut wanted = Vec::new();
    let mut after = None;
    let mut nars = 0;
    loop {
        let looking = node.clock().elapsed();
        let page = {
            let (node, view) = (node.clone(), view.clone());
            let (membership, rules) = (membership.clone(), rules.clone());
            let io = node.io().clone();
            io.run(move || look(&node, &view, &membership, &rules, after.as_ref()))
                .await??
        };
        report.look_took += node.clock().elapsed().saturating_sub(looking);
        let Some(last) = page.last() else { break };
        after = Some(last.nar);
        nars += page.len();
        ask_holders(node, &membership, &page).await;
        weigh(node, &membership, &page, &mut report.figures);
        let now = node.clock().elapsed();
        for item in page {
            if item.complete || item.duty == Duty::None {
                continue;
            }
            if !replication.may_try(&item.nar, now) {
                continue;
            }
            if item.is_dispensable && !room.has_plenty_for(item.record.file_size) {
                continue;
            }
            if wanted.len() < FETCHES_MAX {
                wanted.push(item);
            } else {
                report.left += 1;
            }
        }
    }
    replication.known.lock().trim(nars);
    *replication.figures.lock() = report.figures;
    let fetches = wanted.into_iter().map(|item| fetch(node, &membership, item));
    let outcomes: Vec<bool> = stream::iter(fetches)
        .buffer_unordered(FETCHES_AT_ONCE)
        .collect()
        .await;
    report.fetched = outcomes.iter().filter(|fetched| **fetched).count() as u64;
    report.failed = outcomes.len() as u64 - report.fetched;
    replication.settle(&report);
    Ok(report)
}

/// Who is asked whether it is there: all others in a small cluster. Among many, where everybody asking everybody would be
/// most of the traffic, those of whom gossip has not told lately, and a few more by turns.
fn whom_to_ask(node: &Node, members: &Membership) -> Vec<NodeId> {
    let others: Vec<NodeId> = members.others().collect();
    if others.len() <= ASKED_MAX || members.is_draining() {
        return others;
    }
    let (now, presences) = (node.clock().elapsed(), node.presences());
    let is_fresh = |other: &NodeId| presences.get(other).is_some_and(|seen| seen.age(now) < FRESH);
    let (fresh, mut asked): (Vec<_>, Vec<_>) = others.into_iter().partition(is_fresh);
    let known = node.replication().known.lock();
    asked.extend(known.longest_unheard(fresh).into_iter().take(ASKED_MAX));
    asked
}

/// A page of NARs, with what this node owes and has of each. Blocks.
fn look(
    node: &Node,
    view: &StateView,
    membership: &Membership,
    rules: &CopyRules,
    after: Option<&NarHash>,
) -> Result<Vec<Item>, NodeError> {
    let mut items = Vec::new();
    for (nar, record) in query::nars(view, after, PAGE)? {
        let copies = rules.of(view, &nar)?;
        let holders = membership.holders(&nar, copies);
        let complete = is_complete(node, &nar, &record)?;
        let mut duty = membership.duty(&nar, copies, &holders);
        if duty == Duty::None && !complete && has_damaged_manifest(node, &record) {
            // A collection cannot tell its chunks from garbage, and would take nothing at all.
            duty = Duty::StandIn;
        }
        let is_dispensable = duty == Duty::Holder && !keepers_of(node, &holders).contains(&membership.me());
        items.push(Item {
            duty,
            complete,
            is_dispensable,
            nar,
            record,
            holders,
        });
    }
    Ok(items)
}

/// Whether the NAR is whole here. Blocks, unless that is known.
pub(super) fn is_complete(node: &Node, nar: &NarHash, record: &NarRecord) -> Result<bool, NodeError> {
    let known = &node.replication().known;
    if known.lock().is_complete(nar) {
        return Ok(true);
    }
    let held = node.store().hold_nar(&record.manifest)?;
    let Some(held) = held.filter(|held| held.is_complete()) else {
        return Ok(false);
    };
    let differs = held.file_size() != record.file_size;
    node.replication().note_local(nar, differs);
    Ok(true)
}

fn has_damaged_manifest(node: &Node, record: &NarRecord) -> bool {
    let manifest = node.store().manifest(&record.manifest);
    matches!(manifest, Err(StoreError::CorruptManifest { .. }))
}

/// Asks those holders that have not said yet that they hold a NAR of the page.
async fn ask_holders(node: &Node, membership: &Membership, page: &[Item]) {
    let mut questions: BTreeMap<NodeId, Vec<(NarHash, ManifestHash)>> = BTreeMap::new();
    {
        let known = node.replication().known.lock();
        for item in page {
            for holder in &item.holders {
                if *holder != membership.me() && known.answers(holder) && !known.is_placed(holder, &item.nar)
                {
                    let asked = questions.entry(*holder).or_default();
                    asked.push((item.nar, item.record.manifest));
                }
            }
        }
    }
    let manifests = questions
        .iter()
        .map(|(holder, asked)| (*holder, asked.iter().map(|(_, manifest)| *manifest).collect()));
    let answers = have_all(node, manifests.collect()).await;
    for (holder, answers) in &answers {
        let asked = questions[holder].iter().zip(answers);
        let denied = asked.filter(|(_, answer)| **answer == Holding::No);
        let denied: Vec<NarHash> = denied.map(|((nar, _), _)| *nar).collect();
        node.note_denied(*holder, &denied);
    }
    let mut known = node.replication().known.lock();
    for (holder, answers) in answers {
        for ((nar, _), answer) in questions[&holder].iter().zip(answers) {
            known.note_placed(holder, nar, answer == Holding::Placed);
        }
    }
}

/// Adds up what the page lacks.
fn weigh(node: &Node, membership: &Membership, page: &[Item], figures: &mut Figures) {
    let known = node.replication().known.lock();
    for item in page {
        let has = |holder: &NodeId| {
            if *holder == membership.me() {
                item.complete
            } else {
                known.answers(holder) && known.is_placed(holder, &item.nar)
            }
        };
        let lacking = item.holders.iter().filter(|holder| !has(holder)).count() as u64;
        if lacking > 0 {
            figures.under_replicated.add(item.record.nar_size);
            figures.bytes_to_move += lacking * item.record.file_size;
        }
        if item.duty != Duty::None && !item.complete {
            figures.lacking_here.add(item.record.nar_size);
        }
        if item.complete && item.duty == Duty::None {
            figures.surplus.add(item.record.nar_size);
        }
        let is_safe_elsewhere = lacking == 0 && !item.holders.is_empty();
        if item.complete && !item.holders.contains(&membership.me()) && !is_safe_elsewhere {
            figures.to_hand_over.add(item.record.nar_size);
        }
    }
}

/// Fetches what is missing here of a NAR, or damaged, whether this node owes it or not; whether it is whole here now.
/// `None` when it is not time to try again.
pub(crate) async fn fetch_anew(
    node: &Node,
    nar: NarHash,
    record: NarRecord,
) -> Result<Option<bool>, NodeError> {
    let replication = node.replication();
    if !replication.may_try(&nar, node.clock().elapsed()) {
        return Ok(None);
    }
    let view = node.replica().view()?;
    let membership = super::membership(node, &view, &BTreeSet::new())?;
    if membership.others().next().is_none() {
        return Ok(Some(false));
    }
    let rules = CopyRules::read(&view, node.config().replication.copies)?;
    let holders = membership.holders(&nar, rules.of(&view, &nar)?);
    let item = Item {
        nar,
        record,
        holders,
        duty: Duty::Holder,
        complete: false,
        is_dispensable: false,
    };
    Ok(Some(fetch(node, &membership, item).await))
}

/// Fetches a NAR that this node owes; whether it is here now.
async fn fetch(node: &Node, membership: &Membership, item: Item) -> bool {
    let replication = node.replication();
    let wanted = Wanted {
        nar: item.nar,
        manifest: item.record.manifest,
        nar_size: item.record.nar_size,
    };
    let providers = providers(node, membership, &item.nar, &item.holders, item.record.origin);
    let Ok(lease) = replication.own_lease(node) else {
        return false;
    };
    let outcome = bring(node, wanted, providers, Priority::Background, lease.pin()).await;
    let now = node.clock().elapsed();
    match outcome {
        Ok(file_size) => {
            lease.finish();
            replication.failed.lock().remove(&item.nar);
            let differs = file_size != item.record.file_size;
            replication.note_local(&item.nar, differs);
            true
        }
        Err(error) => {
            let wait = replication.note_failure(&item.nar, now);
            tracing::warn!(
                nar = %item.nar,
                error = chain(&error),
                again_seconds = wait.as_secs(),
                "a copy that this node should hold cannot be fetched yet"
            );
            false
        }
    }
}

/// How often each fetch has failed, and when it may be tried again. Forgotten when a member comes back.
#[derive(Debug, Default)]
pub(super) struct Failures {
    failed: BTreeMap<NarHash, (u32, Elapsed)>,
}

/// Failures remembered; beyond that, the others are tried again at once.
const FAILURES_MAX: usize = 1 << 14;

impl Failures {
    pub(super) fn may_try(&self, nar: &NarHash, now: Elapsed) -> bool {
        self.failed.get(nar).is_none_or(|(_, again)| now >= *again)
    }

    /// Notes a failure; returns how long to wait.
    pub(super) fn note(&mut self, nar: &NarHash, now: Elapsed) -> Duration {
        if self.failed.len() >= FAILURES_MAX {
            self.failed.clear();
        }
        let (times, again) = self.failed.entry(*nar).or_insert((0, now));
        let wait = RETRY_MIN.saturating_mul(1 << (*times).min(16)).min(RETRY_MAX);
        *times += 1;
        *again = now.plus(wait);
        wait
    }

    pub(super) fn len(&self) -> usize {
        self.failed.len()
    }

    pub(super) fn remove(&mut self, nar: &NarHash) {
        self.failed.remove(nar);
    }

    pub(super) fn clear(&mut self) {
        self.failed.clear();
    }
}

impl Totals {
    fn add(&mut self, bytes: u64) {
        self.nars += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A hold of this node's own, for what it fetches.
pub(super) fn random_hold(node: &Node) -> HoldId {
    let mut id = [0; 16];
    node.entropy().fill(&mut id);
    HoldId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_later_and_later() {
        let mut failures = Failures::default();
        let nar = NarHash::of(b"nar");
        let mut now = Elapsed::from_nanos(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(failures.may_try(&nar, now));
            let wait = failures.note(&nar, now);
            assert!(!failures.may_try(&nar, now));
            now = now.plus(wait);
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 900, 900, 900]);
        failures.note(&nar, now);
        failures.clear();
        assert!(failures.may_try(&nar, now));
    }
}
