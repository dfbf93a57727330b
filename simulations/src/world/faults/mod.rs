//! What goes wrong in a world: one injector for each fault that the seed switched on, each with a stream of chance of its
//! own.
//!
//! # Invariants
//! - A fault is counted when it took effect, not when it was attempted: a cut when something was lost in it, a torn
//!   write when a write was torn. An injector tries again, soon, until its fault has happened once.
//! - No more goes wrong than the product promises to survive. At most one station at a time holds or tells what is not
//!   true, or has lost its disk ([`atlas`]). Power cuts hit as many stations as they like, all of them included: what
//!   was acknowledged was synced. Bits flip in packs only: a damaged log, state or outbox is refused in words, and
//!   surviving that is not promised. A station that is a member says of consensus, of what it holds durably for a push
//!   and of the members what is true: nothing protects from a member that lies about these.
//! - Whatever an injector switches on, [`end`] switches off.
//!
//! # Non-goals
//! - Losses, duplicates and reordering: they are the nature of the links ([`super::weather`]).

mod atlas;
mod bit_flip;
mod blackout;
mod clock_drift;
mod clock_offset;
mod crash;
mod cuts;
mod failing_sync;
mod full_cut;
mod full_disk;
mod liar;
mod lies;
mod lost_disk;
mod membership;
mod mid_write;
mod one_way_cut;
mod operators;
mod pace;
mod pause;
mod slow_disk;
mod targets;
#[cfg(test)]
mod tests;
mod torn_write;
mod upgrade;

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinSet;

pub(crate) use self::atlas::Atlas;
use self::cuts::Cuts;
use super::{Fault, World};

/// How long whoever waits for an answer waits in vain once a path is cut or a machine is gone: nothing, where the other
/// machine refuses the packets, up to the silence after which QUIC gives up.
const NOTICED_AFTER: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
];

/// What the faults of a world have in common.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    atlas: Mutex<Atlas>,
    cuts: Mutex<Cuts>,
}

impl Trouble {
    /// Who may hold or tell what is not true.
    pub(crate) fn atlas(&self) -> MutexGuard<'_, Atlas> {
        self.atlas.lock()
    }
}

/// Starts the injector of each fault of the plan. They work until they are aborted.
pub(crate) fn start(world: &World) -> JoinSet<()> {
    let noticed_after = world
        .chance("how long a cut goes unnoticed")
        .usize(0..NOTICED_AFTER.len());
    world.hub().set_failure_after(NOTICED_AFTER[noticed_after]);
    let mut tasks = JoinSet::new();
    for fault in &world.plan().faults {
        let world = world.clone();
        match fault {
            Fault::Loss | Fault::Reordering | Fault::Duplicates => continue,
            Fault::OneWayCut => tasks.spawn(one_way_cut::run(world)),
            Fault::FullCut => tasks.spawn(full_cut::run(world)),
            Fault::Blackout => tasks.spawn(blackout::run(world)),
            Fault::Crash => tasks.spawn(crash::run(world)),
            Fault::CrashMidWrite => tasks.spawn(mid_write::run(world)),
            Fault::TornWrite => tasks.spawn(torn_write::run(world)),
            Fault::BitFlip => tasks.spawn(bit_flip::run(world)),
            Fault::LostDisk => tasks.spawn(lost_disk::run(world)),
            Fault::DiskFull => tasks.spawn(full_disk::run(world)),
            Fault::SlowDisk => tasks.spawn(slow_disk::run(world)),
            Fault::FailingSync => tasks.spawn(failing_sync::run(world)),
            Fault::ClockOffset => tasks.spawn(clock_offset::run(world)),
            Fault::ClockDrift => tasks.spawn(clock_drift::run(world)),
            Fault::Pause => tasks.spawn(pause::run(world)),
            Fault::LyingPeer => tasks.spawn(liar::run(world)),
            Fault::Membership => tasks.spawn(membership::run(world)),
            Fault::Upgrade => tasks.spawn(upgrade::run(world)),
            Fault::Operators => tasks.spawn(operators::run(world)),
        };
    }
    tasks
}

/// Ends what is still on: the injectors are gone.
pub(crate) fn end(world: &World) {
    world.trouble().cuts.lock().forget();
    world.hub().tamper(None);
    for station in world.stations() {
        station.mend();
    }
}
