//! Replication: every NAR on as many nodes as it should be, and the loop that sees to it.
//!
//! Who should hold what follows from the replicated state alone ([`policy`]). Each node looks after itself: it fetches
//! what it should hold and lacks ([`pass`]), gives up what others should hold and have ([`surplus`]), and answers what
//! the others ask ([`serve`]). Before an upload is acknowledged, others hold it too ([`write`]).
//!
//! # Invariants
//! - Nothing that must be right depends on what is remembered here ([`knowledge`]); all of it can be found out again.
//! - A committed NAR is never dropped here before all its holders have said that they keep it.
//!
//! # Non-goals
//! - Moving bytes: `tetryx-transfer`. Giving space back: [`crate::collect`].

mod ask;
mod bring;
mod evict;
mod holds;
mod knowledge;
mod leave;
mod pass;
mod policy;
mod serve;
mod surplus;
mod write;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tetryx_protocol::hash::{ManifestHash, NarHash};
use tetryx_protocol::id::NodeId;
use tetryx_protocol::peer::{PeerRequest, PeerResponse};
use tetryx_protocol::presence::HeldDigest;
use tetryx_protocol::time::Elapsed;
use tetryx_raft::StateView;
use tetryx_state::query;
use tetryx_state::records::NarRecord;
use tetryx_store::PinId;
use tokio::sync::{Notify, watch};

pub(crate) use self::evict::{Evict, find as find_evictable};
pub(crate) use self::holds::Lease;
use self::holds::{Holds, TooManyHolds};
use self::knowledge::Knowledge;
pub(crate) use self::leave::left_at;
use self::pass::Failures;
pub use self::pass::PassReport;
pub(crate) use self::pass::fetch_anew;
use self::policy::{CopyRules, Membership};
pub(crate) use self::serve::answer;
pub(crate) use self::surplus::{Keep, Surplus, find as find_surplus};
pub use self::write::NotEnoughCopies;
pub(crate) use self::write::{begin, release, secure};
use crate::error::chain;
use crate::{InMemory, Node, NodeError};

/// The longest pause between two passes: members are looked after at least so often.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest one while others still lack what they should hold: how far they are is asked anew.
const PAUSE_UNEVEN: Duration = Duration::from_secs(2);
/// The shortest one: what happens within it is looked at together.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// A pause lasts at least so many times as long as the look before it, so that looking takes 5 % of the time at most.
const PAUSE_PER_LOOK: u32 = 20;

/// What a node remembers for replication; one per node.
#[derive(Debug)]
pub struct Replication {
    known: Mutex<Knowledge>,
    any_differs: AtomicBool,
    failed: Mutex<Failures>,
    figures: Mutex<Figures>,
    holds: Holds,
    early: write::Early,
    /// One pass at a time.
    passes: tokio::sync::Mutex<()>,
    /// The last pass that looked at everything.
    last: watch::Sender<Option<PassReport>>,
    wake: Notify,
}

/// A number of NARs and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub nars: u64,
    /// Uncompressed.
    pub bytes: u64,
}

/// How far the cluster is from what it should hold, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The log index of the state that was looked at.
    pub as_of: u64,
    /// NARs of which a holder has no copy, or does not answer.
    pub under_replicated: Totals,
    /// Bytes of the files that have to be copied for that, over all nodes.
    pub bytes_to_move: u64,
    /// What this node should hold and lacks.
    pub lacking_here: Totals,
    /// What this node holds and owes to nobody.
    pub surplus: Totals,
    /// What this node holds as no holder, and a holder lacks: the reason to stay for a node that drains.
    pub to_hand_over: Totals,
}

impl Replication {
    pub(crate) fn new(now: Elapsed) -> Self {
        Self {
            known: Mutex::new(Knowledge::new(now)),
            any_differs: AtomicBool::new(false),
            failed: Mutex::default(),
            figures: Mutex::default(),
            holds: Holds::default(),
            early: write::Early::default(),
            passes: tokio::sync::Mutex::new(()),
            last: watch::Sender::new(None),
            wake: Notify::new(),
        }
    }

    /// How far the cluster is from what it should hold, by the last pass.
    pub fn figures(&self) -> Figures {
        *self.figures.lock()
    }

