//! Who may pull: private caches, two tokens on one host, tokens that have ended.

use anyhow::{Result, ensure};
use tetryx_testnet::process::Finished;
use tetryx_testnet::store::NIX_CONFIG;
use tetryx_testnet::user::User;
use tetryx_testnet::world::{World, log_in};

/// Realises a path with the configuration that `tetryx-cli use` wrote: this command names no cache and no key.
fn realise(user: &User, store: &str, path: &str) -> Result<Finished> {
    let mut command = user.command("nix-store");
    let to = user.fresh_store(store)?;
    command.args(["--store", &to, "-r", path]);
    // Without the line that keeps other tests off the network: it would beat the file. There may be no network, so
    // Nix is told not to insist on cache.nixos.org.
    let config: String = NIX_CONFIG
        .lines()
        .filter(|line| !line.starts_with("substituters"))
        .flat_map(|line| [line, "\n"])
        .collect();
    command.env(
        "NIX_CONFIG",
        format!("{config}download-attempts = 1\nconnect-timeout = 1\n"),
    );
    Finished::run(command)
}

#[test]
fn a_private_cache_is_pulled_with_what_use_wrote_and_not_without() -> Result<()> {
    // Given a private cache with a path, and a token that may pull
    let world = World::new()?;
    world.private_cache("secret")?;
    let path = world.store.build("small")?.remove(0);
    world.operator.cli(["push", "secret", &path])?.ok()?;
    let token = world.token("alice", &["--pull", "secret"])?;
    // When alice logs in and uses it, Then her Nix substitutes
    let alice = world.user()?;
    log_in(&alice, "local", &world.station.url(), &token)?;
    alice.cli(["use", "secret"])?.ok()?;
    realise(&alice, "hers", &path)?.ok()?;
    alice.expect_same(&alice.fresh_store("hers")?, &world.operator.closure(&path)?)?;
    // And somebody without the token sees no such cache
    let mallory = world.user()?;
    let url = world.cache_info("secret")?.url;
    let key = world.cache_info("secret")?.public_key;
    let store = mallory.fresh_store("his")?;
    let refused = mallory.nix_store([
        "--store",
        &store,
        "-r",
        &path,
        "--option",
        "substituters",
        &url,
        "--option",
        "trusted-public-keys",
        &key,
    ])?;
    refused.refused()?;
    assert_eq!(world.station.http().get("/secret/nix-cache-info")?.status, 404);
    Ok(())
}

#[test]
fn two_caches_with_two_tokens_on_one_host_both_work() -> Result<()> {
    // Given two private caches on one host, and for each a token that opens only this one
    let world = World::new()?;
    let paths = [
        world.store.build("small")?.remove(0),
        world.store.build("selfish")?.remove(0),
    ];
    let user = world.user()?;
    for (cache, path) in ["one", "two"].iter().zip(&paths) {
        world.private_cache(cache)?;
        world.operator.cli(["push", cache, path])?.ok()?;
        let token = world.token("bob", &["--pull", cache])?;
        log_in(&user, &format!("for-{cache}"), &world.station.url(), &token)?;
        // When both are used by the same user
        user.cli(["use", &format!("for-{cache}:{cache}")])?.ok()?;
    }
    // Then Nix substitutes from both
    for (store, path) in ["from-one", "from-two"].iter().zip(&paths) {
        realise(&user, store, path)?.ok()?;
        user.expect_same(&user.fresh_store(store)?, &world.operator.closure(path)?)?;
    }
    Ok(())
}

#[test]
fn a_revoked_token_is_refused_by_the_running_station() -> Result<()> {
    // Given a token that pushes
    let world = World::new()?;
    world.private_cache("secret")?;
    let path = world.store.build("small")?.remove(0);
    let token = world.token("carol", &["--pull", "secret", "--push", "secret"])?;
    let carol = world.user()?;
    log_in(&carol, "local", &world.station.url(), &token)?;
    carol.cli(["push", "secret", &path])?.ok()?;
    // When it is revoked
    let tokens = world.station.root().get_json("/api/v1/tokens")?;
    let hers = tokens["tokens"]
        .as_array()
        .and_then(|all| all.iter().find(|token| token["subject"] == "carol"));
    let id = hers
        .and_then(|token| token["token"].as_str())
        .map(str::to_owned)
        .unwrap_or_default();
    world.operator.cli(["token", "revoke", &id])?.ok()?;
    // Then the tool is told so, and Nix sees no cache
    let said = carol.cli(["push", "secret", &path])?.refused()?;
    ensure!(said.contains("revoked"), "{said}");
    let as_carol = tetryx_testnet::http::Http::new(&world.station.url(), Some(&token));
    assert_eq!(as_carol.get("/api/v1/caches/secret")?.status, 401);
    assert_eq!(as_carol.get("/secret/nix-cache-info")?.status, 404);
    Ok(())
}

#[test]
fn a_revocation_outlives_a_power_cut() -> Result<()> {
    let mut world = World::new()?;
    let token = world.token("dave", &["--admin"])?;
    let tokens = world.station.root().get_json("/api/v1/tokens")?;
    let his = tokens["tokens"]
        .as_array()
        .and_then(|all| all.iter().find(|token| token["subject"] == "dave"));
    let id = his
        .and_then(|token| token["token"].as_str())
        .map(str::to_owned)
        .unwrap_or_default();
    world.operator.cli(["token", "revoke", &id])?.ok()?;
    world.station.kill()?;
    world.station.restart()?;
    let as_dave = tetryx_testnet::http::Http::new(&world.station.url(), Some(&token));
    assert_eq!(as_dave.get("/api/v1/caches")?.status, 401);
    Ok(())
}

#[test]
fn an_expired_token_is_refused_by_the_running_station() -> Result<()> {
    // Given a token for one second
    let world = World::new()?;
    world.private_cache("secret")?;
    let token = world
        .operator
        .cli([
            "token",
            "create",
            "--sub",
            "eve",
            "--validity",
            "1s",
            "--pull",
            "secret",
        ])?
        .ok()?;
    let as_eve = tetryx_testnet::http::Http::new(&world.station.url(), Some(token.trim()));
    // When it is asked with until it is over: it ends by the station's clock, which nobody else reads
    let mut last = as_eve.get("/api/v1/caches/secret")?;
    for _ in 0..1_000_000 {
        if last.status != 200 {
            break;
        }
        last = as_eve.get("/api/v1/caches/secret")?;
    }
    // Then the refusal says why
    assert_eq!(last.status, 401);
    ensure!(last.text().contains("expired"), "{}", last.text());
    Ok(())
}
