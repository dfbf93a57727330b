//! Links that are cut in one direction only: the leader is heard and does not hear, or the other way round.

use std::time::Duration;

use anyhow::Result;

use super::{Story, others};
use crate::cluster::{Ledger, name};

const HANGS: Duration = Duration::from_secs(60);

pub(super) fn run(story: &Story) -> Result<()> {
    let cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(0, &cluster.make_paths("before", 3, 100_000)?, &mut ledger)?;

    for deaf in [true, false] {
        let leader = cluster.wait_for_leader(&[0, 1, 2])?;
        let others = others(&cluster, leader);
        story.when(&format!(
            "the leader, {}, {}",
            name(leader),
            if deaf {
                "is heard by the others and does not hear them"
            } else {
                "hears the others and is not heard"
            }
        ))?;
        for other in &others {
            let (from, to) = if deaf { (*other, leader) } else { (leader, *other) };
            cluster.links()?.cut(from, to, true);
        }
        story.then("pushes at the others are acknowledged before long", || {
            let paths = cluster.make_paths(if deaf { "deaf" } else { "mute" }, 6, 100_000)?;
            let load = pusher.load(&others, paths);
            load.wait_for_more(6, HANGS)?;
            ledger.add(load.finish()?);
            Ok(())
        })?;
        story.when("the links heal")?;
        cluster.links()?.heal();
        story.then("the stations come to agree", || cluster.agree())?;
    }
    story.ends_well(&cluster, &ledger)
}
