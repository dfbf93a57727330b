//! What a cache's retention lets go really goes, everywhere, and takes nothing with it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Story, names};
use crate::cluster::{CACHE, Cluster, Ledger, name};
use crate::patience;

const PATHS: usize = 30;
/// Bytes of a path.
const BYTES: usize = 2 << 20;
/// Until the cluster's clock is past the period of the cache.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(story: &Story) -> Result<()> {
    let cluster = story.cluster(3)?;
    let pusher = cluster.pusher();
    let everywhere = cluster.running();
    let before = packs(&cluster)?;

    story.when(&format!(
        "{PATHS} paths of {} MiB are pushed, and copied to all",
        BYTES >> 20
    ))?;
    let gone = cluster.make_paths("gone", PATHS, BYTES)?;
    pusher.push_all(0, &gone, &mut Ledger::default())?;
    cluster.wait_until_copied()?;
    let full = packs(&cluster)?;
    story.when("the cache keeps nothing for longer than a second, and somebody collects")?;
    cluster.cli(0, ["cache", "configure", CACHE, "--retention-period", "1s"])?;
    story.then("the list is empty", || collect_until(&cluster, &[]))?;
    story.then("at least 99 % of it is free again, on every station", || {
        for ((number, full), (before, now)) in everywhere
            .iter()
            .zip(full)
            .zip(before.iter().zip(packs(&cluster)?))
        {
            let had = full - before;
            ensure!(
                had >= (PATHS * BYTES) as u64,
                "{} had only {had} bytes",
                name(*number)
            );
            let left = now.saturating_sub(*before);
            ensure!(
                left * 100 <= had,
                "{} has {left} of {had} bytes left",
                name(*number)
            );
        }
        Ok(())
    })?;

    story.when(
        "30 more are pushed, each of which shares half its bytes with another, and of each two one is pinned",
    )?;
    cluster.cli(0, ["cache", "configure", CACHE, "--reset-retention-period"])?;
    let contents: Vec<Vec<u8>> = (0..PATHS / 2).flat_map(|_| siblings()).collect();
    let paths = cluster.make_paths_of("shared", &contents)?;
    let (kept, gone): (Vec<String>, Vec<String>) = {
        let pairs: Vec<_> = paths.chunks(2).collect();
        pairs
            .iter()
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .unzip()
    };
    let mut ledger = Ledger::default();
    pusher.push_all(1, &kept, &mut ledger)?;
    pusher.push_all(2, &gone, &mut Ledger::default())?;
    for path in &kept {
        cluster.cli(1, ["path", "pin", CACHE, path])?;
    }
    cluster.wait_until_copied()?;
    let full = packs(&cluster)?;
    cluster.cli(2, ["cache", "configure", CACHE, "--retention-period", "1s"])?;
    story.then("the list has those that are pinned, and no other", || {
        collect_until(&cluster, &kept)
    })?;
    story.then("what nobody shares is free again, on every station", || {
        // A tenth of the pack files may be garbage.
        let most = (PATHS * BYTES * 3 / 4) as u64;
        for ((number, full), now) in everywhere.iter().zip(full).zip(packs(&cluster)?) {
            ensure!(
                now < full && now < most * 9 / 8,
                "{} has {now} of {full} bytes",
                name(*number)
            );
        }
        Ok(())
    })?;
    story.then(
        &format!(
            "Nix gets every one of the pinned from {}, bit for bit",
            names(&everywhere)
        ),
        || ledger.expect_kept(&cluster, &everywhere),
    )?;
    story.ends_well(&cluster, &ledger)
}

/// Two contents that have their second halves in common.
fn siblings() -> [Vec<u8>; 2] {
    let noise =
        |bytes: usize| -> Vec<u8> { std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect() };
    let common = noise(BYTES / 2);
    [(); 2].map(|()| [noise(BYTES / 2), common.clone()].concat())
}

/// Collects on every station until the cache lists these paths and no others.
fn collect_until(cluster: &Cluster, kept: &[String]) -> Result<()> {
    let mut kept: Vec<&str> = kept.iter().filter_map(|path| path.rsplit('/').next()).collect();
    kept.sort_unstable();
    patience::until("what is out of date is gone", PATIENCE, || {
        cluster.cli(0, ["gc"])?;
        let list = cluster
            .station(0)
            .root()
            .get_json(&format!("/api/v1/caches/{CACHE}/paths?limit=1000"))?;
        let mut listed: Vec<&str> = list["paths"]
            .as_array()
            .context("a list of paths")?
            .iter()
            .filter_map(|path| path["store_path"].as_str())
            .collect();
        listed.sort_unstable();
        ensure!(listed == kept, "the cache lists {listed:?}");
        Ok(())
    })
}

/// The bytes of the pack files of each station.
fn packs(cluster: &Cluster) -> Result<Vec<u64>> {
    let bytes = |status: Value| {
        status["store"]["pack_bytes"]
            .as_u64()
            .context("a station says how much it has")
    };
    let running = cluster.running().into_iter();
    running.map(|number| bytes(cluster.status(number)?)).collect()
}
