//! Crashes in mid-write: the disk stops at one of its next operations, and what was not synced is gone.

use std::time::Duration;

use tetryx_store::disk::Survivors;

use super::super::{Fault, Station, World};
use super::pace::Pace;
use super::targets;

/// How long it is waited until the disk does so many operations.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The most operations until the crash: more than a push takes.
const OPERATIONS_MAX: u64 = 60;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::CrashMidWrite);
    let mut chance = world.chance("fault crash in mid-write");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::running(&world)) else {
            continue;
        };
        let survivors = match chance.bool() {
            true => Survivors::Synced,
            false => Survivors::Everything,
        };
        if crash(&victim, &mut chance, survivors).await {
            world.count(Fault::CrashMidWrite.name());
        }
    }
}

/// Has a machine crash at one of its disk's next operations; whether it did.
pub(super) async fn crash(victim: &Station, chance: &mut fastrand::Rng, survivors: Survivors) -> bool {
    let failed = || victim.disk().failures().crashed;
    let before = failed();
    victim.crash_in(chance.u64(0..OPERATIONS_MAX), survivors);
    let mut waited = Duration::ZERO;
    while failed() == before && waited < PATIENCE {
        tokio::time::sleep(LOOK_EVERY).await;
        waited += LOOK_EVERY;
    }
    if failed() == before {
        victim.crash_not();
        return false;
    }
    // The process may find out by itself, and end; or the power is cut before.
    tokio::time::sleep(Duration::from_millis(chance.u64(0..3000))).await;
    if victim.disk().has_crashed() {
        victim.crash(survivors);
    }
    targets::revive(victim, Duration::from_millis(chance.u64(0..60_000)));
    true
}
