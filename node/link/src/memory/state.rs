//! What the hub knows, and what it decides at each departure and each arrival.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tokio::time::Instant;

use super::freeze::Gate;
use super::observe::{Observer, Tamper};
use super::pipe::PipeBreaker;
use super::seat::Seat;
use super::weather::{Conditions, Tally};
use crate::header::Kind;

/// What it takes to notice that a packet was lost, beyond a round trip: QUIC's longest delay of an acknowledgement.
const NOTICE_LOSS: Duration = Duration::from_millis(25);

/// The most times that one message is lost.
const LOST_IN_A_ROW_MAX: u32 = 8;

/// A stream that breaks does so within this many pieces.
const BREAKS_WITHIN_PIECES: u32 = 8;

/// How far ahead long messages may fill the queue of a path with a rate.
const QUEUE_MAX: Duration = Duration::from_millis(100);

/// How many slices of a long message a path with a rate carries in a second.
const SLICES_PER_SECOND: u64 = 20;

/// The least that is sent at once: a packet.
const SLICE_BYTES_MIN: u64 = 1200;

pub(super) struct HubState {
    pub(super) nodes: BTreeMap<NodeId, Arc<Seat>>,
    pub(super) paths: BTreeMap<(NodeId, NodeId), Path>,
    pub(super) latency: Duration,
    pub(super) weather: Option<Conditions>,
    pub(super) failure_after: Duration,
    pub(super) frozen: BTreeMap<NodeId, Arc<Gate>>,
    pub(super) chance: fastrand::Rng,
    pub(super) tally: Tally,
    pub(super) observer: Option<Observer>,
    pub(super) tamper: Option<Arc<dyn Tamper>>,
}

/// The way from one node to another.
#[derive(Default)]
pub(super) struct Path {
    pub(super) latency: Option<Duration>,
    pub(super) weather: Option<Conditions>,
    pub(super) pipes: Vec<PipeBreaker>,
    /// Counts up with each cut and each mending. Odd: cut now.
    cuts: u64,
    /// When everything will have left that is queued here.
    busy_until: Option<Instant>,
    /// Calls that left.
    departed: u64,
    /// The highest number of a call that arrived.
    arrived: u64,
}

/// Why something cannot leave or arrive now.
#[derive(Debug)]
pub(super) enum Held {
    /// A node is frozen.
    Frozen(Arc<Gate>),
    /// The path's queue is full.
    Until(Instant),
}

impl Held {
    pub(super) async fn pass(self) {
        match self {
            Self::Frozen(gate) => gate.passed().await,
            Self::Until(at) => tokio::time::sleep_until(at).await,
        }
    }
}

/// A call or the opening of a stream that has left.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) delay: Duration,
    pub(super) fate: Fate,
    /// How much later it arrives again.
    pub(super) again: Option<Duration>,
    /// Whether there is weather: then it arrives though the caller has given up.
    pub(super) in_weather: bool,
    /// The number of the call among those of its path.
    call: Option<u64>,
    cuts: u64,
}

/// What has left of an answer or of a stream.
pub(super) struct Sent {
    pub(super) bytes: usize,
    pub(super) delay: Duration,
    pub(super) tamper: Option<Arc<dyn Tamper>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Safe,
    /// The connection breaks before it arrives.
    BreaksBefore,
    /// The connection breaks after it arrived.
    BreaksAfter,
}

/// Where a call or the opening of a stream ends up.
pub(super) enum Arrival {
    Cut,
    Nobody,
    At(Arc<Seat>, Option<Observer>),
}

impl Default for HubState {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            paths: BTreeMap::new(),
            latency: Duration::ZERO,
            weather: None,
            failure_after: Duration::ZERO,
            frozen: BTreeMap::new(),
            chance: fastrand::Rng::with_seed(0),
            tally: Tally::default(),
            observer: None,
            tamper: None,
        }
    }
}

impl Path {
    pub(super) fn set_cut(&mut self, cut: bool) {
        self.cuts += u64::from(self.is_cut() != cut);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cuts % 2 == 1
    }

    /// Forgets what is queued: it is on its way.
    pub(super) fn empty_queue(&mut self) {
        self.busy_until = None;
    }

