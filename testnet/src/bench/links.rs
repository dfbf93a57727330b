//! Over slow links: one large NAR behind a satellite, and one from four providers at once.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::copies::fetch;
use super::table::{Table, Unit};
use crate::clock::Stopwatch;
use crate::cluster::{CACHE, Cluster, Shape};
use crate::emulator::LinkSettings;
use crate::enclosure::Footing;
use crate::folders;
use crate::patience;
use crate::process::{Finished, Running};

/// The NAR behind the satellite.
const GEO_BYTES: usize = 256 << 20;
/// Paths that are made until chance places one where it is pushed.
const TRIES: usize = 12;
/// What its link carries.
const GEO_RATE: u64 = 50_000_000;
/// The link is as it is for so long before TCP is stopped: it would take an hour for the whole.
const TCP_SECONDS: &str = "40";
/// The NAR from several providers.
const SHARED_BYTES: usize = 40 << 20;
/// What each provider's link carries.
const SHARED_RATE: u64 = 20_000_000;

fn geo() -> LinkSettings {
    LinkSettings {
        delay: Duration::from_millis(300),
        loss: 0.01,
        rate: Some(GEO_RATE),
        queue: 2 << 20,
        ..LinkSettings::default()
    }
}

/// A station asks another one for a NAR that only that one has, over 600 ms and 1 % loss; and `curl` asks a web server for
/// as many bytes over the same link.
pub(super) fn satellite() -> Result<Table> {
    let config = format!(
        "[p2p]\nmdns = false\nrate = \"{} Mbit/s\"\nrtt = \"600ms\"\n\n[raft]\nprofile = \"geo\"\n\n\
         [replication]\ncopies = 1\nwrite_replicas = 1\n",
        GEO_RATE / 1_000_000
    );
    let cluster = Cluster::start(Shape {
        config: Some(config),
        ..Shape::new(2, Footing::Namespaces, 1)
    })?;
    cluster.make_cache()?;
    let path = path_of_one(&cluster)?;
    let links = cluster.links()?;
    links.set(0, 1, geo());
    links.set(1, 0, geo());

    let watch = Stopwatch::start();
    let bytes = fetch(&cluster.station(1).http(), &path)?;
    let ours = megabits(bytes, watch.seconds());
    let tcp = curl_over(&cluster, 0, 1)?;
    let mut table = Table::new("one NAR of 256 MiB over 600 ms, 1 % loss, 50 Mbit/s");
    table.row(
        "share of the link",
        Unit::MegabitPerSecond,
        ours,
        "the link",
        megabits_of(GEO_RATE),
    );
    table.row(
        "beside TCP",
        Unit::MegabitPerSecond,
        ours,
        "curl, one TCP connection",
        tcp,
    );
    Ok(table)
}

/// Pushes at the first station until a path is placed there only: chance decides which of the two is to hold it.
fn path_of_one(cluster: &Cluster) -> Result<String> {
    for number in 1..=TRIES {
        let path = cluster
            .make_paths(&format!("image-{number}"), 1, GEO_BYTES)?
            .remove(0);
        let before = pack_bytes(cluster)?;
        cluster.cli(0, ["push", CACHE, &path])?;
        cluster.wait_until_copied()?;
        if pack_bytes(cluster)?[1] == before[1] {
            return Ok(path);
        }
    }
    bail!("none of {TRIES} paths was placed at the first station")
}

/// What one TCP connection gets from the host of one station to that of another, in Mbit/s.
fn curl_over(cluster: &Cluster, from: usize, to: usize) -> Result<f64> {
    let hosts = cluster.net().hosts();
    let (server, client) = (&hosts[from], &hosts[to]);
    let (server_ns, client_ns) = (
        server.namespace.as_ref().context("a host of its own")?,
        client.namespace.as_ref().context("a host of its own")?,
    );
    let folder = folders::temporary("curl-")?;
    fs::write(folder.path().join("image"), vec![7; GEO_BYTES]).context("cannot write a file")?;
    let mut command = server_ns.command("python3");
    command
        .args([
            "-m",
            "http.server",
            "8000",
            "--bind",
            &server.space.to_string(),
            "--directory",
        ])
        .arg(folder.path());
    let _server = Running::start(command)?;
    let url = format!("http://{}:8000/image", server.space);
    patience::until("a web server answers", Duration::from_secs(20), || {
        let mut head = client_ns.command("curl");
        head.args(["--silent", "--fail", "--head", "--output", "/dev/null", &url]);
        Finished::run(head)?.ok()
    })?;
    let mut command: Command = client_ns.command("curl");
    command.args([
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{speed_download}",
    ]);
    command.args(["--max-time", TCP_SECONDS, &url]);
    let said = Finished::run(command)?.stdout;
    let bytes_a_second: f64 = said
        .trim()
        .parse()
        .with_context(|| format!("curl said {said:?}"))?;
    Ok(bytes_a_second * 8.0 / 1e6)
}

/// The same NAR for a station that lacks it: from one provider, and from four, each behind 20 Mbit/s.
pub(super) fn providers() -> Result<Table> {
    let config =
        "[p2p]\nmdns = false\n\n[raft]\nprofile = \"wan\"\n\n[replication]\ncopies = 4\nwrite_replicas = 1\n";
    let cluster = Cluster::start(Shape {
        config: Some(config.to_owned()),
        ..Shape::new(5, Footing::Namespaces, 1)
    })?;
    cluster.make_cache()?;
    let mut seconds = Vec::new();
    for name in ["from-one", "from-four"] {
        let path = cluster.make_paths(name, 1, SHARED_BYTES)?.remove(0);
        let before = pack_bytes(&cluster)?;
        cluster.cli(0, ["push", CACHE, &path])?;
        cluster.wait_until_copied()?;
        let grown = pack_bytes(&cluster)?
            .into_iter()
            .zip(before)
            .map(|(after, before)| after - before);
        let (_, lacking) = grown.zip(0..).min().context("there are stations")?;
        let links = cluster.links()?;
        for station in (0..cluster.len()).filter(|station| *station != lacking) {
            let settings = LinkSettings {
                delay: Duration::from_millis(10),
                rate: Some(SHARED_RATE),
                ..LinkSettings::default()
            };
            links.set(station, lacking, settings.clone());
            links.set(lacking, station, settings);
        }
        if name == "from-one" {
            let holders = (0..cluster.len()).filter(|station| *station != lacking);
            for silent in holders.skip(1) {
                links.cut(silent, lacking, true);
                links.cut(lacking, silent, true);
            }
        }
        let watch = Stopwatch::start();
        fetch(&cluster.station(lacking).http(), &path)?;
        seconds.push(watch.seconds());
        links.heal();
        links.set_all(crate::emulator::Profile::Lan);
    }
    let mut table = Table::new("one NAR of 40 MiB, each provider behind 20 Mbit/s");
    let rate = |seconds: f64| megabits(SHARED_BYTES, seconds);
    table.row(
        "from four providers",
        Unit::MegabitPerSecond,
        rate(seconds[1]),
        "from one",
        rate(seconds[0]),
    );
    Ok(table)
}

/// What each station has on disk.
fn pack_bytes(cluster: &Cluster) -> Result<Vec<u64>> {
    let bytes = |station| {
        let status = cluster.status(station)?;
        status["store"]["pack_bytes"].as_u64().context("packs have bytes")
    };
    (0..cluster.len()).map(bytes).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabits(bytes: usize, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / 1e6 / seconds
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabits_of(rate: u64) -> f64 {
    rate as f64 / 1e6
}
