//! Scrub on this node: everything stored is read back within `scrub.period`, and what is bad is fetched anew.
//!
//! Reading ([`tetryx_store::ScrubRound`]) and healing ([`heal`]) are two tasks: damage that a client's read has found is
//! healed as well.
//!
//! # Invariants
//! - One reader at a time: while somebody waits for `tetryx-node scrub --once`, the rounds in the background stand still.
//! - A round goes on after a restart where it was saved; what it had found by then is in quarantine.
//! - Reading never goes faster than `scrub.rate`, unless the node is out of reach of clients.
//!
//! # Non-goals
//! - Checking bytes: `tetryx-store`. Copies that this node lacks altogether: [`crate::replication`].

mod heal;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tetryx_protocol::time::Elapsed;
use tetryx_store::{ScrubDone, ScrubRound, ScrubStep};
use tokio::sync::Notify;

pub(crate) use self::heal::Hurt;
use crate::{Node, NodeError};

/// Bytes read at once; others have the disk in between.
const STEP: u64 = 1 << 20;
/// A round is saved whenever so much was read, or so much time has gone by.
const SAVE_BYTES: u64 = 64 << 20;
const SAVE_PAUSE: Duration = Duration::from_secs(60);
/// What is damaged is looked for so often, and whenever something was found.
const HEAL_PAUSE: Duration = Duration::from_secs(60);
/// As long as the same is damaged, it is not looked for again before.
const SURVEY_PAUSE: Duration = Duration::from_secs(10 * 60);
/// After a failure of the store.
const FAILED_PAUSE: Duration = Duration::from_secs(60);
/// The longest wait before clock and plan are looked at again.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Between two reports of how far a waited-for scrub is.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// NARs that a report names.
const NAMED_MAX: usize = 20;

/// What a node remembers of its scrubbing; one per node.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    /// The round that the background is in. Whoever reads holds it.
    round: tokio::sync::Mutex<Option<ScrubRound>>,
    /// One healer at a time.
    healing: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    progress: Option<ScrubProgress>,
    last: Option<ScrubDone>,
    hurt: Vec<Hurt>,
    /// Chunks and manifests that were healed since the node came up.
    healed: u64,
    /// How much damage there was at the last survey, and when that was.
    surveyed: Option<(Vec<tetryx_store::Object>, Elapsed)>,
}

/// How far a round is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubProgress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes there were to read when it began.
    pub bytes_total: u64,
    /// Chunks and manifests found damaged.
    pub found: u64,
}

/// What a whole scrub did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubSummary {
    /// Bytes read.
    pub bytes: u64,
    /// Chunks and manifests checked.
    pub records: u64,
    /// Chunks and manifests found damaged that were not known to be.
    pub found: u64,
    /// Chunks and manifests fetched anew meanwhile, whether for this or because a reader had found them.
    pub healed: u64,
    /// NARs of which something is still damaged.
    pub damaged_nars: u64,
    /// The first of them, each with what is wrong.
    pub damaged: Vec<String>,
}

/// What is known of the scrubbing, for status and metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) progress: Option<ScrubProgress>,
    pub(crate) last: Option<ScrubDone>,
    /// What is damaged and needed.
    pub(crate) hurt: Vec<Hurt>,
}

impl Scrub {
    pub(crate) fn standing(&self) -> Standing {
        let seen = self.seen.lock();
        Standing {
            progress: seen.progress,
            last: seen.last,
            hurt: seen.hurt.clone(),
        }
    }
}

/// Reads rounds in the background until the node stops.
pub(crate) async fn read_rounds(node: Node) {
    let period = node.config().scrub.period;
    if let Err(error) = recall(&node).await {
        tracing::warn!(error = error.chain(), "how far the scrub was cannot be read");
    }
    if period.is_zero() {
        return;
    }
    let mut rounds = Rounds::new(&node);
    loop {
        let pause = match rounds.go_on(&node).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::error!(error = error.chain(), "the scrub cannot read the store back");
                FAILED_PAUSE
            }
        };
        tokio::time::sleep(pause.min(WAIT_MAX)).await;
    }
}

/// Heals in the background until the node stops.
pub(crate) async fn heal_damage(node: Node) {
    loop {
        if let Err(error) = heal_once(&node).await {
            tracing::error!(error = error.chain(), "damage cannot be looked through");
        }
        tokio::select! {
            biased;
            () = node.scrub().wake.notified() => {}
            () = tokio::time::sleep(HEAL_PAUSE) => {}
        }
    }
}

