//! Power cuts and killed processes, of one station, of several, or of everyone at once.

use std::time::Duration;

use tetryx_store::disk::Survivors;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::targets;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::Crash);
    let mut chance = world.chance("fault crash");
    loop {
        pace.next().await;
        let mut victims = targets::running(&world);
        chance.shuffle(&mut victims);
        let survivors = match chance.bool() {
            true => Survivors::Synced,
            false => Survivors::Everything,
        };
        match chance.u8(0..10) {
            0 => world.trace("everyone at once"),
            1 => victims.truncate(victims.len().div_ceil(2)),
            _ => victims.truncate(1),
        }
        for victim in victims {
            let down = log_between(&mut chance, Duration::from_secs(1), Duration::from_secs(240));
            world.trace(format_args!("{victim:?} crashes, and is down for {down:?}"));
            victim.crash(survivors);
            world.count(Fault::Crash.name());
            targets::revive(&victim, down);
        }
    }
}
