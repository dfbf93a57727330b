//! How many questions a second: "do you have this path?"

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::nginx::Nginx;
use super::setting::{CACHE, Setting};
use super::table::{Table, Unit, median};
use crate::folders;
use crate::process::Finished;

const CONNECTIONS: &str = "16";
const SECONDS: &str = "5s";

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let bench = setting.filled()?;
    let folder = folders::temporary("mirror-")?;
    let served = bench.narinfos(&setting.corpus)?;
    for item in &served {
        fs::write(folder.path().join(format!("{}.narinfo", item.hash)), &item.text)?;
    }
    fs::write(folder.path().join("nix-cache-info"), "StoreDir: /nix/store\n")?;
    let nginx = Nginx::serving(folder.path())?;
    let hits: Vec<_> = served.iter().map(|item| item.hash.clone()).collect();
    // Well-formed hashes that no path has.
    let misses: Vec<_> = hits.iter().map(|hash| hash.chars().rev().collect()).collect();
    let mut table = Table::new("narinfo, 16 connections");
    for (what, hashes, status) in [("hits", &hits, "200"), ("misses", &misses, "404")] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..setting.rounds {
            ours.push(rate(&bench.station.url(), &format!("/{CACHE}/"), hashes, status)?);
            theirs.push(rate(&nginx.url(), "/", hashes, status)?);
        }
        table.row(
            what,
            Unit::PerSecond,
            median(ours),
            "nginx, files",
            median(theirs),
        );
    }
    Ok(table)
}

/// Requests a second by wrk, over all hashes in turn. Every answer must have the status.
fn rate(url: &str, base: &str, hashes: &[String], status: &str) -> Result<f64> {
    let work = folders::temporary("wrk-")?;
    let list: Vec<_> = hashes
        .iter()
        .map(|hash| format!("\"{base}{hash}.narinfo\""))
        .collect();
    let script = format!(
        "local paths = {{ {} }}\nlocal next = 0\nlocal threads = {{}}\nwrong = 0\n\
         function setup(thread) table.insert(threads, thread) end\n\
         function request() next = next % #paths + 1; return wrk.format('GET', paths[next]) end\n\
         function response(status) if status ~= {status} then wrong = wrong + 1 end end\n\
         function done(summary, latency)\n  local wrong = 0\n\
         for _, thread in ipairs(threads) do wrong = wrong + thread:get('wrong') end\n\
         print('wrong:', wrong + summary.errors.connect + summary.errors.read + summary.errors.timeout)\nend\n",
        list.join(", ")
    );
    let file = work.path().join("narinfo.lua");
    fs::write(&file, script).context("cannot write a script")?;
    let mut command = Command::new("wrk");
    command
        .args(["-t2", "-c", CONNECTIONS, "-d", SECONDS, "-s"])
        .arg(&file)
        .arg(url);
    let said = Finished::run(command)
        .context("testnet/setup.sh installs wrk")?
        .ok()?;
    let figure = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
        line.and_then(|value| value.trim().parse::<f64>().ok())
            .with_context(|| format!("wrk did not print {name}:\n{said}"))
    };
    if figure("wrong:")? > 0.0 {
        bail!("not every answer was {status}:\n{said}");
    }
    figure("Requests/sec:")
}
