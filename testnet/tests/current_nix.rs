//! The same pulls with a current Nix (`testnet/current-nix.sh`). Where it cannot be had, the tests say so and pass.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tetryx_testnet::current_nix::CurrentNix;
use tetryx_testnet::wire::Wire;
use tetryx_testnet::world::{Cache, World, log_in};

struct Pushed {
    nix: CurrentNix,
    world: World,
    cache: Cache,
    root: String,
    closure: Vec<String>,
}

/// A station with a closure in a public cache, and a current Nix; nothing where there can be none.
fn pushed(attribute: &str) -> Result<Option<Pushed>> {
    let world = World::new()?;
    let nix = match CurrentNix::prepare(&world.store.store_dir())? {
        Ok(nix) => nix,
        Err(reason) => {
            eprintln!("NOT TESTED with a current Nix: {reason}");
            return Ok(None);
        }
    };
    let cache = world.public_cache("mission-alpha")?;
    let root = world.store.build(attribute)?.remove(0);
    world.operator.cli(["push", "mission-alpha", &root])?.ok()?;
    let closure = world.operator.closure(&root)?;
    Ok(Some(Pushed {
        nix,
        world,
        cache,
        root,
        closure,
    }))
}

impl Pushed {
    /// The NAR hashes of the closure in a store of the current Nix, as SRI, by path.
    fn hashes(&self, store: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        let said = self
            .nix
            .nix(&["path-info", "--json", "--store", store, "--recursive", &self.root])?
            .ok()?;
        let infos: serde_json::Value = serde_json::from_str(&said)?;
        // From 2.33 on there is a level more, and base names for keys.
        let infos = infos
            .get("info")
            .unwrap_or(&infos)
            .as_object()
            .context("an object of paths")?;
        let entry = |(path, info): (&String, &serde_json::Value)| {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            (name, info["narHash"].clone())
        };
        Ok(infos.iter().map(entry).collect())
    }

    /// The same as they were built, by the old Nix.
    fn built(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        let said = self
            .world
            .operator
            .nix(["path-info", "--json", "--recursive", &self.root])?
            .ok()?;
        let infos: Vec<serde_json::Value> = serde_json::from_str(&said)?;
        let entry = |info: &serde_json::Value| {
            let name = info["path"].as_str()?.rsplit('/').next()?.to_owned();
            Some((name, info["narHash"].clone()))
        };
        infos
            .iter()
            .map(|info| entry(info).context("a path with a hash"))
            .collect()
    }

    fn copy(&self, from: &str, to: &str, key: &str) -> Result<Result<String>> {
        let args = [
            "copy",
            "--from",
            from,
            "--to",
            to,
            &self.root,
            "--option",
            "trusted-public-keys",
            key,
        ];
        Ok(self.nix.nix(&args)?.ok())
    }
}

#[test]
fn a_current_nix_copies_a_closure_of_every_kind_of_path_as_it_was() -> Result<()> {
    let Some(pushed) = pushed("all")? else {
        return Ok(());
    };
    ensure!(
        pushed.nix.version()?.as_str() > "2.2",
        "{} is not current",
        pushed.nix.version()?
    );
    // When it is copied, with the printed key only
    pushed.copy(&pushed.cache.url, "/mnt/fresh", &pushed.cache.public_key)??;
    // Then the databases agree, and the disk with the database
    let hashes = pushed.hashes("/mnt/fresh")?;
    assert_eq!(hashes, pushed.built()?);
    assert_eq!(hashes.len(), pushed.closure.len());
    let key = &pushed.cache.public_key;
    let verify = [
        "store",
        "verify",
        "--store",
        "/mnt/fresh",
        "--all",
        "--option",
        "trusted-public-keys",
        key,
    ];
    pushed.nix.nix(&verify)?.ok().map(|_| ())
}

