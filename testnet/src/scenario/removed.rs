//! A station that was removed does not take it for an answer.

use anyhow::{Result, ensure};

use super::Story;
use crate::cluster::{AGREEMENT, Ledger, name};
use crate::patience;

pub(super) fn run(story: &Story) -> Result<()> {
    let mut cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(2, &cluster.make_paths("before", 3, 100_000)?, &mut ledger)?;
    cluster.wait_until_copied()?;
    let removed = cluster.node_id(2)?;

    story.when(&format!("{} is removed, and goes on running", name(2)))?;
    cluster.cli(0, ["node", "remove", &removed, "--no-confirm"])?;
    story.then("the others are a cluster of two, and take pushes", || {
        patience::until("there are two members", AGREEMENT, || {
            for station in [0, 1] {
                let status = cluster.status(station)?;
                ensure!(status["members"]["total"] == 2, "{}", status["members"]);
                ensure!(
                    status["voters"]
                        .as_array()
                        .is_some_and(|voters| voters.iter().all(|voter| *voter != removed)),
                    "it still votes: {}",
                    status["voters"]
                );
            }
            Ok(())
        })?;
        pusher.push_all(0, &cluster.make_paths("after", 3, 100_000)?, &mut ledger)
    })?;
    story.when("it is started again, and knocks")?;
    cluster.station_mut(2).kill()?;
    cluster.station_mut(2).start_again()?;
    story.then("the others refuse it, and say why in their logs", || {
        patience::until("a refusal is logged", AGREEMENT, || {
            let refused = [0, 1]
                .iter()
                .flat_map(|station| cluster.station(*station).log())
                .any(|line| line.contains("removed") && line.to_lowercase().contains("refus"));
            ensure!(refused, "no word of a refusal");
            Ok(())
        })
    })?;
    story.then("a push at it is not acknowledged, and reaches nobody", || {
        let strange = cluster.make_paths("strange", 1, 100_000)?;
        let pushed = pusher.push(2, &strange)?;
        ensure!(pushed.acknowledged.is_empty(), "{}", pushed.finished);
        Ok(())
    })?;
    story.then("pushes at the others go on", || {
        pusher.push_all(1, &cluster.make_paths("later", 3, 100_000)?, &mut ledger)
    })?;
    cluster.station_mut(2).kill()?;
    story.ends_well(&cluster, &ledger)
}
