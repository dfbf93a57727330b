//! Resident memory of the station's process.

use std::fs;

use anyhow::{Context as _, Result};

use super::pull;
use super::setting::{CACHE, Setting};
use super::table::{Table, Unit, mib};
use crate::station::Station;

/// What the issue asks for, in MiB.
const IDLE_MAX: f64 = 60.0;
const PEAK_MAX: f64 = 250.0;

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let mut bench = setting.empty()?;
    let mut table = Table::new("Memory");
    table.row(
        "idle, just started",
        Unit::Mib,
        resident(&bench.station, "VmRSS:")?,
        "limit",
        IDLE_MAX,
    );
    setting.push(&bench.user, CACHE)?;
    table.row(
        "highest in a push of the corpus",
        Unit::Mib,
        resident(&bench.station, "VmHWM:")?,
        "limit",
        PEAK_MAX,
    );
    bench.station.stop()?;
    bench.station.restart()?;
    table.row(
        "idle, with the corpus",
        Unit::Mib,
        resident(&bench.station, "VmRSS:")?,
        "limit",
        IDLE_MAX,
    );
    let served = bench.narinfos(&setting.corpus)?;
    pull::rate(
        setting,
        bench.station.address(),
        &format!("/{CACHE}/"),
        &served,
        8,
    )?;
    table.row(
        "highest in a pull by 8 clients",
        Unit::Mib,
        resident(&bench.station, "VmHWM:")?,
        "limit",
        PEAK_MAX,
    );
    Ok(table)
}

/// A line of `/proc/PID/status`, in MiB.
fn resident(station: &Station, line: &str) -> Result<f64> {
    let file = format!("/proc/{}/status", station.process_id()?);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let value = text
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .with_context(|| format!("no {line}"))?;
    let kib: u64 = value
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .with_context(|| format!("{line} {value}"))?;
    Ok(mib(kib * 1024))
}