#[test]
fn a_current_nix_reads_and_verifies_the_cache_itself() -> Result<()> {
    let Some(pushed) = pushed("tool")? else {
        return Ok(());
    };
    assert_eq!(pushed.hashes(&pushed.cache.url)?, pushed.built()?);
    let (url, key) = (&pushed.cache.url, &pushed.cache.public_key);
    let verify = [
        "store",
        "verify",
        "--store",
        url,
        "-r",
        &pushed.root,
        "--option",
        "trusted-public-keys",
        key,
    ];
    pushed.nix.nix(&verify)?.ok().map(|_| ())
}

#[test]
fn a_current_nix_refuses_a_wrong_key() -> Result<()> {
    let Some(pushed) = pushed("small")? else {
        return Ok(());
    };
    let wrong = "mission-alpha:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let refusal = pushed
        .copy(&pushed.cache.url, "/mnt/fresh", wrong)?
        .err()
        .context("a wrong key should be refused")?;
    ensure!(format!("{refusal:#}").contains("signature"), "{refusal:#}");
    Ok(())
}

#[test]
fn a_current_nix_resumes_a_nar_that_was_cut_in_half() -> Result<()> {
    let Some(pushed) = pushed("package-1")? else {
        return Ok(());
    };
    let wire = Wire::to(pushed.world.station.address())?;
    wire.cut_answers_after(10 << 20, 1);
    pushed.copy(
        &format!("{}/mission-alpha", wire.url()),
        "/mnt/fresh",
        &pushed.cache.public_key,
    )??;
    let (cuts, asked) = (wire.cuts_made(), wire.requests().to_lowercase());
    ensure!(
        cuts == 1 && asked.contains("range: bytes="),
        "{cuts} cuts, {} received: {asked}",
        wire.received()
    );
    assert_eq!(pushed.hashes("/mnt/fresh")?, pushed.built()?);
    Ok(())
}

#[test]
fn a_current_nix_takes_a_missing_path_and_a_private_cache_for_absent_ones() -> Result<()> {
    // A 401 would end the build of a current Nix; a 404 lets it go on with the next substituter.
    let Some(pushed) = pushed("small")? else {
        return Ok(());
    };
    pushed.world.private_cache("secret")?;
    let private = pushed.cache.url.replace("mission-alpha", "secret");
    let substituters = format!("{private} {}", pushed.cache.url);
    let key = &pushed.cache.public_key;
    pushed
        .nix
        .run(
            "nix-store",
            &[
                "--store",
                "/mnt/fresh",
                "-r",
                &pushed.root,
                "--option",
                "substituters",
                &substituters,
                "--option",
                "trusted-public-keys",
                key,
            ],
        )?
        .ok()
        .map(|_| ())
}

#[test]
fn a_current_nix_pulls_from_two_private_caches_with_what_use_wrote() -> Result<()> {
    // Given two private caches on one host, and somebody who used both, with a token for each
    let Some(pushed) = pushed("small")? else {
        return Ok(());
    };
    let world = &pushed.world;
    let user = world.user()?;
    let paths = [pushed.root.clone(), world.store.build("selfish")?.remove(0)];
    for (cache, path) in ["one", "two"].iter().zip(&paths) {
        world.private_cache(cache)?;
        world.operator.cli(["push", cache, path])?.ok()?;
        let token = world.token("bob", &["--pull", cache])?;
        log_in(&user, &format!("for-{cache}"), &world.station.url(), &token)?;
        user.cli(["use", &format!("for-{cache}:{cache}")])?.ok()?;
    }
    // When a current Nix reads these files, which say where the netrc lies outside of the chroot
    let (written, read) = (
        user.home().join(".config/nix"),
        pushed.nix.work().join("home/.config/nix"),
    );
    fs::create_dir_all(&read)?;
    fs::copy(written.join("netrc"), read.join("netrc"))?;
    let conf = fs::read_to_string(written.join("nix.conf"))?;
    let written = written.to_str().context("a home is UTF-8")?;
    ensure!(conf.contains(written), "{conf}");
    fs::write(
        read.join("nix.conf"),
        conf.replace(written, "/mnt/home/.config/nix"),
    )?;
    // Then each path comes from its own cache
    for path in &paths {
        pushed
            .nix
            .run_as_configured("nix-store", &["--store", "/mnt/fresh", "-r", path])?
            .ok()?;
    }
    Ok(())
}
