//! Disks that take up to seconds for each piece of work.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::targets;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::SlowDisk);
    let mut chance = world.chance("fault slow disk");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::present(&world)) else {
            continue;
        };
        let mean = log_between(&mut chance, Duration::from_millis(2), Duration::from_secs(3));
        let duration = log_between(&mut chance, Duration::from_secs(5), Duration::from_secs(180));
        world.trace(format_args!(
            "the disk of {victim:?} takes {mean:?} on average for {duration:?}"
        ));
        let before = victim.io().done();
        victim.io().set_mean(mean);
        tokio::time::sleep(duration).await;
        victim.io().set_mean(Duration::ZERO);
        if victim.io().done() > before {
            world.count(Fault::SlowDisk.name());
        }
    }
}