    /// Has the loop look again soon: something outside of the log has changed.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What this node holds whole, for others to know where to ask first. Grows as the first pass goes on.
    pub fn held(&self) -> HeldDigest {
        self.known.lock().held()
    }

    /// Waits until everything this node holds is on as many other nodes as it should be. For a node that drains.
    pub async fn handed_over(&self) {
        let mut last = self.last.subscribe();
        last.mark_unchanged();
        // A pass that began before the call may have seen an older state.
        for _ in 0..2 {
            self.wake();
            if last.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        let is_over = |report: &Option<PassReport>| report.is_some_and(|r| r.figures.to_hand_over.nars == 0);
        if last.wait_for(is_over).await.is_err() {
            std::future::pending().await
        }
    }

    /// The members whose copies are made elsewhere, because they were away for `replication.repair_after`.
    fn away(&self, node: &Node) -> BTreeSet<NodeId> {
        let patience = node.config().replication.repair_after;
        self.known.lock().away(patience, node.clock().elapsed())
    }

    fn may_try(&self, nar: &NarHash, now: Elapsed) -> bool {
        self.failed.lock().may_try(nar, now)
    }

    fn note_failure(&self, nar: &NarHash, now: Elapsed) -> Duration {
        self.failed.lock().note(nar, now)
    }

    fn settle(&self, report: &PassReport) {
        self.last.send_replace(Some(*report));
    }

    /// A hold for what this node fetches itself; its pin outlives a fetch that fails, so that the next one goes on.
    fn own_lease(&self, node: &Node) -> Result<Lease, TooManyHolds> {
        let expires = node.clock().elapsed().plus(node.config().replication.hold_ttl);
        let lease = self.holds.lease(pass::random_hold(node), expires)?;
        node.store().touch(&lease.pin(), node.clock().utc());
        Ok(lease)
    }

    /// The NAR was read here.
    pub(crate) fn touch(&self, nar: &NarHash, now: Elapsed) {
        self.known.lock().touch(nar, now);
    }

    /// Whether the file that this node serves for the NAR is another one than its record describes.
    pub(crate) fn differs(&self, nar: &NarHash) -> bool {
        // Asked for each narinfo, and hardly ever so.
        self.any_differs.load(Ordering::Relaxed) && self.known.lock().differs(nar)
    }

    /// Adds up what is kept in memory.
    pub(crate) fn count_memory(&self, kept: &mut InMemory) {
        kept.holds = self.holds.len();
        kept.uploads_ahead = self.early.lock().len();
        kept.failures = self.failed.lock().len();
        self.known.lock().count_memory(kept);
    }

    /// What was found in the store may have changed.
    pub(crate) fn forget_local(&self) {
        self.known.lock().forget_all_local();
        self.wake();
    }

    /// Notes what a look at the local file of a NAR has found.
    pub(crate) fn note_local(&self, nar: &NarHash, differs: bool) {
        self.known.lock().note_complete(nar, differs);
        if differs {
            self.any_differs.store(true, Ordering::Relaxed);
        }
    }
}

impl Node {
    /// Looks once at every NAR, and fetches what this node should hold and lacks.
    ///
    /// # Errors
    /// When state or store cannot be read. That a fetch fails is no error: it is tried again.
    pub async fn replicate_once(&self) -> Result<PassReport, NodeError> {
        pass::run(self).await
    }
}

/// Looks again whenever something has changed, and now and then, until the node stops.
pub(crate) async fn run(node: Node) {
    let replication = node.replication();
    loop {
        let index = node.replica().applied_index();
        let (again, look, pause) = match pass::run(&node).await {
            Ok(report) => {
                let is_even = report.figures.under_replicated.nars == 0;
                let pause = if is_even { PAUSE_MAX } else { PAUSE_UNEVEN };
                (report.left > 0, report.look_took, pause)
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "replication could not look at everything");
                (false, PAUSE_MIN, PAUSE_MAX)
            }
        };
        tokio::time::sleep(PAUSE_MIN.max(look * PAUSE_PER_LOOK)).await;
        if again {
            continue;
        }
        tokio::select! {
            biased;
            applied = node.replica().wait_applied(index + 1) => {
                if let Err(error) = applied {
                    tracing::warn!(error = chain(&error), "replication ends with the replica");
                    return;
                }
            }
            () = replication.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the pin belongs to a hold that is still needed.
pub(crate) fn owns_pin(node: &Node, pin: &PinId) -> bool {
    node.replication().holds.owns(pin)
}

/// Forgets the holds that have ended and releases what they kept from collection.
pub(crate) async fn release_ended(node: &Node) -> Result<(), NodeError> {
    let now = node.clock().elapsed();
    let ended = node
        .replication()
        .holds
        .take_ended(now, node.replica().applied_index());
    if ended.is_empty() {
        return Ok(());
    }
    let store = node.store().clone();
    node.io()
        .run(move || ended.iter().for_each(|pin| store.unpin(pin)))
        .await?;
    Ok(())
}

/// The members as placement sees them.
fn membership(node: &Node, view: &StateView, away: &BTreeSet<NodeId>) -> Result<Membership, NodeError> {
    Ok(Membership::new(node.node_id(), &query::members(view)?, away))
}

/// Who may have a NAR, those most likely to first: its holders, who says so, who took it first, everybody else.
fn providers(
    node: &Node,
    membership: &Membership,
    nar: &NarHash,
    holders: &[NodeId],
    origin: NodeId,
) -> Vec<NodeId> {
    let me = membership.me();
    let others: BTreeSet<NodeId> = membership.others().collect();
    let mut providers: Vec<NodeId> = holders.to_vec();
    providers.extend(said_to_hold(node, nar));
    providers.push(origin);
    providers.extend(&others);
    let mut seen = BTreeSet::new();
    providers.retain(|provider| *provider != me && others.contains(provider) && seen.insert(*provider));
    // Those that do not answer come last: they may be back, and nobody else may have it.
    let known = node.replication().known.lock();
    providers.sort_by_key(|provider| !known.answers(provider));
    providers
}

/// The members whose last presence says that they hold the NAR.
fn said_to_hold(node: &Node, nar: &NarHash) -> Vec<NodeId> {
    let Some(gossip) = node.gossip() else {
        return Vec::new();
    };
    let presences = gossip.presences();
    let holding = presences
        .iter()
        .filter(|(_, seen)| seen.presence.held.contains(nar));
    holding.map(|(node, _)| *node).collect()
}

/// A NAR to be streamed while it is fetched.
pub(crate) struct Flight {
    /// Whom it is fetched from, best first.
    pub(crate) providers: Vec<NodeId>,
    /// Keeps what arrives from collection.
    pub(crate) lease: Lease,
}

/// Prepares fetching a NAR for a client that waits.
///
/// # Errors
/// When the state cannot be read, or too much is fetched at once.
pub(crate) fn prepare_flight(node: &Node, nar: &NarHash, record: &NarRecord) -> Result<Flight, NodeError> {
    let providers = find_providers(node, nar, record)?;
    let lease = node
        .replication()
        .own_lease(node)
        .map_err(|error| NodeError::Busy {
            why: error.to_string(),
        })?;
    Ok(Flight { providers, lease })
}

/// Whom a NAR may be had from, best first.
///
/// # Errors
/// When the state cannot be read.
pub(crate) fn find_providers(
    node: &Node,
    nar: &NarHash,
    record: &NarRecord,
) -> Result<Vec<NodeId>, NodeError> {
    let view = node.replica().view()?;
    let membership = membership(node, &view, &BTreeSet::new())?;
    let rules = CopyRules::read(&view, node.config().replication.copies)?;
    let holders = membership.holders(nar, rules.of(&view, nar)?);
    Ok(providers(node, &membership, nar, &holders, record.origin))
}

/// The lengths of the frames that a member serves for a NAR; `None` when it lacks some, or does not answer.
pub(crate) async fn layout_at(node: &Node, from: NodeId, manifest: ManifestHash) -> Option<Vec<u32>> {
    let request = PeerRequest::Layout { manifest };
    match ask::ask(node, from, &request, crate::peers::ASK_TIMEOUT).await {
        Ok(PeerResponse::Layout { frame_lens }) => Some(frame_lens).filter(|lens| !lens.is_empty()),
        Ok(_) | Err(_) => None,
    }
}
