//! The leader stands still: it has lost nothing and noticed nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::{Story, others};
use crate::cluster::name;
use crate::patience::pause;

const HANGS: Duration = Duration::from_secs(60);

pub(super) fn run(story: &Story) -> Result<()> {
    let cluster = story.cluster(3)?;
    let leader = cluster.wait_for_leader(&[0, 1, 2])?;
    let others = others(&cluster, leader);
    let pusher = cluster.pusher();
    let mut before = Default::default();
    pusher.push_all(leader, &cluster.make_paths("before", 3, 100_000)?, &mut before)?;
    story.when(&format!(
        "the leader, {}, is stopped (SIGSTOP) for 20 s",
        name(leader)
    ))?;
    cluster.station(leader).signal(Signal::STOP)?;
    let load = pusher.load(&others, cluster.make_paths("during", 20, 100_000)?);
    story.then("the others choose one of them, and take pushes", || {
        cluster.wait_for_leader(&others)?;
        load.wait_for_more(5, HANGS)
    })?;
    pause(Duration::from_secs(20));
    story.when("it goes on")?;
    cluster.station(leader).signal(Signal::CONT)?;
    story.then("it follows", || {
        let now = cluster.wait_for_leader(&[0, 1, 2])?;
        ensure!(now != leader, "it leads again without an election");
        Ok(())
    })?;
    let mut ledger = load.finish()?;
    ledger.add(before);
    pusher.push_all(leader, &cluster.make_paths("after", 2, 100_000)?, &mut ledger)?;
    story.ends_well(&cluster, &ledger)
}
