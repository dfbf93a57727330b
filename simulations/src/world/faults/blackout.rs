//! Blackouts: a station that nobody reaches for hours, while its own clients still do.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::Pace;
use super::{cuts, targets};

/// The longest one.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::Blackout);
    let mut chance = world.chance("fault blackout");
    loop {
        pace.next().await;
        let stations = targets::present(&world);
        let Some(one) = targets::one_of(&mut chance, &stations) else {
            continue;
        };
        let one = [one];
        let mut ways = cuts::ways(&one, &stations);
        if ways.is_empty() {
            continue;
        }
        ways.extend(cuts::ways(&stations, &one));
        // Some permille of the trouble.
        let duration = world.plan().duration * chance.u32(100..450) / 1000;
        let duration = Duration::from_secs(duration.as_secs()).min(LONGEST);
        world.trace(format_args!("{:?} is unreachable for {duration:?}", one[0]));
        cuts::hold(&world, Fault::Blackout, ways, duration).await;
    }
}
