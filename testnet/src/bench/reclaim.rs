//! Giving space back: the whole corpus expires on three stations, beside deleting a folder of the same files.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::setting::Setting;
use super::table::{Table, Unit, median, mib};
use crate::clock::Stopwatch;
use crate::cluster::{CACHE, Cluster, Shape, name};
use crate::enclosure::Footing;
use crate::patience;
use crate::process::Finished;
use crate::user::User;
use crate::world::log_in;

/// Until the cluster's clock is past the period of the cache.
const PATIENCE: Duration = Duration::from_secs(60);
const STATIONS: usize = 3;

const CONFIG: &str = "[raft]\nprofile = \"lan\"\n";

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let (mut collected, mut left, mut had, mut removed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.rounds {
        let reclaimed = expire(setting)?;
        collected.push(reclaimed.seconds);
        left.push(reclaimed.left);
        had.push(reclaimed.had / 100.0);
        let folder = setting.nix_copy()?;
        Setting::settle()?;
        removed.push(remove(&folder.path())?);
    }
    let mut table = Table::new("Reclaim: every path of the corpus expires on three stations");
    table.row(
        "one collection, the slowest station",
        Unit::Seconds,
        median(collected),
        "rm -r of nix copy's folder, then sync",
        median(removed),
    );
    table.row(
        "left on disk, the fullest station",
        Unit::Mib,
        median(left),
        "1 % of what was there",
        median(had),
    );
    Ok(table)
}

/// What came of it; MiB of pack files, of the fullest station.
struct Reclaimed {
    seconds: f64,
    left: f64,
    had: f64,
}

fn expire(setting: &Setting) -> Result<Reclaimed> {
    let cluster = Cluster::start(Shape {
        config: Some(CONFIG.to_owned()),
        ..Shape::new(STATIONS, Footing::Loopback, 1)
    })?;
    let store_dir = setting.corpus.store.store_dir();
    let store_dir = store_dir.to_str().context("a store directory is UTF-8")?;
    let user = User::new(Arc::clone(&setting.corpus.store))?;
    let first = cluster.station(0);
    log_in(&user, "first", &first.url(), first.root_token())?;
    user.cli(["cache", "create", CACHE, "--public", "--store-dir", store_dir])?
        .ok()?;
    setting.push(&user, CACHE)?;
    cluster.wait_until_copied()?;
    let had = fullest(&cluster)?;
    user.cli(["cache", "configure", CACHE, "--retention-period", "1s"])?
        .ok()?;
    Setting::settle()?;
    patience::until("everything is out of date", PATIENCE, || {
        let plan = user.cli(["gc", "--dry-run", "--json"])?.ok()?;
        let plan: serde_json::Value = serde_json::from_str(&plan).context("the plan is JSON")?;
        let paths = plan["paths"].as_u64().context("the plan counts paths")?;
        ensure!(
            paths == setting.corpus.items.len() as u64,
            "{paths} paths would go"
        );
        Ok(())
    })?;
    let mut seconds = 0.0_f64;
    for station in 0..STATIONS {
        let watch = Stopwatch::start();
        let said = cluster.station(station).collect_garbage()?;
        seconds = seconds.max(watch.seconds());
        ensure!(said.starts_with("freed"), "{} says: {said}", name(station));
    }
    Ok(Reclaimed {
        seconds,
        left: fullest(&cluster)?,
        had,
    })
}

fn fullest(cluster: &Cluster) -> Result<f64> {
    let mut most = 0;
    for station in 0..STATIONS {
        let bytes = cluster.status(station)?["store"]["pack_bytes"].as_u64();
        most = most.max(bytes.context("a station says how much it has")?);
    }
    Ok(mib(most))
}

fn remove(folder: &Path) -> Result<f64> {
    let watch = Stopwatch::start();
    let mut command = Command::new("rm");
    command.arg("-r").arg(folder);
    Finished::run(command)?.ok()?;
    Setting::settle()?;
    Ok(watch.seconds())
}
