//! A station is away for long, as behind a mountain: the others go on, and it catches up.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Story;
use crate::cluster::{Ledger, name};
use crate::emulator::Calendar;

/// Longer than any story.
const LONG: Duration = Duration::from_secs(100_000);

pub(super) fn run(story: &Story) -> Result<()> {
    let mut cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(2, &cluster.make_paths("before", 2, 100_000)?, &mut ledger)?;

    story.when(&format!(
        "{} goes dark by calendar, and 200 paths are pushed",
        name(2)
    ))?;
    let now = cluster.links()?.elapsed();
    cluster
        .links()?
        .plan_blackouts(2, &Calendar::new([(now, now + LONG)]));
    let leader = cluster.wait_for_leader(&[0, 1])?;
    let paths = cluster.make_paths("during", 200, 20_000)?;
    story.then("all are acknowledged", || {
        // In several pushes, so that the log grows too.
        for lot in paths.chunks(20) {
            pusher.push_all(leader, lot, &mut ledger)?;
        }
        Ok(())
    })?;
    story.then("the station in the dark has none of them", || {
        let known = cluster.status(2)?["paths"]
            .as_u64()
            .context("a number of paths")?;
        anyhow::ensure!(known <= 2, "it knows {known}");
        Ok(())
    })?;

    story.when("it is back")?;
    cluster.links()?.plan_blackouts(2, &Calendar::default());
    story.ends_well(&cluster, &ledger)?;
    story.then("it holds a copy of everything", || cluster.wait_until_copied())?;
    story.when("the two others are killed")?;
    for other in [0, 1] {
        cluster.station_mut(other).kill()?;
    }
    story.then("Nix still gets every path from it", || {
        ledger.expect_served(&cluster, 2)
    })
}
