//! Processes that stand still for up to a minute.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::targets;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::Pause);
    let mut chance = world.chance("fault pause");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::running(&world)) else {
            continue;
        };
        let duration = log_between(&mut chance, Duration::from_secs(1), Duration::from_secs(60));
        let before = world.hub().tally().frozen;
        victim.freeze(duration);
        tokio::time::sleep(duration).await;
        // Alone, a station is heard by its clients only.
        if world.hub().tally().frozen > before || world.station_count() == 1 {
            world.count(Fault::Pause.name());
        }
    }
}
