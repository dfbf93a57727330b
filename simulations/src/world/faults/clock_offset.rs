//! Clocks that are set wrong, by up to a quarter of an hour.
//!
//! Promised is: consensus, ages, leases of uploads and collections never look at the wall time; the log clock follows the
//! fastest clock. A token is judged by the station's own clock: one that is more than a minute behind refuses what was
//! just issued elsewhere. A machine whose clock differs by more than ten seconds from the member it asks cannot join.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::targets;

/// The most that a clock is wrong by, in milliseconds.
const ERROR_MS_MAX: i64 = 15 * 60 * 1000;
/// The most that a clock is wrong by which nobody looks after for a while.
const SMALL_ERROR_MS_MAX: i64 = 20_000;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::ClockOffset);
    let mut chance = world.chance("fault clock offset");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::running(&world)) else {
            continue;
        };
        let most = match chance.bool() {
            true => ERROR_MS_MAX,
            false => SMALL_ERROR_MS_MAX,
        };
        let offset_ms = chance.i64(-most..=most);
        world.trace(format_args!("the clock of {victim:?} is set to {offset_ms} ms"));
        victim.clock().set_offset_ms(offset_ms);
        world.count(Fault::ClockOffset.name());
        let duration = log_between(&mut chance, Duration::from_secs(10), Duration::from_secs(900));
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            victim.clock().set_right();
        });
    }
}
