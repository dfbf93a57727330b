//! The leader is alone on its side of a partition.

use anyhow::{Result, ensure};

use super::{Story, others};
use crate::cluster::{Ledger, name};

pub(super) fn run(story: &Story) -> Result<()> {
    let cluster = story.cluster(3)?;
    let lonely = cluster.wait_for_leader(&[0, 1, 2])?;
    let others = others(&cluster, lonely);
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(lonely, &cluster.make_paths("before", 4, 200_000)?, &mut ledger)?;
    let before = ledger.clone();

    story.when(&format!(
        "the leader, {}, is cut off from the others",
        name(lonely)
    ))?;
    cluster.links()?.split(&[lonely]);
    story.then("the others choose one of them, and take pushes", || {
        cluster.wait_for_leader(&others)?;
        pusher.push_all(
            others[0],
            &cluster.make_paths("majority", 4, 200_000)?,
            &mut ledger,
        )?;
        pusher.push_all(others[1], &cluster.make_paths("more", 2, 200_000)?, &mut ledger)
    })?;
    story.then("Nix gets what was there before from the lonely one", || {
        before.expect_served(&cluster, lonely)
    })?;
    let alone = cluster.make_paths("alone", 3, 200_000)?;
    let mut provisional = Ledger::default();
    story.then(
        "the lonely one takes a push for later, says so, and serves it",
        || {
            let pushed = pusher.push(lonely, &alone)?;
            provisional.note(&pushed);
            ensure!(
                pushed.acknowledged.is_empty(),
                "promised without a majority: {}",
                pushed.finished
            );
            ensure!(
                pushed.provisional.len() == alone.len(),
                "not taken: {}",
                pushed.finished
            );
            provisional.expect_served(&cluster, lonely)
        },
    )?;
    let term = cluster.status(others[0])?["term"].clone();
    let leader = cluster.wait_for_leader(&others)?;

    story.when("the links heal")?;
    cluster.links()?.heal();
    ledger.add(provisional);
    story.then("its return deposes nobody", || {
        ensure!(cluster.wait_for_leader(&[0, 1, 2])? == leader, "another leads");
        let now = cluster.status(lonely)?["term"].clone();
        ensure!(now == term, "term {now} after {term}");
        Ok(())
    })?;
    story.ends_well(&cluster, &ledger)?;
    story.then("its report says that what it took was applied", || {
        let report = cluster.station(lonely).root().get_json("/api/v1/outbox")?;
        ensure!(
            report["counts"]["applied"] == alone.len() && report["counts"]["refused"] == 0,
            "{report}"
        );
        Ok(())
    })
}
