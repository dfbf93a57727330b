//! A Nix of today, in a Debian chroot beside the machine's own (`testnet/current-nix.sh`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::folders::{self, Temporary};
use crate::process::Finished;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/current-nix.sh");
const NIX_CONFIG: &str = "build-users-group =\nsandbox = false\nexperimental-features = nix-command\n\
    fsync-metadata = false\n";
/// The script's exit code for "not on this machine".
const SKIPPED: i32 = 77;

/// A current Nix with a home and a folder for stores.
#[derive(Debug)]
pub struct CurrentNix {
    chroot: PathBuf,
    store_dir: PathBuf,
    work: Temporary,
}

impl CurrentNix {
    /// Makes the chroot, or finds it made; its Nix has that store directory. `Err` inside when this machine cannot have one, with the reason.
    ///
    /// # Errors
    /// When it should work here and does not.
    pub fn prepare(store_dir: &Path) -> Result<Result<Self, String>> {
        let mut command = Command::new("sh");
        command.args([SCRIPT, "prepare"]);
        let done = Finished::run(command)?;
        if done.status.code() == Some(SKIPPED) {
            return Ok(Err(done.stderr));
        }
        let chroot = PathBuf::from(done.ok()?.trim());
        let work = folders::temporary("current-nix-")?;
        fs::create_dir(work.path().join("home")).context("cannot make a home")?;
        Ok(Ok(Self {
            chroot,
            store_dir: store_dir.to_owned(),
            work,
        }))
    }

    /// Runs `nix` to its end. The work folder is `/mnt`; a fresh store is any folder in it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn nix(&self, args: &[&str]) -> Result<Finished> {
        self.run("nix", args)
    }

    /// Runs a program of the chroot to its end, without any substituter but those of its arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<Finished> {
        self.run_with(&format!("{NIX_CONFIG}substituters =\n"), program, args)
    }

    /// Runs a program of the chroot to its end, with what `.config/nix/nix.conf` in its home says.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_as_configured(&self, program: &str, args: &[&str]) -> Result<Finished> {
        // There may be no network: Nix is told not to insist on cache.nixos.org.
        self.run_with(
            &format!("{NIX_CONFIG}download-attempts = 1\nconnect-timeout = 1\n"),
            program,
            args,
        )
    }

    fn run_with(&self, config: &str, program: &str, args: &[&str]) -> Result<Finished> {
        let mut command = Command::new("sh");
        command
            .arg(SCRIPT)
            .arg("run")
            .arg(&self.chroot)
            .arg(self.work.path())
            .arg(program)
            .args(args);
        command.env_clear().env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command
            .env("HOME", "/mnt/home")
            .env("LC_ALL", "C.UTF-8")
            .env("NIX_STORE_DIR", &self.store_dir)
            .env("NIX_CONFIG", config);
        Finished::run(command)
    }

    /// The folder that is `/mnt` inside.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// Its version, such as `2.26.3`.
    ///
    /// # Errors
    /// When it does not say.
    pub fn version(&self) -> Result<String> {
        let said = self.nix(&["--version"])?.ok()?;
        match said.split_whitespace().last() {
            Some(version) => Ok(version.to_owned()),
            None => bail!("nix --version says nothing"),
        }
    }
}
