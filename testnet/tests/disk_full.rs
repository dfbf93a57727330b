//! A disk that fills up in the middle of a push. Where there can be no small disk, the test says so and passes.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::sync::Arc;

use anyhow::{Result, ensure};
use tetryx_testnet::folders;
use tetryx_testnet::namespace::Namespace;
use tetryx_testnet::station::Settings;
use tetryx_testnet::world::World;

#[test]
fn a_full_disk_refuses_a_push_in_words_and_takes_it_once_there_is_room() -> Result<()> {
    // Given a station whose data is on a small disk, with one path on it: the station leaves 16 MiB of a disk
    // alone, for collections to work with
    let disk = folders::temporary("disk-")?;
    let namespace = match Namespace::new() {
        Ok(namespace) => Arc::new(namespace),
        Err(reason) => {
            eprintln!("NOT TESTED: a full disk takes a disk of its own: {reason:#}");
            return Ok(());
        }
    };
    namespace.mount_tmpfs(disk.path(), 28 << 20)?;
    let mut world = World::with(Settings {
        namespace: Some(Arc::clone(&namespace)),
        data_dir: Some(disk.path().join("data")),
        ..Settings::default()
    })?;
    let cache = world.public_cache("mission-alpha")?;
    let small = world.store.build("selfish")?.remove(0);
    world.operator.cli(["push", "mission-alpha", &small])?.ok()?;
    // When more is pushed than the disk holds
    let large = world.store.build("package-1")?.remove(0);
    let said = world.operator.cli(["push", "mission-alpha", &large])?.refused()?;
    // Then the refusal says so, nothing of it is visible, and what was there is served
    ensure!(
        said.contains("full") || said.contains("space") || said.contains("room"),
        "{said}"
    );
    let paths = world
        .station
        .root()
        .get_json("/api/v1/caches/mission-alpha/paths")?;
    assert_eq!(paths["paths"].as_array().map(Vec::len), Some(1));
    let reader = world.user()?;
    let key = &cache.public_key;
    let first = reader.fresh_store("first")?;
    reader
        .nix([
            "copy",
            "--from",
            &cache.url,
            "--to",
            &first,
            &small,
            "--option",
            "trusted-public-keys",
            key,
        ])?
        .ok()?;
    // And the station opens again on the full disk
    world.station.kill()?;
    world.station.restart()?;
    // And with more room the same push is taken
    namespace.resize_tmpfs(disk.path(), 200 << 20)?;
    world.operator.cli(["push", "mission-alpha", &large])?.ok()?;
    let second = reader.fresh_store("second")?;
    reader
        .nix([
            "copy",
            "--from",
            &cache.url,
            "--to",
            &second,
            &large,
            "--option",
            "trusted-public-keys",
            key,
        ])?
        .ok()?;
    reader.expect_same(&second, &[large])
}
