//! What members are charged for misbehaving, and when that is enough.
//!
//! # Invariants
//! - Charges fade, one point in [`FADE`], so that rare accidents never add up.
//! - A member that is let back in after its penalty begins with half of what drops it.

use std::collections::BTreeMap;
use std::time::Duration;

use tetryx_protocol::id::NodeId;
use tetryx_protocol::time::Elapsed;

/// Points that drop a member.
const LIMIT: u64 = 10 * POINT;
/// One point, in the thousandths that the account is kept in.
const POINT: u64 = 1_000;
/// How long it takes one point to fade.
const FADE: Duration = Duration::from_secs(10);

/// What a member may be charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offence {
    /// Sent a message that is no presence.
    Garbage,
    /// Sent a presence that speaks of another node than its author.
    Spoofed,
    /// Sent more than the overlay's members together may say.
    Flood,
    /// Sent an own presence older than one it had sent before.
    Backwards,
    /// Claimed to hold what it does not hold, beyond doubt and error.
    FalseClaim,
    /// Broke gossipsub's own rules: bad signatures, broken promises.
    Protocol,
}

impl Offence {
    const fn points(self) -> u64 {
        match self {
            Self::Garbage => 3 * POINT,
            Self::Spoofed => 5 * POINT,
            Self::FalseClaim => 6 * POINT,
            Self::Flood | Self::Backwards => POINT,
            Self::Protocol => LIMIT,
        }
    }

    /// In words, for the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "messages that are no presence",
            Self::Spoofed => "presences of other nodes",
            Self::Flood => "a flood of messages",
            Self::Backwards => "presences that go backwards",
            Self::FalseClaim => "claims to hold what it does not hold",
            Self::Protocol => "messages that break gossipsub's rules",
        }
    }
}

/// The accounts of all members.
#[derive(Debug)]
pub(crate) struct Conduct {
    penalty: Duration,
    accounts: BTreeMap<NodeId, Account>,
}

#[derive(Debug)]
struct Account {
    points: u64,
    at: Elapsed,
    dropped_until: Option<Elapsed>,
}

impl Conduct {
    pub(crate) const fn new(penalty: Duration) -> Self {
        Self {
            penalty,
            accounts: BTreeMap::new(),
        }
    }

    /// Charges a member. True if that drops it now; a dropped one is not charged again.
    pub(crate) fn charge(&mut self, node: NodeId, offence: Offence, now: Elapsed) -> bool {
        if self.is_dropped(&node, now) {
            return false;
        }
        let account = self.accounts.entry(node).or_insert(Account {
            points: 0,
            at: now,
            dropped_until: None,
        });
        let faded =
            now.saturating_sub(account.at).as_millis() / FADE.as_millis().div_euclid(u128::from(POINT));
        account.points = account
            .points
            .saturating_sub(u64::try_from(faded).unwrap_or(u64::MAX))
            .saturating_add(offence.points());
        account.at = now;
        let enough = account.points >= LIMIT;
        if enough {
            account.dropped_until = Some(now.plus(self.penalty));
            account.points = LIMIT / 2;
        }
        enough
    }

    /// Whether the member is serving a penalty.
    pub(crate) fn is_dropped(&self, node: &NodeId, now: Elapsed) -> bool {
        let account = self.accounts.get(node);
        account.is_some_and(|account| account.dropped_until.is_some_and(|until| now < until))
    }

    /// Forgets everybody but members.
    pub(crate) fn retain(&mut self, is_member: impl Fn(&NodeId) -> bool) {
        self.accounts.retain(|node, _| is_member(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([7; 32]);
    const PENALTY: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Elapsed {
        Elapsed::ZERO.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_few_offences_in_a_row_drop_a_member() {
        let mut conduct = Conduct::new(PENALTY);
        let dropped: Vec<_> = (0..4)
            .map(|_| conduct.charge(NODE, Offence::Garbage, at(1)))
            .collect();
        assert_eq!(dropped, [false, false, false, true]);
        assert!(conduct.is_dropped(&NODE, at(1)));
    }

    #[test]
    fn rare_accidents_never_add_up() {
        let mut conduct = Conduct::new(PENALTY);
        for round in 0..1_000 {
            assert!(!conduct.charge(NODE, Offence::Garbage, at(round * 31)));
        }
    }

    #[test]
    fn a_dropped_member_is_let_back_in_and_dropped_again_sooner() {
        let mut conduct = Conduct::new(PENALTY);
        assert!(conduct.charge(NODE, Offence::Protocol, at(0)));
        assert!(conduct.is_dropped(&NODE, at(599)));
        assert!(!conduct.is_dropped(&NODE, at(600)));
        let mut short = Conduct::new(Duration::from_secs(1));
        short.charge(NODE, Offence::Protocol, at(0));
        assert!(short.charge(NODE, Offence::Spoofed, at(1)) || short.charge(NODE, Offence::Spoofed, at(1)));
    }

    #[test]
    fn one_members_charges_are_nobody_elses() {
        let mut conduct = Conduct::new(PENALTY);
        conduct.charge(NODE, Offence::Protocol, at(0));
        assert!(!conduct.is_dropped(&NodeId::from_bytes([8; 32]), at(0)));
    }
}
