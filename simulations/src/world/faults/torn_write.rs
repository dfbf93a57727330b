//! Power cuts in the middle of writing back: of what was not synced some changes survive, some do not, and of some a few
//! sectors.

use std::time::Duration;

use tetryx_store::disk::Survivors;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::{mid_write, targets};

/// Counted where it shows what the disk is left with: [`super::super::Station::crash`].
pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::TornWrite);
    let mut chance = world.chance("fault torn write");
    loop {
        pace.next().await;
        let mut stations = targets::running(&world);
        let survivors = Survivors::Torn(chance.u64(..));
        if chance.bool() {
            stations.retain(|station| station.disk().unsynced() > 1);
            let Some(victim) = targets::one_of(&mut chance, &stations) else {
                continue;
            };
            victim.crash(survivors);
            let down = log_between(&mut chance, Duration::from_secs(1), Duration::from_secs(60));
            targets::revive(&victim, down);
        } else if let Some(victim) = targets::one_of(&mut chance, &stations) {
            mid_write::crash(&victim, &mut chance, survivors).await;
        }
    }
}
