//! When to dial which member: the part of gossip that makes a split overlay whole again.
//!
//! Every member that is not connected is dialled, first after [`Timing::redial_min`], then at intervals that double up
//! to [`Timing::redial_max`], for as long as it is a member. Two members that lost each other at the same moment dial
//! at slightly different moments (a fixed part of the interval that depends on the pair), so that they rarely meet.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

use crate::Timing;

/// The state of every member that should be connected.
#[derive(Debug)]
pub(crate) struct Dialling {
    own: NodeId,
    min: Duration,
    max: Duration,
    members: BTreeMap<NodeId, Contact>,
}

#[derive(Debug, Clone, Copy)]
struct Contact {
    state: State,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be dialled at that time.
    Waiting(Elapsed),
    /// An attempt is under way.
    Dialling,
    Connected,
}

impl Dialling {
    pub(crate) const fn new(own: NodeId, timing: &Timing) -> Self {
        Self {
            own,
            min: timing.redial_min,
            max: timing.redial_max,
            members: BTreeMap::new(),
        }
    }

    /// Takes over who should be connected. New ones are due at once; those gone are forgotten.
    pub(crate) fn set_members(&mut self, members: impl IntoIterator<Item = NodeId>, now: Elapsed) {
        let mut old = std::mem::take(&mut self.members);
        for node in members {
            if node != self.own {
                let fresh = Contact {
                    state: State::Waiting(now),
                    failures: 0,
                };
                self.members.insert(node, old.remove(&node).unwrap_or(fresh));
            }
        }
    }

    /// The members to dial now. Each is then under way until [`Self::connected`] or [`Self::failed`].
    pub(crate) fn due(&mut self, now: Elapsed) -> Vec<NodeId> {
        let mut due = Vec::new();
        for (node, contact) in &mut self.members {
            if matches!(contact.state, State::Waiting(at) if at <= now) {
                contact.state = State::Dialling;
                due.push(*node);
            }
        }
        due
    }

    /// The member is connected, whoever dialled.
    pub(crate) fn connected(&mut self, node: &NodeId) {
        if let Some(contact) = self.members.get_mut(node) {
            *contact = Contact {
                state: State::Connected,
                failures: 0,
            };
        }
    }

    /// The last connection with the member is gone.
    pub(crate) fn disconnected(&mut self, node: &NodeId, now: Elapsed) {
        let wait = self.spread(node, self.min);
        if let Some(contact) = self.members.get_mut(node) {
            contact.state = State::Waiting(now.plus(wait));
        }
    }

    /// An attempt failed. Without effect unless one was under way. How long until the next one.
    pub(crate) fn failed(&mut self, node: &NodeId, now: Elapsed) -> Option<Duration> {
        let contact = self.members.get(node)?;
        if contact.state != State::Dialling {
            return None;
        }
        let doubled = self
            .min
            .saturating_mul(1_u32.checked_shl(contact.failures).unwrap_or(u32::MAX));
        let wait = self.spread(node, doubled.min(self.max));
        let contact = self.members.get_mut(node)?;
        contact.failures = contact.failures.saturating_add(1);
        contact.state = State::Waiting(now.plus(wait));
        Some(wait)
    }

    /// News of the member, such as a new address: dial it now if it is waiting.
    pub(crate) fn hurry(&mut self, node: &NodeId, now: Elapsed) {
        if let Some(contact) = self.members.get_mut(node)
            && matches!(contact.state, State::Waiting(_))
        {
            contact.state = State::Waiting(now);
        }
    }

    /// Three to four quarters of a wait, by a number that differs between the two ends of a pair.
    fn spread(&self, node: &NodeId, wait: Duration) -> Duration {
        let [own, other] = [self.own.as_bytes()[31], node.as_bytes()[30]];
        let part = u32::from(own.wrapping_mul(31).wrapping_add(other));
        wait - wait / 4 * part / 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId::from_bytes([1; 32]);
    const OTHER: NodeId = NodeId::from_bytes([2; 32]);

    fn dialling() -> Dialling {
        let mut dialling = Dialling::new(OWN, &Timing::for_rtt(Duration::from_millis(1)));
        dialling.set_members([OWN, OTHER], Elapsed::ZERO);
        dialling
    }

    #[test]
    fn every_member_but_oneself_is_dialled_at_once() {
        assert_eq!(dialling().due(Elapsed::ZERO), [OTHER]);
    }

    #[test]
    fn a_member_that_is_away_is_dialled_for_ever_at_growing_but_bounded_intervals() {
        let mut dialling = dialling();
        let timing = Timing::for_rtt(Duration::from_millis(1));
        let mut now = Elapsed::ZERO;
        for attempt in 0..200 {
            assert_eq!(dialling.due(now), [OTHER], "attempt {attempt}");
            assert!(
                dialling.due(now.plus(timing.redial_max)).is_empty(),
                "one at a time"
            );
            let wait = dialling.failed(&OTHER, now).expect("an attempt was under way");
            assert!(wait <= timing.redial_max && wait >= timing.redial_min / 2);
            now = now.plus(wait);
        }
    }

    #[test]
    fn a_lost_connection_is_dialled_again_soon_however_often_it_failed_before() {
        let mut dialling = dialling();
        let mut now = Elapsed::ZERO;
        for _ in 0..10 {
            dialling.due(now);
            now = now.plus(dialling.failed(&OTHER, now).expect("under way"));
        }
        dialling.connected(&OTHER);
        assert!(dialling.due(now.plus(Duration::from_secs(3_600))).is_empty());
        dialling.disconnected(&OTHER, now);
        assert_eq!(dialling.due(now.plus(Duration::from_secs(1))), [OTHER]);
    }

    #[test]
    fn who_is_no_longer_a_member_is_no_longer_dialled() {
        let mut dialling = dialling();
        dialling.set_members([OWN], Elapsed::ZERO);
        assert!(dialling.due(Elapsed::ZERO).is_empty());
        assert_eq!(dialling.failed(&OTHER, Elapsed::ZERO), None);
    }

    #[test]
    fn news_of_a_waiting_member_has_it_dialled_now() {
        let mut dialling = dialling();
        dialling.due(Elapsed::ZERO);
        dialling.hurry(&OTHER, Elapsed::ZERO);
        assert!(dialling.due(Elapsed::ZERO).is_empty(), "it is under way");
        dialling.failed(&OTHER, Elapsed::ZERO);
        dialling.hurry(&OTHER, Elapsed::ZERO);
        assert_eq!(dialling.due(Elapsed::ZERO), [OTHER]);
    }
}
