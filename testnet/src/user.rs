//! Somebody with a home folder, Nix and `tetryx-cli`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::binaries;
use crate::folders::{self, Temporary};
use crate::process::{Finished, Running};
use crate::store::PrivateStore;

/// A user of this machine: own home, own configuration, own caches; a Nix store that may be shared with others.
#[derive(Debug)]
pub struct User {
    home: Temporary,
    store: Arc<PrivateStore>,
}

impl User {
    /// A user with an empty home.
    ///
    /// # Errors
    /// When the home cannot be made.
    pub fn new(store: Arc<PrivateStore>) -> Result<Self> {
        let home = folders::temporary("home-")?;
        for folder in [".cache", ".config", ".local/share", ".local/state"] {
            fs::create_dir_all(home.path().join(folder)).context("cannot furnish a home")?;
        }
        Ok(Self { home, store })
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The user's local Nix store.
    pub fn store(&self) -> &PrivateStore {
        &self.store
    }

    /// A folder of that name in the home, for another Nix store.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Any program, run by this user.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.store.command(program, self.home.path())
    }

    /// Runs `nix` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn nix(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Finished> {
        let mut command = self.command("nix");
        command.args(args);
        Finished::run(command)
    }

    /// Runs `nix-store` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn nix_store(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Finished> {
        let mut command = self.command("nix-store");
        command.args(args);
        Finished::run(command)
    }

    /// Runs `tetryx-cli` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn cli(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Finished> {
        let mut command = self.command(binaries::cli()?);
        command.args(args);
        Finished::run(command)
    }

    /// Starts `tetryx-cli` and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_cli(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Running> {
        let mut command = self.command(binaries::cli()?);
        command.args(args);
        Running::start(command)
    }

    /// The paths that `path` needs, itself included, as the user's Nix database has them.
    ///
    /// # Errors
    /// When the path is not valid.
    pub fn closure(&self, path: &str) -> Result<Vec<String>> {
        Ok(self
            .nix_store(["-qR", path])?
            .ok()?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// The hashes of paths' NARs as the database of a store has them, in the order of the paths.
    ///
    /// `store` is what `nix-store --store` takes; the local one if empty.
    ///
    /// # Errors
    /// When a path is not valid there.
    pub fn nar_hashes(&self, store: &str, paths: &[String]) -> Result<Vec<String>> {
        let mut args = vec!["-q", "--hash"];
        args.extend(paths.iter().map(String::as_str));
        if !store.is_empty() {
            args.splice(0..0, ["--store", store]);
        }
        Ok(self.nix_store(args)?.ok()?.lines().map(str::to_owned).collect())
    }

    /// Checks that paths of another store are what they are in the local one, bit for bit: that the databases agree,
    /// and that what is on the other's disk is what its database says.
    ///
    /// # Errors
    /// When they are not, with the first difference.
    pub fn expect_same(&self, store: &str, paths: &[String]) -> Result<()> {
        let (here, there) = (self.nar_hashes("", paths)?, self.nar_hashes(store, paths)?);
        for ((path, here), there) in paths.iter().zip(&here).zip(&there) {
            ensure!(
                here == there,
                "{path} has the hash {here} here and {there} in {store}"
            );
        }
        self.nix_store(
            ["--store", store, "--verify-path"]
                .into_iter()
                .chain(paths.iter().map(String::as_str)),
        )?
        .ok()?;
        let references = |store: &str| -> Result<Vec<String>> {
            let mut args = vec!["-q", "--references"];
            args.extend(paths.iter().map(String::as_str));
            if !store.is_empty() {
                args.splice(0..0, ["--store", store]);
            }
            Ok(self.nix_store(args)?.ok()?.lines().map(str::to_owned).collect())
        };
        ensure!(
            references("")? == references(store)?,
            "references in {store} are others than here"
        );
        Ok(())
    }

    /// A name for a store in the home that does not exist yet.
    ///
    /// # Errors
    /// When the home is not UTF-8.
    pub fn fresh_store(&self, name: &str) -> Result<String> {
        self.folder(name)
            .into_os_string()
            .into_string()
            .ok()
            .context("a home is UTF-8")
    }
}
