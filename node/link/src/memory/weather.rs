//! What can happen to what travels, and how often it did.

use std::time::Duration;

use tetryx_protocol::id::NodeId;

use super::Hub;

/// The weather on a directed path. The default is calm: nothing takes time, and nothing happens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// What every message takes, one way. Counts in place of [`Hub::set_latency`]'s.
    pub latency: Duration,
    /// Every message takes up to this much more, evenly drawn: calls and streams overtake one another. Within a
    /// stream, bytes keep their order.
    pub jitter: Duration,
    /// How many of a thousand packets get lost. That costs time, never bytes: the call, the answer or the piece of a
    /// stream comes a round trip and the time to notice later, or twice that if it is lost again.
    pub loss_permille: u32,
    /// How many of a thousand calls and streams lose their connection. Half of these calls are
    /// [`Unreachable`](crate::LinkError::Unreachable); the others were carried out, and end with
    /// [`NoAnswer`](crate::LinkError::NoAnswer). A stream breaks at one of its first pieces.
    pub break_permille: u32,
    /// How many of a thousand calls reach the handler twice, as a retry and its original do; the second one at once
    /// or up to `jitter` later. Its answer goes nowhere.
    pub duplicate_permille: u32,
    /// Bytes per second, shared by everything on the path. Long bodies and streams give way to others every
    /// 50 ms, and leave at most about 150 ms of the path's time queued, as a fair sender does.
    pub rate: Option<u64>,
}

/// How often each fault happened at a hub since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that arrived, not counting second deliveries.
    pub calls: u64,
    /// Calls among these whose caller had given up before they arrived.
    pub late: u64,
    /// Packets that were lost and sent again.
    pub lost: u64,
    /// Calls and streams that lost their connection to the weather.
    pub broken: u64,
    /// Calls that were delivered twice.
    pub duplicated: u64,
    /// Calls that arrived after one that had left later on the same directed path.
    pub overtaken: u64,
    /// Calls, answers and pieces of streams that had to wait for a frozen node.
    pub frozen: u64,
    /// Calls, answers and streams that ended in a cut.
    pub cut: u64,
}

impl Hub {
    /// As [`Hub::new`], with draws that follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let hub = Self::new();
        hub.set_seed(seed);
        hub
    }

    /// Has all later draws follow from `seed`.
    pub fn set_seed(&self, seed: u64) {
        self.state.lock().chance = fastrand::Rng::with_seed(seed);
    }

    /// The weather between two nodes, in both directions.
    pub fn set_weather(&self, a: NodeId, b: NodeId, conditions: Conditions) {
        self.set_weather_one_way(a, b, conditions);
        self.set_weather_one_way(b, a, conditions);
    }

    /// The weather in one direction. What is on its way arrives when it would have; what leaves from now on does not
    /// queue behind it.
    pub fn set_weather_one_way(&self, from: NodeId, to: NodeId, conditions: Conditions) {
        let mut state = self.state.lock();
        let path = state.path(from, to);
        path.weather = Some(conditions);
        path.empty_queue();
    }

    /// The weather between any two nodes, unless [`Hub::set_weather`] says otherwise.
    pub fn set_weather_everywhere(&self, conditions: Conditions) {
        let mut state = self.state.lock();
        state.weather = Some(conditions);
        for path in state.paths.values_mut() {
            path.empty_queue();
        }
    }

    /// Ends all weather.
    pub fn clear_weather(&self) {
        let mut state = self.state.lock();
        state.weather = None;
        for path in state.paths.values_mut() {
            path.weather = None;
            path.empty_queue();
        }
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        self.state.lock().tally
    }
}
