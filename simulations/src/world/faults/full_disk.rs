//! Disks that are full for some minutes.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::targets;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after there is room again a process may still end over it.
const MAY_FAIL_AFTER: Duration = Duration::from_secs(5 * 60);
/// The most that is left, in bytes.
const LEFT_MAX: u64 = 128 * 1024;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::DiskFull);
    let mut chance = world.chance("fault full disk");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::running(&world)) else {
            continue;
        };
        let refused = || victim.disk().failures().full;
        let before = refused();
        let duration = log_between(&mut chance, Duration::from_secs(5), Duration::from_secs(300));
        victim.let_fail(duration + MAY_FAIL_AFTER);
        let left = chance.u64(0..LEFT_MAX);
        world.trace(format_args!(
            "{victim:?} has {left} bytes left on its disk for {duration:?}"
        ));
        if chance.bool() {
            victim.disk().set_capacity(victim.disk().used() + left);
        } else {
            // Then not even what is there can be overwritten, as where files are never overwritten in place.
            victim.disk().fail_writes_after(Some(left));
        }
        let began = world.now();
        let mut is_counted = false;
        while world.now() - began < duration {
            tokio::time::sleep(LOOK_EVERY).await;
            if !is_counted && refused() > before {
                world.count(Fault::DiskFull.name());
                is_counted = true;
            }
        }
        victim.disk().set_capacity(u64::MAX);
        victim.disk().fail_writes_after(None);
        world.trace(format_args!("{victim:?} has room again"));
    }
}
