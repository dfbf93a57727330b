//! Clocks that run fast or slow: 200 ppm as quartz does at its worst, and 2 % as a virtual machine may.

use super::super::{Fault, World};
use super::pace::Pace;
use super::targets;

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::ClockDrift);
    let mut chance = world.chance("fault clock drift");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::running(&world)) else {
            continue;
        };
        let most = match chance.u8(0..4) {
            0 => 20_000,
            _ => 200,
        };
        let ppm = chance.i64(-most..=most);
        world.trace(format_args!("the clock of {victim:?} gains {ppm} ppm"));
        victim.clock().set_drift_ppm(ppm);
        world.count(Fault::ClockDrift.name());
    }
}