    /// Queues bytes; returns how long from now until they have left.
    fn queue(&mut self, bytes: usize, rate: u64) -> Duration {
        let now = now();
        let begins = self.busy_until.map_or(now, |busy| busy.max(now));
        let nanos = (bytes as u128 * 1_000_000_000) / u128::from(rate.max(1));
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
        let done = begins + takes;
        self.busy_until = Some(done);
        done - now
    }

    /// When the queue is short enough for more of a long message; `None` if it is now.
    fn full_until(&self) -> Option<Instant> {
        let busy = self.busy_until?;
        (busy > now() + QUEUE_MAX).then(|| busy - QUEUE_MAX)
    }
}

impl HubState {
    pub(super) fn path(&mut self, from: NodeId, to: NodeId) -> &mut Path {
        self.paths.entry((from, to)).or_default()
    }

    /// The conditions on a path, and whether they are weather.
    fn conditions(&self, from: NodeId, to: NodeId) -> (Conditions, bool) {
        let path = self.paths.get(&(from, to));
        let latency = || path.and_then(|path| path.latency).unwrap_or(self.latency);
        match path.and_then(|path| path.weather).or(self.weather) {
            Some(weather) => (weather, true),
            None => (
                Conditions {
                    latency: latency(),
                    ..Conditions::default()
                },
                false,
            ),
        }
    }

    /// What a message takes on average, without losses and queues.
    pub(super) fn latency(&self, from: NodeId, to: NodeId) -> Duration {
        let (conditions, _) = self.conditions(from, to);
        conditions.latency + conditions.jitter / 2
    }

    /// The gate of a node if it is frozen; whoever asks is counted as held.
    pub(super) fn held_by(&mut self, node: NodeId) -> Option<Arc<Gate>> {
        // The usual case costs no lookup.
        if self.frozen.is_empty() {
            return None;
        }
        let gate = self.frozen.get(&node)?;
        self.tally.frozen += 1;
        Some(gate.clone())
    }

    /// Sends as much of a message of `left` bytes as can leave now.
    ///
    /// # Errors
    /// What to wait for before the rest can leave.
    pub(super) fn depart(
        &mut self,
        (from, to): (NodeId, NodeId),
        kind: Kind,
        left: &mut usize,
    ) -> Result<Departure, Held> {
        let (conditions, in_weather) = self.leave(from, to, left)?;
        let delay = self.travel(from, to, &conditions);
        let mut fate = Fate::Safe;
        if self.hits(conditions.break_permille) {
            fate = if self.chance.bool() {
                Fate::BreaksBefore
            } else {
                Fate::BreaksAfter
            };
        }
        let again = self
            .hits(conditions.duplicate_permille)
            .then(|| self.up_to(conditions.jitter));
        let path = self.path(from, to);
        path.departed += u64::from(kind == Kind::Call);
        Ok(Departure {
            delay,
            fate,
            again,
            in_weather,
            call: (kind == Kind::Call).then_some(path.departed),
            cuts: path.cuts,
        })
    }

    /// Sends as much of an answer as can leave now; says how long the last of it takes, and who may change it.
    ///
    /// # Errors
    /// What to wait for before the rest can leave.
    pub(super) fn answer(&mut self, from: NodeId, to: NodeId, left: &mut usize) -> Result<Sent, Held> {
        let bytes = *left;
        let (conditions, _) = self.leave(from, to, left)?;
        Ok(Sent {
            bytes,
            delay: self.travel(from, to, &conditions),
            tamper: self.tamper.clone(),
        })
    }

    /// Sends a piece of a stream, or as much of it as leaves at once.
    ///
    /// # Errors
    /// What to wait for before any of it can leave.
    pub(super) fn piece(&mut self, from: NodeId, to: NodeId, wanted: usize) -> Result<Sent, Held> {
        if let Some(gate) = self.held_by(from) {
            return Err(Held::Frozen(gate));
        }
        let (mut conditions, _) = self.conditions(from, to);
        let mut bytes = wanted;
        if let Some(rate) = conditions.rate {
            let path = self.path(from, to);
            if let Some(at) = path.full_until() {
                return Err(Held::Until(at));
            }
            bytes = bytes.min(slice_bytes(rate));
            conditions.latency += path.queue(bytes, rate);
        }
        Ok(Sent {
            bytes,
            delay: self.travel(from, to, &conditions),
            tamper: self.tamper.clone(),
        })
    }

