//! What this node keeps for others, and for itself while it fetches: pins of the store with an end.
//!
//! # Invariants
//! - A hold ends when its release names a log index and that is applied here, or when nobody has used it for the
//!   configured time; never while a request uses it.
//! - The pin of a hold bears the hold's id, so it is found again after a restart; it then goes the way of every pin
//!   that nobody owns ([`crate::collect`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tetryx_protocol::id::HoldId;
use tetryx_protocol::time::Elapsed;
use tetryx_store::PinId;

/// Holds at once. Each upload session anywhere takes one, each fetch another.
const HOLDS_MAX: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Holds {
    open: Arc<Mutex<BTreeMap<HoldId, Hold>>>,
}

#[derive(Debug)]
struct Hold {
    expires: Elapsed,
    /// The log index from which on it is not needed.
    until: Option<u64>,
    leases: usize,
}

/// This node keeps too much for others already.
#[derive(Debug, thiserror::Error)]
#[error(
    "this node holds chunks for {HOLDS_MAX} uploads, which is the limit; try again later, or another node"
)]
pub(super) struct TooManyHolds;

impl Holds {
    /// Opens the hold, or uses it again. It does not end before `expires`, nor while the lease lives.
    pub(super) fn lease(&self, id: HoldId, expires: Elapsed) -> Result<Lease, TooManyHolds> {
        let mut open = self.open.lock();
        if open.len() >= HOLDS_MAX && !open.contains_key(&id) {
            return Err(TooManyHolds);
        }
        let hold = open.entry(id).or_insert(Hold {
            expires,
            until: None,
            leases: 0,
        });
        hold.expires = hold.expires.max(expires);
        hold.until = None;
        hold.leases += 1;
        drop(open);
        Ok(Lease {
            open: Arc::clone(&self.open),
            id,
        })
    }

    /// Ends the hold once the log is applied up to `index`.
    pub(super) fn release(&self, id: &HoldId, index: u64) {
        if let Some(hold) = self.open.lock().get_mut(id) {
            hold.until = Some(index);
        }
    }

    /// Forgets the holds that have ended, and returns their pins for release.
    pub(super) fn take_ended(&self, now: Elapsed, applied: u64) -> Vec<PinId> {
        let mut ended = Vec::new();
        self.open.lock().retain(|id, hold| {
            let is_over = now >= hold.expires || hold.until.is_some_and(|until| applied >= until);
            let stays = hold.leases > 0 || !is_over;
            if !stays {
                ended.push(pin_of(id));
            }
            stays
        });
        ended
    }

    /// How many there are, those included that have ended and are not forgotten yet.
    pub(super) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Whether the pin is that of a hold.
    pub(super) fn owns(&self, pin: &PinId) -> bool {
        self.open.lock().contains_key(&HoldId::from_bytes(pin.0))
    }
}

pub(super) fn pin_of(id: &HoldId) -> PinId {
    PinId(*id.as_bytes())
}

/// A hold in use. Dropping it ends the use.
#[derive(Debug)]
pub(crate) struct Lease {
    open: Arc<Mutex<BTreeMap<HoldId, Hold>>>,
    id: HoldId,
}

impl Lease {
    pub(crate) fn pin(&self) -> PinId {
        pin_of(&self.id)
    }

    /// Lets the hold end with the lease, for a fetch that has come to its end.
    pub(crate) fn finish(&self) {
        if let Some(hold) = self.open.lock().get_mut(&self.id) {
            hold.until = Some(0);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(hold) = self.open.lock().get_mut(&self.id) {
            hold.leases -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HoldId = HoldId::from_bytes([7; 16]);

    fn at(seconds: u64) -> Elapsed {
        Elapsed::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_released_hold_stays_until_its_record_is_applied() {
        let holds = Holds::default();
        drop(holds.lease(ID, at(600)).unwrap());
        holds.release(&ID, 10);
        assert!(holds.take_ended(at(1), 9).is_empty());
        assert!(holds.owns(&pin_of(&ID)));
        assert_eq!(holds.take_ended(at(1), 10), [pin_of(&ID)]);
        assert!(!holds.owns(&pin_of(&ID)));
    }

    #[test]
    fn a_hold_that_nobody_releases_runs_out_but_not_while_it_is_used() {
        let holds = Holds::default();
        let lease = holds.lease(ID, at(600)).unwrap();
        assert!(holds.take_ended(at(601), 0).is_empty());
        drop(lease);
        drop(holds.lease(ID, at(1200)).unwrap());
        assert!(holds.take_ended(at(1199), u64::MAX).is_empty());
        assert_eq!(holds.take_ended(at(1200), 0), [pin_of(&ID)]);
    }

    #[test]
    fn a_hold_that_is_asked_for_again_forgets_its_release() {
        let holds = Holds::default();
        drop(holds.lease(ID, at(600)).unwrap());
        holds.release(&ID, 1);
        let lease = holds.lease(ID, at(600)).unwrap();
        assert!(holds.take_ended(at(1), 5).is_empty());
        lease.finish();
        assert!(holds.take_ended(at(1), 5).is_empty());
        drop(lease);
        assert_eq!(holds.take_ended(at(1), 5), [pin_of(&ID)]);
    }

    #[test]
    fn there_is_a_limit_and_it_spares_those_that_are_known() {
        let holds = Holds::default();
        for n in 0..HOLDS_MAX as u128 {
            drop(holds.lease(HoldId::from_bytes(n.to_le_bytes()), at(600)).unwrap());
        }
        assert!(holds.lease(HoldId::from_bytes([0xff; 16]), at(600)).is_err());
        assert!(
            holds
                .lease(HoldId::from_bytes(5_u128.to_le_bytes()), at(600))
                .is_ok()
        );
    }
}
