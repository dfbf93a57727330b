//! A disk is lost. The station comes back as another member: its key was on that disk.

use anyhow::{Context as _, Result, ensure};

use super::Story;
use crate::cluster::{Ledger, name};

pub(super) fn run(story: &Story) -> Result<()> {
    let mut cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(2, &cluster.make_paths("before", 6, 300_000)?, &mut ledger)?;
    let old = cluster.node_id(2)?;

    story.when(&format!("{} loses its disk", name(2)))?;
    cluster.station_mut(2).kill()?;
    story.then("pushes go on", || {
        pusher.push_all(0, &cluster.make_paths("during", 4, 300_000)?, &mut ledger)
    })?;
    story.when("its old key is removed, and it joins with a new one under its old name")?;
    cluster.cli(0, ["node", "remove", &old, "--no-confirm"])?;
    cluster.replace(2)?;
    story.then("it is a member like the others, with a new key", || {
        cluster.wait_for_members(3)?;
        ensure!(cluster.node_id(2)? != old, "the key is the old one");
        Ok(())
    })?;
    story.ends_well(&cluster, &ledger)?;
    story.then("it holds a copy of everything again", || {
        cluster.wait_until_copied()
    })?;
    story.when("the two others are killed")?;
    for other in [0, 1] {
        cluster.station_mut(other).kill().context("a kill")?;
    }
    story.then("Nix still gets every path from it", || {
        ledger.expect_served(&cluster, 2)
    })
}
