//! What is cut off goes on where it was, both ways; what is there is not sent again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tetryx_testnet::process::DEADLINE;
use tetryx_testnet::wire::Wire;
use tetryx_testnet::world::World;

/// Requests and answers beside the chunks: heads, hashes asked for, JSON.
const TALK: u64 = 1 << 20;

#[test]
fn a_nar_cut_in_half_is_resumed_by_nix_through_a_range() -> Result<()> {
    // Given a large NAR behind a wire that breaks in its middle, once
    let world = World::new()?;
    world.public_cache("mission-alpha")?;
    let path = world.store.build("big")?.remove(0);
    world.operator.cli(["push", "mission-alpha", &path])?.ok()?;
    let hash = &path.rsplit('/').next().context("a store path")?[..32];
    let info = world
        .station
        .http()
        .get(&format!("/mission-alpha/{hash}.narinfo"))?
        .ok()?
        .text();
    let size = info
        .lines()
        .find_map(|line| line.strip_prefix("FileSize: "))
        .context("a size")?;
    let size: u64 = size.parse()?;
    let wire = Wire::to(world.station.address())?;
    wire.cut_answers_after(size / 2, 1);
    // When Nix copies the path
    let stranger = world.user()?;
    let (from, to) = (
        format!("{}/mission-alpha", wire.url()),
        stranger.fresh_store("copied")?,
    );
    let key = world.cache_info("mission-alpha")?.public_key;
    stranger
        .nix([
            "copy",
            "--from",
            &from,
            "--to",
            &to,
            &path,
            "--option",
            "trusted-public-keys",
            &key,
        ])?
        .ok()?;
    // Then it asked for the rest by range, and no byte came twice
    ensure!(
        wire.cuts_made() == 1 && wire.requests().contains("Range: bytes="),
        "{}",
        wire.requests()
    );
    ensure!(wire.received() < size + TALK, "{} of {size}", wire.received());
    stranger.expect_same(&to, &[path])
}

#[test]
fn a_push_that_was_killed_sends_only_the_rest_when_it_is_run_again() -> Result<()> {
    // Given how much an undisturbed push of a large NAR sends
    let world = World::new()?;
    let path = world.store.build("package-1")?.remove(0);
    let whole = {
        let (other, wire) = world_behind_wire()?;
        other.public_cache("mission-alpha")?;
        other
            .user_behind(&wire)?
            .cli(["push", "mission-alpha", &path])?
            .ok()?;
        wire.sent()
    };
    world.public_cache("mission-alpha")?;
    // When a push is killed after half of it, and run again
    let first = Wire::to(world.station.address())?;
    let user = world.user_behind(&first)?;
    let mut push = user.start_cli(["push", "mission-alpha", &path])?;
    ensure!(
        first.has_sent(whole / 2, DEADLINE),
        "the push should have sent half"
    );
    push.kill()?;
    let arrived = first.sent();
    drop(first);
    ensure!(
        !is_visible(&world, &path)?,
        "a path that was not committed is visible"
    );
    let second = Wire::to(world.station.address())?;
    let user = world.user_behind(&second)?;
    user.cli(["push", "mission-alpha", &path])?.ok()?;
    // Then only the rest was sent: what was on its way when the client died may go twice
    let on_the_way = 8 << 20;
    ensure!(
        second.sent() < whole - arrived + on_the_way,
        "{arrived} of {whole}, then {}",
        second.sent()
    );
    ensure!(is_visible(&world, &path)?);
    Ok(())
}

#[test]
fn a_changed_version_of_a_package_sends_its_changed_chunks() -> Result<()> {
    // Given version 1 of a package of 20 MB in the cache
    let (world, wire) = world_behind_wire()?;
    world.public_cache("mission-alpha")?;
    let user = world.user_behind(&wire)?;
    let first = world.store.build("package-1")?.remove(0);
    user.cli(["push", "mission-alpha", &first])?.ok()?;
    let whole = wire.sent();
    ensure!(whole > 15 << 20, "{whole}");
    // When version 2 is pushed, which has one word more in the middle
    let second = world.store.build("package-2")?.remove(0);
    user.cli(["push", "mission-alpha", &second])?.ok()?;
    // Then one or two chunks crossed the wire, and Nix gets it whole
    let sent = wire.sent() - whole;
    ensure!(sent < 2 << 20, "{sent} bytes for one word");
    let cache = world.cache_info("mission-alpha")?;
    let to = user.fresh_store("copied")?;
    user.nix([
        "copy",
        "--from",
        &cache.url,
        "--to",
        &to,
        &second,
        "--option",
        "trusted-public-keys",
        &cache.public_key,
    ])?
    .ok()?;
    user.expect_same(&to, &[second])
}

#[test]
fn a_path_that_another_cache_has_costs_no_chunk() -> Result<()> {
    let (world, wire) = world_behind_wire()?;
    for cache in ["one", "two"] {
        world.public_cache(cache)?;
    }
    let user = world.user_behind(&wire)?;
    let path = world.store.build("package-1")?.remove(0);
    user.cli(["push", "one", &path])?.ok()?;
    let before = wire.sent();
    user.cli(["push", "two", &path])?.ok()?;
    ensure!(wire.sent() - before < TALK, "{}", wire.sent() - before);
    Ok(())
}

#[test]
fn two_clients_that_push_the_same_path_at_once_both_succeed() -> Result<()> {
    // Given two users with the same closure
    let world = World::new()?;
    let cache = world.public_cache("mission-alpha")?;
    let path = world.store.build("package-1")?.remove(0);
    let wire = Wire::to(world.station.address())?;
    let (one, two) = (world.user_behind(&wire)?, world.user()?);
    tetryx_testnet::world::log_in(&two, "local", &world.station.url(), world.station.root_token())?;
    // When the second begins while the first is in the middle
    let first = one.start_cli(["push", "mission-alpha", &path])?;
    ensure!(wire.has_sent(4 << 20, Duration::from_secs(60)));
    let second = two.cli(["push", "mission-alpha", &path])?;
    // Then both are told that it is done, and it is there once, whole
    second.ok()?;
    first.wait()?.ok()?;
    let paths = world
        .station
        .root()
        .get_json("/api/v1/caches/mission-alpha/paths")?;
    assert_eq!(paths["paths"].as_array().map(Vec::len), Some(1));
    let to = one.fresh_store("copied")?;
    one.nix([
        "copy",
        "--from",
        &cache.url,
        "--to",
        &to,
        &path,
        "--option",
        "trusted-public-keys",
        &cache.public_key,
    ])?
    .ok()?;
    one.expect_same(&to, &[path])
}

fn world_behind_wire() -> Result<(World, Wire)> {
    let world = World::new()?;
    let wire = Wire::to(world.station.address())?;
    Ok((world, wire))
}

fn is_visible(world: &World, path: &str) -> Result<bool> {
    let hash = &path.rsplit('/').next().context("a store path")?[..32];
    Ok(world
        .station
        .http()
        .get(&format!("/mission-alpha/{hash}.narinfo"))?
        .status
        == 200)
}