/// What an earlier process knew.
async fn recall(node: &Node) -> Result<(), NodeError> {
    let store = Arc::clone(node.store());
    let recalled = node
        .io()
        .run(move || Ok::<_, NodeError>((store.saved_scrub()?, store.last_scrub()?)));
    let (round, last) = recalled.await??;
    let scrub = node.scrub();
    {
        let mut seen = scrub.seen.lock();
        seen.progress = round.as_ref().map(progress_of);
        seen.last = last;
    }
    if let Some(round) = &round {
        tracing::info!(
            bytes = round.bytes,
            of = round.bytes_total,
            "a scrub goes on where it was"
        );
    }
    *scrub.round.lock().await = round;
    Ok(())
}

/// The rounds of the background.
struct Rounds {
    saved_at: u64,
    saved: Elapsed,
    has_warned: bool,
}

impl Rounds {
    fn new(node: &Node) -> Self {
        Self {
            saved_at: 0,
            saved: node.clock().elapsed(),
            has_warned: false,
        }
    }

    /// Takes one step; how long to wait for the next.
    async fn go_on(&mut self, node: &Node) -> Result<Duration, NodeError> {
        let config = &node.config().scrub;
        let scrub = node.scrub();
        let mut turn = scrub.round.lock().await;
        let mut round = match turn.take() {
            Some(round) => round,
            None => {
                let last = scrub.seen.lock().last;
                let wait = last.map(|last| pace::next_round(last.begun, node.clock().utc(), config.period));
                if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                    return Ok(wait);
                }
                *self = Self::new(node);
                begin(node).await?
            }
        };
        let left = round.bytes_total.saturating_sub(round.bytes);
        let pace = pace::pace(
            left,
            round.begun,
            node.clock().utc(),
            config.period,
            config.rate.bytes(),
        );
        if !pace.is_enough && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                bytes_left = left,
                "this round of the scrub does not end within scrub.period at scrub.rate; raise one of them"
            );
        }
        let (walked, step) = step(node, round.clone()).await.inspect_err(|_| {
            // The next attempt begins where this one did.
            *turn = Some(round.clone());
        })?;
        round = walked;
        if step.is_over {
            end(node, &round).await?;
            return Ok(Duration::ZERO);
        }
        let is_due = round.bytes.saturating_sub(self.saved_at) >= SAVE_BYTES
            || node.clock().elapsed().saturating_sub(self.saved) >= SAVE_PAUSE
            || !step.damaged.is_empty();
        *turn = Some(round.clone());
        if is_due {
            (self.saved_at, self.saved) = (round.bytes, node.clock().elapsed());
            let store = Arc::clone(node.store());
            node.io().run(move || store.save_scrub(&round)).await??;
        }
        Ok(pace::time_for(step.bytes, pace.bytes_per_second))
    }
}

async fn begin(node: &Node) -> Result<ScrubRound, NodeError> {
    let store = Arc::clone(node.store());
    let now = node.clock().utc();
    let round = node.io().run(move || store.begin_scrub(now)).await??;
    node.scrub().seen.lock().progress = Some(progress_of(&round));
    Ok(round)
}

async fn step(node: &Node, mut round: ScrubRound) -> Result<(ScrubRound, ScrubStep), NodeError> {
    let store = Arc::clone(node.store());
    let stepped = node.io().run(move || {
        let step = store.scrub(&mut round, STEP)?;
        Ok::<_, NodeError>((round, step))
    });
    let (round, step) = stepped.await??;
    let metrics = node.metrics();
    metrics.scrubbed_bytes.inc_by(step.bytes);
    let scrub = node.scrub();
    scrub.seen.lock().progress = Some(progress_of(&round));
    if !step.damaged.is_empty() {
        metrics.scrub_found.inc_by(step.damaged.len() as u64);
        // Nobody may rely on what was found whole before.
        node.replication().forget_local();
        scrub.wake.notify_one();
    }
    Ok((round, step))
}

async fn end(node: &Node, round: &ScrubRound) -> Result<(), NodeError> {
    let (store, round, now) = (Arc::clone(node.store()), round.clone(), node.clock().utc());
    let done = node.io().run(move || store.end_scrub(&round, now)).await??;
    let mut seen = node.scrub().seen.lock();
    seen.progress = None;
    seen.last = Some(done);
    drop(seen);
    let metrics = node.metrics();
    metrics.scrubs.inc();
    metrics
        .last_scrub
        .set(u64::try_from(done.ended.unix_seconds()).unwrap_or(0));
    tracing::info!(
        bytes = done.bytes,
        records = done.records,
        found = done.found,
        "everything stored was read back"
    );
    Ok(())
}

