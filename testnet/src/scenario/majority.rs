//! The majority is gone: nobody reaches anybody.

use anyhow::{Result, ensure};

use super::{Story, others};
use crate::cluster::{Ledger, name};

pub(super) fn run(story: &Story) -> Result<()> {
    let cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(0, &cluster.make_paths("before", 4, 200_000)?, &mut ledger)?;
    story.then("all stations hold what was pushed", || {
        cluster.wait_until_copied()?;
        cluster.agree()
    })?;

    story.when("every link between the stations is cut")?;
    for station in 0..cluster.len() {
        cluster.links()?.split(&[station]);
    }
    let mut alone = Ledger::default();
    for station in 0..cluster.len() {
        story.then(
            &format!("{} serves Nix and takes pushes for later", name(station)),
            || {
                ledger.expect_served(&cluster, station)?;
                let paths = cluster.make_paths(&format!("alone-{station}"), 2, 200_000)?;
                let pushed = pusher.push(station, &paths)?;
                ensure!(
                    pushed.acknowledged.is_empty() && pushed.provisional.len() == paths.len(),
                    "{}",
                    pushed.finished
                );
                let mut provisional = Ledger::default();
                provisional.note(&pushed);
                provisional.expect_served(&cluster, station)?;
                alone.add(provisional);
                Ok(())
            },
        )?;
    }
    story.then("all say that nothing can be committed", || {
        for station in 0..cluster.len() {
            let status = cluster.status(station)?;
            let safety = status["safety"].to_string();
            ensure!(
                status["outbox"]["waiting"] == 2 && safety.len() > 10,
                "{}: {status}",
                name(station)
            );
        }
        Ok(())
    })?;

    ledger.add(alone);
    story.when("the links heal")?;
    cluster.links()?.heal();
    story.then("there is a leader, and pushes are acknowledged again", || {
        let leader = cluster.wait_for_leader(&[0, 1, 2])?;
        let other = others(&cluster, leader)[0];
        pusher.push_all(other, &cluster.make_paths("after", 2, 200_000)?, &mut ledger)
    })?;
    story.ends_well(&cluster, &ledger)
}
