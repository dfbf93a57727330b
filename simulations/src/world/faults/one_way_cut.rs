//! Cuts in one direction: who is heard does not hear.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::{Pace, log_between};
use super::{cuts, targets};

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::OneWayCut);
    let mut chance = world.chance("fault one-way cut");
    loop {
        pace.next().await;
        let stations = targets::running(&world);
        let Some(one) = targets::one_of(&mut chance, &stations) else {
            continue;
        };
        let others = match chance.bool() {
            true => stations.clone(),
            false => targets::one_of(&mut chance, &stations).into_iter().collect(),
        };
        let ways = match chance.bool() {
            true => cuts::ways(&[one], &others),
            false => cuts::ways(&others, &[one]),
        };
        if ways.is_empty() {
            continue;
        }
        let duration = log_between(&mut chance, Duration::from_secs(1), Duration::from_secs(180));
        world.trace(format_args!("cut one way: {ways:?} for {duration:?}"));
        cuts::hold(&world, Fault::OneWayCut, ways, duration).await;
    }
}
