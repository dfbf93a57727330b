//! Syncs that fail, after which the disk pretends that nothing was to be written.

use std::time::Duration;

use super::super::{Fault, World};
use super::pace::Pace;
use super::targets;

/// How long it is waited for a sync.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a process may take to notice that it must end.
const MAY_FAIL_FOR: Duration = Duration::from_secs(5 * 60);

pub(crate) async fn run(world: World) {
    let mut pace = Pace::new(&world, Fault::FailingSync);
    let mut chance = world.chance("fault failing sync");
    loop {
        pace.next().await;
        let Some(victim) = targets::one_of(&mut chance, &targets::running(&world)) else {
            continue;
        };
        let failed = || victim.disk().failures().syncs;
        let before = failed();
        victim.let_fail(MAY_FAIL_FOR);
        let syncs = chance.u64(1..4);
        victim.disk().fail_syncs(syncs);
        world.trace(format_args!("{syncs} syncs of {victim:?} shall fail"));
        let mut waited = Duration::ZERO;
        while failed() < before + syncs && waited < PATIENCE {
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        victim.disk().fail_syncs(0);
        if failed() > before {
            world.count(Fault::FailingSync.name());
        }
    }
}
