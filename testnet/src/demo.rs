//! The first command of the README: three stations, of which one is lost, on embedded defaults, in plain words.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{CACHE, Cluster, Shape, name};
use crate::enclosure::Footing;
use crate::talk::say;

/// Starts three stations, pushes a closure at one, kills that, substitutes at another with a real Nix, and lets the
/// first one return.
///
/// # Errors
/// When any of that does not work.
pub fn run(footing: Footing) -> Result<()> {
    let hosts = Shape {
        hosts: 3,
        ..Shape::new(1, footing, 0)
    };
    say("1. Starting a station in an empty folder, with no configuration.")?;
    let mut cluster = Cluster::found(hosts)?;
    let secret = cluster.station(0).root_token().to_owned();
    say(&format!(
        "   {} made its keys, a cluster of one and a root token, and listens on {}.",
        name(0),
        cluster.station(0).url()
    ))?;

    say("2. Two more stations join it, each with a ticket that counts once.")?;
    for number in [1, 2] {
        say(&format!(
            "   $ tetryx-cli node invite --voter        (at {})",
            name(0)
        ))?;
        say(&format!(
            "   $ tetryx-node join txjoin1…             (at {})",
            name(number)
        ))?;
        cluster.join_next()?;
        for line in cluster
            .station(number)
            .printed()
            .lines()
            .filter(|line| is_check(line))
        {
            say(&format!("      {}", line.trim()))?;
        }
    }
    cluster.wait_for_members(3)?;
    cluster.agree()?;
    say("   They are one cluster now: whoever is asked gives the same answers.")?;

    say("3. Making a cache, and building a package with Nix, here and now, without a network.")?;
    cluster.make_cache()?;
    if !cluster.store().is_default() {
        say(&format!(
            "   (Nix cannot have /nix/store to itself here, so the paths belong to {}.)",
            cluster.store().store_dir().display()
        ))?;
    }
    let key = cluster.cache_at(0)?.public_key;
    let built = cluster.store().build("tool")?;
    let path = built.first().context("the build made nothing")?;
    let operator = cluster.user()?;
    let closure = operator.closure(path)?;
    say(&format!("   {path}"))?;
    say(&format!(
        "   needs {} store paths, itself included; the cache signs with {key}",
        closure.len()
    ))?;

    say(&format!(
        "4. Pushing it at {}, with everything it needs.",
        name(0)
    ))?;
    say(&format!("   $ tetryx-cli push {}:{CACHE} {path}", name(0)))?;
    let pushed = cluster.pusher().push(0, std::slice::from_ref(path))?;
    for line in pushed
        .finished
        .stderr
        .lines()
        .rev()
        .take(3)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        say(&format!("      {}", line.replace(&secret, "…")))?;
    }
    let acknowledged = pushed.acknowledged.len();
    pushed.finished.ok()?;
    ensure!(
        acknowledged == closure.len(),
        "{acknowledged} of {} paths were acknowledged",
        closure.len()
    );

    say(&format!(
        "5. Killing {} (SIGKILL) the moment its answer is there: what was acknowledged is at two stations.",
        name(0)
    ))?;
    cluster.station_mut(0).kill()?;

    for station in [1, 2] {
        say(&format!(
            "{}. Substituting it at {} with Nix, into a store that was empty until now.",
            5 + station,
            name(station)
        ))?;
        substitute(&cluster, station, path, &closure, &key)?;
    }

    say(&format!("8. {} comes back.", name(0)))?;
    cluster.station_mut(0).start_again()?;
    cluster.station(0).wait_ready()?;
    cluster.agree()?;
    cluster.wait_until_copied()?;
    let status = cluster.status(0)?;
    let leader = (0..3).find(|station| cluster.node_id(*station).is_ok_and(|id| status["leader"] == id));
    say(&format!(
        "   All three agree again, at change {} of the log; {} leads, and every path has its three copies.",
        status["applied_index"],
        leader.map_or_else(|| "somebody".to_owned(), name)
    ))?;
    substitute(&cluster, 0, path, &closure, &key)?;
    say("")?;
    say("Done: a package pushed at one station outlived it, and Nix got it, verified, from every other.")
}

/// The numbered checks that a joining station prints.
fn is_check(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(|first: char| first.is_ascii_digit())
        && line.get(1..2).is_some_and(|dot| dot == "." || dot == "/")
}

fn substitute(cluster: &Cluster, station: usize, path: &str, closure: &[String], key: &str) -> Result<()> {
    let reader = cluster.user()?;
    let url = cluster.cache_at(station)?.url;
    let fresh = reader.fresh_store("fresh")?;
    say(&format!("   $ nix-store --store fresh -r {path} \\"))?;
    say(&format!(
        "       --option substituters {url} --option trusted-public-keys {key}"
    ))?;
    let got = reader
        .nix_store([
            "--store",
            &fresh,
            "-r",
            path,
            "--option",
            "substituters",
            &url,
            "--option",
            "trusted-public-keys",
            key,
        ])?
        .ok()?;
    ensure!(got.contains(path), "nix-store did not substitute {path}: {got}");
    reader.expect_same(&fresh, closure)?;
    let tool = format!(
        "{fresh}/nix/store/{}/bin/tool",
        path.rsplit('/').next().unwrap_or_default()
    );
    let tool = fs::read(&tool).with_context(|| format!("cannot read {tool}"))?;
    ensure!(
        tool.ends_with(b"echo the tool runs\n"),
        "the tool is not what was built"
    );
    say(&format!(
        "   All {} paths are the same as here, bit for bit, read back from the disk.",
        closure.len()
    ))
}