    /// How long it takes until the last of what has no size arrives, though the sender be frozen.
    pub(super) fn trailing(&mut self, from: NodeId, to: NodeId) -> Duration {
        let (conditions, _) = self.conditions(from, to);
        let queued = match conditions.rate {
            Some(rate) => self.path(from, to).queue(0, rate),
            None => Duration::ZERO,
        };
        queued + self.travel(from, to, &conditions)
    }

    fn leave(&mut self, from: NodeId, to: NodeId, left: &mut usize) -> Result<(Conditions, bool), Held> {
        if let Some(gate) = self.held_by(from) {
            return Err(Held::Frozen(gate));
        }
        let (mut conditions, in_weather) = self.conditions(from, to);
        if let Some(rate) = conditions.rate {
            let slice = slice_bytes(rate);
            let path = self.path(from, to);
            // What is short goes to the end of the queue at once; what is long waits until that is near.
            if *left > slice {
                if let Some(at) = path.full_until() {
                    return Err(Held::Until(at));
                }
                path.queue(slice, rate);
                *left -= slice;
                let at = path.full_until().unwrap_or_else(now);
                return Err(Held::Until(at));
            }
            conditions.latency += path.queue(*left, rate);
        }
        *left = 0;
        Ok((conditions, in_weather))
    }

    /// How long a message takes that leaves now.
    fn travel(&mut self, from: NodeId, to: NodeId, conditions: &Conditions) -> Duration {
        let mut delay = conditions.latency + self.up_to(conditions.jitter);
        for _ in 0..LOST_IN_A_ROW_MAX {
            if !self.hits(conditions.loss_permille) {
                break;
            }
            self.tally.lost += 1;
            delay += self.latency(from, to) + self.latency(to, from) + NOTICE_LOSS;
        }
        delay
    }

    /// Where a call or the opening of a stream arrives now. `late`: whether the caller has given up.
    ///
    /// # Errors
    /// The gate of the receiver if it is frozen; what is held there has arrived, and no cut can stop it any more.
    pub(super) fn arrive(
        &mut self,
        (from, to): (NodeId, NodeId),
        departure: &Departure,
        late: bool,
    ) -> Result<Arrival, Held> {
        let path = self.path(from, to);
        if departure.cuts % 2 == 1 || path.cuts != departure.cuts {
            self.tally.cut += 1;
            return Ok(Arrival::Cut);
        }
        if let Some(number) = departure.call {
            let overtaken = number < path.arrived;
            path.arrived = path.arrived.max(number);
            self.tally.calls += 1;
            self.tally.late += u64::from(late);
            self.tally.overtaken += u64::from(overtaken);
        }
        self.look_up(to)
    }

    /// Whether an answer that arrives now is lost in a cut, and who sees it if it is not.
    pub(super) fn answer_arrives(&mut self, from: NodeId, to: NodeId) -> (bool, Option<Observer>) {
        let cut = self.is_cut(from, to);
        self.tally.cut += u64::from(cut);
        (cut, self.observer.clone())
    }

    /// Who is at the node now.
    ///
    /// # Errors
    /// The gate of the node if it is frozen.
    pub(super) fn look_up(&mut self, to: NodeId) -> Result<Arrival, Held> {
        if let Some(gate) = self.held_by(to) {
            return Err(Held::Frozen(gate));
        }
        Ok(match self.nodes.get(&to) {
            Some(seat) => Arrival::At(seat.clone(), self.observer.clone()),
            None => Arrival::Nobody,
        })
    }

    /// Whether a message that arrives now is lost in a cut.
    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.paths.get(&(from, to)).is_some_and(Path::is_cut)
    }

    /// The number of pieces after which a stream breaks, drawn for one that is opened now.
    pub(super) fn pieces_until_break(&mut self) -> u32 {
        self.chance.u32(1..=BREAKS_WITHIN_PIECES)
    }

    fn hits(&mut self, permille: u32) -> bool {
        permille > 0 && self.chance.u32(0..1000) < permille
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            return most;
        }
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.chance.u64(0..=nanos))
    }
}

fn slice_bytes(rate: u64) -> usize {
    let slice = (rate / SLICES_PER_SECOND).max(SLICE_BYTES_MIN);
    usize::try_from(slice).unwrap_or(usize::MAX)
}

/// The runtime's time, which a simulation pauses.
#[expect(
    clippy::disallowed_methods,
    reason = "latency is the runtime's time, as that of tokio::time::sleep"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
