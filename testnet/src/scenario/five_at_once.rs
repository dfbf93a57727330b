//! Everybody comes at once.

use anyhow::Result;

use super::Story;
use crate::cluster::{Cluster, Ledger, Shape};

pub(super) fn run(story: &Story) -> Result<()> {
    story.given("one station")?;
    let mut cluster = Cluster::found(Shape {
        hosts: 5,
        ..story.shape(1)
    })?;
    cluster.make_cache()?;
    story.when("four others join it at the same time")?;
    cluster.join_at_once(4)?;
    story.then("all five are members, and all five vote", || {
        cluster.wait_for_members(5)
    })?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    story.then("each takes a push", || {
        for station in 0..cluster.len() {
            let paths = cluster.make_paths(&format!("from-{station}"), 2, 100_000)?;
            pusher.push_all(station, &paths, &mut ledger)?;
        }
        Ok(())
    })?;
    story.ends_well(&cluster, &ledger)
}
