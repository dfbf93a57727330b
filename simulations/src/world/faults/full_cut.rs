//! Cuts in both directions: one station from another, one from all others, or two halves of the cluster.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::{cuts, targets};

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::FullCut);
    let mut chance = world.chance("fault full cut");
    loop {
        pace.next().await;
        let mut stations = targets::present(&world);
        chance.shuffle(&mut stations);
        if stations.len() < 2 {
            continue;
        }
        let (here, there) = match chance.u8(0..3) {
            0 => (&stations[..1], &stations[1..2]),
            1 => (&stations[..1], &stations[1..]),
            _ => stations.split_at(stations.len() / 2),
        };
        let mut ways = cuts::ways(here, there);
        ways.extend(cuts::ways(there, here));
        let duration = log_between(&mut chance, Duration::from_secs(1), Duration::from_secs(300));
        world.trace(format_args!("cut {here:?} from {there:?} for {duration:?}"));
        cuts::hold(&world, Fault::FullCut, ways, duration).await;
    }
}
