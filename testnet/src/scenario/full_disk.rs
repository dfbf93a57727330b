//! A disk is full: its station keeps its word and refuses new things; the others go on.

use anyhow::{Context as _, Result, ensure};

use super::Story;
use crate::cluster::{Cluster, Ledger, Shape, name};
use crate::folders;

/// The disk of the unlucky one. A station leaves 16 MiB alone.
const SMALL: u64 = 48 << 20;

pub(super) fn run(story: &Story) -> Result<()> {
    let disk = folders::temporary("disk-")?;
    story.given(&format!(
        "a cluster of 3 stations, {} with a disk of {} MiB",
        name(2),
        SMALL >> 20
    ))?;
    let mut cluster = Cluster::found(Shape {
        hosts: 3,
        data_dirs: [(2, disk.path().join("data"))].into(),
        ..story.shape(1)
    })?;
    let small = cluster.net().hosts()[2].namespace.clone().context("a host")?;
    small.mount_tmpfs(disk.path(), SMALL)?;
    cluster.join_next()?;
    cluster.join_next()?;
    cluster.wait_for_members(3)?;
    cluster.make_cache()?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    let early = cluster.make_paths("early", 2, 1_000_000)?;
    pusher.push_all(2, &early, &mut ledger)?;
    let early = ledger.clone();

    story.when("80 MiB are pushed at another station")?;
    let large = cluster.make_paths("large", 10, 8 << 20)?;
    story.then("every path is acknowledged: two stations have room", || {
        pusher.push_all(0, &large, &mut ledger)
    })?;
    story.then("the full one refuses a push in words", || {
        let refused = pusher.push(2, &cluster.make_paths("too-much", 1, 40 << 20)?)?;
        ensure!(refused.acknowledged.is_empty(), "{}", refused.finished);
        let said = refused.finished.refused()?;
        ensure!(
            said.contains("full") || said.contains("space") || said.contains("room"),
            "{said}"
        );
        Ok(())
    })?;
    story.then(
        "it serves what it has, and fetches what it has not from the others as Nix asks",
        || early.expect_served(&cluster, 2),
    )?;
    story.then("it follows the log", || cluster.agree())?;

    story.when("it is restarted on the full disk, and then gets room")?;
    cluster.station_mut(2).kill()?;
    cluster.station_mut(2).start_again()?;
    small.resize_tmpfs(disk.path(), 400 << 20)?;
    cluster.station(2).wait_ready()?;
    story.ends_well(&cluster, &ledger)?;
    story.then("it gets its copies", || cluster.wait_until_copied())
}
