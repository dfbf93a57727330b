//! The leader dies in the middle of its work.

use std::time::Duration;

use anyhow::Result;

use super::{Story, others};
use crate::cluster::name;

/// Far more than an election takes: beyond it something hangs.
const HANGS: Duration = Duration::from_secs(60);

pub(super) fn run(story: &Story) -> Result<()> {
    let mut cluster = story.cluster(3)?;
    let load = cluster
        .pusher()
        .load(&[0, 1, 2], cluster.make_paths("stream", 36, 100_000)?);
    load.wait_for_more(6, HANGS)?;
    let leader = cluster.wait_for_leader(&[0, 1, 2])?;
    story.when(&format!(
        "the leader, {}, is killed under a stream of pushes",
        name(leader)
    ))?;
    cluster.station_mut(leader).kill()?;
    let others = others(&cluster, leader);
    story.then("the others choose one of them, and pushes go on", || {
        cluster.wait_for_leader(&others)?;
        load.wait_for_more(10, HANGS)
    })?;
    story.when("it comes back")?;
    cluster.station_mut(leader).start_again()?;
    let ledger = load.finish()?;
    cluster.station(leader).wait_ready()?;
    story.ends_well(&cluster, &ledger)
}
