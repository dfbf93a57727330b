//! The first command of the README: the main job from end to end, on embedded defaults, in plain words.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::folders;
use crate::station::Station;
use crate::store::PrivateStore;
use crate::talk::say;
use crate::user::User;

/// Starts a station, pushes a store path with its closure, substitutes it into a fresh store and compares.
///
/// # Errors
/// When any of that does not work.
pub fn run() -> Result<()> {
    let folder = folders::temporary("demo-")?;
    let store = Arc::new(PrivateStore::open(&folder.path().join("nix"))?);
    let user = User::new(Arc::clone(&store))?;
    let store_dir = store.store_dir();
    let store_dir = store_dir.to_str().context("a store directory is UTF-8")?;

    say("1. Starting a station in an empty folder, with no configuration.")?;
    let station = Station::start()?;
    say(&format!(
        "   It made its keys, a cluster of one and a root token, and listens on {}.",
        station.url()
    ))?;
    say("   tetryx-node printed:")?;
    let printed = station
        .printed()
        .replace(station.root_token(), &shortened(station.root_token()));
    for line in printed
        .lines()
        .filter(|line| line.contains("tetryx-cli login") || line.contains("Listening"))
    {
        say(&format!("      {}", line.trim()))?;
    }

    say("2. Logging in and making a cache.")?;
    step(
        &user,
        &["login", "local", &station.url(), station.root_token()],
        station.root_token(),
    )?;
    let mut create = vec!["cache", "create", "mission-alpha", "--public"];
    if !store.is_default() {
        say(&format!(
            "   (Nix cannot have /nix/store to itself here, so the paths belong to {store_dir}.)"
        ))?;
        create.extend(["--store-dir", store_dir]);
    }
    step(&user, &create, station.root_token())?;
    let info = station.http().get_json("/api/v1/caches/mission-alpha")?;
    let text = |field: &str| {
        info[field]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {field}"))
    };
    let (key, url) = (text("public_key")?, text("substituter_endpoint")?);
    say(&format!("   The cache signs with the public key {key}"))?;

    say("3. Building a package with Nix, here and now, without a network.")?;
    let built = store.build("tool")?;
    let path = built.first().context("the build made nothing")?;
    let closure = user.closure(path)?;
    say(&format!("   {path}"))?;
    say(&format!(
        "   needs {} store paths, itself included.",
        closure.len()
    ))?;

    say("4. Pushing it, with everything it needs.")?;
    step(&user, &["push", "mission-alpha", path], station.root_token())?;

    say(
        "5. Substituting it with Nix into a store that was empty until now; Nix trusts that public key only.",
    )?;
    let fresh = &user.fresh_store("fresh")?;
    let args = [
        "--store",
        fresh,
        "-r",
        path,
        "--option",
        "substituters",
        &url,
        "--option",
        "trusted-public-keys",
        &key,
    ];
    say(&format!("   $ nix-store --store fresh -r {path} \\"))?;
    say(&format!(
        "       --option substituters {url} --option trusted-public-keys {key}"
    ))?;
    let got = user.nix_store(args)?.ok()?;
    ensure!(
        got.contains(path.as_str()),
        "nix-store did not substitute {path}: {got}"
    );

    say("6. Comparing: every path's hash, read back from the fresh store's disk.")?;
    user.expect_same(fresh, &closure)?;
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
        "   All {} paths are the same, bit for bit.",
        closure.len()
    ))?;
    let status = station.root().get_json("/api/v1/status")?;
    say(&format!(
        "   The station keeps {} NARs, {} bytes, as {} chunks in {} bytes of packs.",
        status["nars"], status["nar_bytes"], status["store"]["chunks"], status["store"]["pack_bytes"]
    ))?;
    say("")?;
    say(
        "Done: a station that needed no set-up took a real Nix closure and gave it back to a real Nix, verified.",
    )
}

/// Runs `tetryx-cli`, showing what a person would type and read.
fn step(user: &User, args: &[&str], secret: &str) -> Result<()> {
    let short = shortened(secret);
    let typed: Vec<_> = args
        .iter()
        .map(|arg| if *arg == secret { short.as_str() } else { arg })
        .collect();
    say(&format!("   $ tetryx-cli {}", typed.join(" ")))?;
    let done = user.cli(args)?;
    for line in done.stderr.lines().chain(done.stdout.lines()) {
        say(&format!("      {line}"))?;
    }
    done.ok().map(|_| ())
}

fn shortened(secret: &str) -> String {
    format!("{}…", secret.get(..12).unwrap_or_default())
}
