//! Other places than the usual ones: a store that is not `/nix/store`, the demo from where it was built.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use tetryx_testnet::folders;
use tetryx_testnet::process::Finished;
use tetryx_testnet::station::Station;
use tetryx_testnet::store::PrivateStore;
use tetryx_testnet::user::User;
use tetryx_testnet::world::log_in;

#[test]
fn a_cache_serves_a_store_with_another_store_directory() -> Result<()> {
    // Given a store below a folder of its own, and a cache that says so
    let folder = folders::temporary("elsewhere-")?;
    let store = Arc::new(PrivateStore::elsewhere(folder.path())?);
    let dir = store
        .store_dir()
        .into_os_string()
        .into_string()
        .ok()
        .context("UTF-8")?;
    let station = Station::start()?;
    let user = User::new(Arc::clone(&store))?;
    log_in(&user, "local", &station.url(), station.root_token())?;
    user.cli(["cache", "create", "elsewhere", "--public", "--store-dir", &dir])?
        .ok()?;
    // When its paths are pushed
    let path = store.build("tool")?.remove(0);
    user.cli(["push", "elsewhere", &path])?.ok()?;
    // Then Nix with the same store directory substitutes them
    let info = station.http().get("/elsewhere/nix-cache-info")?.ok()?.text();
    ensure!(info.contains(&format!("StoreDir: {dir}\n")), "{info}");
    let cache = station.root().get_json("/api/v1/caches/elsewhere")?;
    let (url, key) = (
        format!("{}/elsewhere", station.url()),
        cache["public_key"].as_str().context("a key")?,
    );
    let to = user.fresh_store("fresh")?;
    user.nix([
        "copy",
        "--from",
        &url,
        "--to",
        &to,
        &path,
        "--option",
        "trusted-public-keys",
        key,
    ])?
    .ok()?;
    user.expect_same(&to, &user.closure(&path)?)
}

#[test]
fn a_path_of_another_store_directory_is_refused_by_name() -> Result<()> {
    let folder = folders::temporary("elsewhere-")?;
    let store = Arc::new(PrivateStore::elsewhere(folder.path())?);
    let station = Station::start()?;
    let user = User::new(Arc::clone(&store))?;
    log_in(&user, "local", &station.url(), station.root_token())?;
    user.cli(["cache", "create", "usual"])?.ok()?;
    let path = store.build("small")?.remove(0);
    let said = user.cli(["push", "usual", &path])?.refused()?;
    ensure!(said.contains(&path) && said.contains("Nix store"), "{said}");
    Ok(())
}

#[test]
fn the_demo_runs_to_its_end() -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tetryx-testnet"));
    command.arg("demo");
    let said = Finished::run(command)?.ok()?;
    // At two stations while the third is dead, and at that once it is back.
    let compared = said
        .matches("All 27 paths are the same as here, bit for bit")
        .count();
    ensure!(compared == 3 && said.contains("\nDone: "), "{said}");
    Ok(())
}