/// Fetches anew what is damaged and needed, as far as others have it. How many chunks and manifests that were.
async fn heal_once(node: &Node) -> Result<u64, NodeError> {
    let scrub = node.scrub();
    let _one_at_a_time = scrub.healing.lock().await;
    let now = node.clock().elapsed();
    let damaged = node.store().damaged();
    let known = {
        let seen = scrub.seen.lock();
        let fresh = |at: Elapsed| now.saturating_sub(at) < SURVEY_PAUSE;
        match &seen.surveyed {
            Some((then, at)) if *then == damaged && fresh(*at) => Some(seen.hurt.clone()),
            _ => None,
        }
    };
    let hurt = match known {
        Some(hurt) => hurt,
        None => {
            let in_background = node.clone();
            let hurt = node.io().run(move || heal::survey(&in_background)).await??;
            report(node, &hurt);
            hurt
        }
    };
    scrub.seen.lock().hurt.clone_from(&hurt);
    let left = match hurt.is_empty() {
        true => hurt,
        false => heal::heal(node, hurt).await?,
    };
    let still = node.store().damaged();
    let healed = damaged.iter().filter(|object| !still.contains(object)).count() as u64;
    if healed > 0 {
        node.metrics().scrub_healed.inc_by(healed);
        tracing::info!(
            healed,
            "what was damaged on this disk was fetched anew, or is needed no longer"
        );
        node.replication().forget_local();
    }
    let mut seen = scrub.seen.lock();
    seen.healed += healed;
    seen.surveyed = Some((still, now));
    seen.hurt = left;
    Ok(healed)
}

/// Says what is newly known to be hurt.
fn report(node: &Node, hurt: &[Hurt]) {
    let known: Vec<_> = node
        .scrub()
        .seen
        .lock()
        .hurt
        .iter()
        .map(|known| known.nar)
        .collect();
    for hurt in hurt
        .iter()
        .filter(|hurt| !known.contains(&hurt.nar))
        .take(NAMED_MAX)
    {
        tracing::error!(
            nar = %hurt.nar,
            objects = hurt.objects.len(),
            "a NAR is damaged on this disk; fetching what is bad from other nodes"
        );
    }
}

impl Node {
    /// Reads everything back at once, and heals what is damaged, as far as others have it. `progress` is told now and
    /// then how far it is. Without a `rate` it goes as fast as the disk can.
    ///
    /// # Errors
    /// When the store cannot be read. Damage is no error, but in the summary.
    pub async fn scrub_once(
        &self,
        rate: Option<u64>,
        mut progress: impl FnMut(ScrubProgress),
    ) -> Result<ScrubSummary, NodeError> {
        let mut turn = self.scrub().round.lock().await;
        let healed_before = self.scrub().seen.lock().healed;
        let mut round = begin(self).await?;
        let mut told = self.clock().elapsed();
        loop {
            let (walked, step) = step(self, round).await?;
            round = walked;
            if step.is_over {
                break;
            }
            let now = self.clock().elapsed();
            if now.saturating_sub(told) >= PROGRESS_PAUSE {
                told = now;
                progress(progress_of(&round));
            }
            match rate {
                Some(rate) => tokio::time::sleep(pace::time_for(step.bytes, rate)).await,
                None => tokio::task::yield_now().await,
            }
        }
        end(self, &round).await?;
        *turn = None;
        drop(turn);
        while heal_once(self).await? > 0 {}
        let (hurt, healed) = {
            let seen = self.scrub().seen.lock();
            (seen.hurt.clone(), seen.healed - healed_before)
        };
        Ok(ScrubSummary {
            bytes: round.bytes,
            records: round.records,
            found: round.found,
            healed,
            damaged_nars: hurt.len() as u64,
            damaged: hurt.iter().take(NAMED_MAX).map(ToString::to_string).collect(),
        })
    }

    /// What is known of the scrubbing.
    pub(crate) fn scrub_standing(&self) -> Standing {
        self.scrub().standing()
    }
}

fn progress_of(round: &ScrubRound) -> ScrubProgress {
    ScrubProgress {
        bytes: round.bytes,
        bytes_total: round.bytes_total,
        found: round.found,
    }
}
