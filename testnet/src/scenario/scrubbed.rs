//! Bits rot where nobody reads: a scrub finds and heals them.

use anyhow::{Context as _, Result, ensure};

use super::corrupted_segment::{packs, rot};
use super::{Story, config, others};
use crate::cluster::{AGREEMENT, Cluster, Ledger, Shape, name};
use crate::patience;

/// Whose disk rots.
const VICTIM: usize = 1;

pub(super) fn run(story: &Story) -> Result<()> {
    story.given("a cluster of 3 stations that scrub only when they are told to")?;
    let mut cluster = Cluster::start(Shape {
        config: Some(format!("{}\n[scrub]\nperiod = \"0s\"\n", config("lan"))),
        ..story.shape(3)
    })?;
    cluster.make_cache()?;
    let pusher = cluster.pusher();
    let mut ledger = Ledger::default();
    pusher.push_all(0, &cluster.make_paths("paths", 8, 600_000)?, &mut ledger)?;
    cluster.wait_until_copied()?;
    story.then("a scrub finds nothing", || {
        let said = cluster.station(VICTIM).scrub()?;
        ensure!(counts(&said)? == (0, 0), "{said}");
        Ok(())
    })?;

    flip(story, &mut cluster)?;
    cluster.station_mut(VICTIM).start_again()?;
    cluster.station(VICTIM).wait_ready()?;
    story.then("a scrub by the daemon heals everything from the others", || {
        let said = cluster.station(VICTIM).scrub()?;
        let (found, healed) = counts(&said)?;
        ensure!(found > 0 && healed == found, "{said}");
        Ok(())
    })?;
    story.then("the doctor finds nothing wrong", || {
        cluster.cli(VICTIM, ["doctor"])
    })?;

    flip(story, &mut cluster)?;
    story.then(
        "a scrub without the daemon names what is damaged, and fails",
        || {
            let scrubbed = cluster.station(VICTIM).try_scrub()?;
            ensure!(
                !scrubbed.status.success() && scrubbed.stdout.contains("NARs are damaged"),
                "{scrubbed}"
            );
            Ok(())
        },
    )?;
    cluster.station_mut(VICTIM).start_again()?;
    cluster.station(VICTIM).wait_ready()?;
    story.then(
        "started again it heals that too, and the next scrub finds nothing",
        || {
            cluster.wait_until_copied()?;
            patience::until("all is sound", AGREEMENT, || {
                let status = cluster.status(VICTIM)?;
                ensure!(status["store"]["damaged"] == 0, "{}", status["store"]);
                Ok(())
            })?;
            let said = cluster.station(VICTIM).scrub()?;
            ensure!(counts(&said)? == (0, 0), "{said}");
            Ok(())
        },
    )?;
    story.ends_well(&cluster, &ledger)?;
    story.when("the two others are killed")?;
    for other in others(&cluster, VICTIM) {
        cluster.station_mut(other).kill()?;
    }
    story.then("Nix gets every path from it alone", || {
        ledger.expect_served(&cluster, VICTIM)
    })
}

/// Flips bits while it does not run.
fn flip(story: &Story, cluster: &mut Cluster) -> Result<()> {
    cluster.station_mut(VICTIM).stop()?;
    let packs = packs(&cluster.station(VICTIM).data_dir().join("store"))?;
    let flipped = packs.iter().map(|pack| rot(pack)).sum::<Result<u64>>()?;
    ensure!(flipped > 20, "there is too little to damage");
    story.when(&format!("{flipped} bits flip on the disk of {}", name(VICTIM)))
}

/// How many chunks and manifests a scrub says it has found damaged, and healed.
fn counts(said: &str) -> Result<(u64, u64)> {
    let number = |what: &str| -> Option<u64> {
        let before = said.split(what).next()?;
        before.rsplit(' ').find(|word| !word.is_empty())?.parse().ok()
    };
    number(" found damaged")
        .zip(number(" healed"))
        .with_context(|| format!("a scrub says: {said}"))
}
