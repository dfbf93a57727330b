//! A private view of the file system: mounts that only the commands of this harness see; and, if asked for, a network
//! of its own.
//!
//! Root makes a mount namespace; others make a user namespace around it, if the kernel lets them. A holder process
//! keeps it alive; commands enter it by `nsenter`, which becomes the command, so that its process id is the command's.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A mount namespace that lasts as long as this value, and as the commands that were started in it.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
    /// Its end tells the holder to go.
    stdin: Option<ChildStdin>,
    as_root: bool,
    own_network: bool,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// When the kernel does not allow it, or `unshare` is missing.
    pub fn new() -> Result<Self> {
        Self::make(false)
    }

    /// Makes one with a network of its own, in which there is nothing yet but a loopback interface that is down.
    ///
    /// # Errors
    /// When the kernel does not allow it, or `unshare` is missing.
    pub fn with_network() -> Result<Self> {
        Self::make(true)
    }

    fn make(own_network: bool) -> Result<Self> {
        let as_root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        if !as_root {
            command.args(["--user", "--map-root-user"]);
        }
        if own_network {
            command.arg("--net");
        }
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "--",
                "sh",
                "-c",
                "echo ready && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut holder = command
            .spawn()
            .context("cannot start 'unshare' (Debian: apt-get install util-linux)")?;
        let stdin = holder.stdin.take();
        let mut said = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut said)
                .context("cannot read from 'unshare'")?;
        }
        if said.trim_end() != "ready" {
            let output = holder.wait_with_output().context("cannot wait for 'unshare'")?;
            bail!(
                "no private {} on this machine: {}",
                if own_network { "networks" } else { "mounts" },
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(Self {
            holder,
            stdin,
            as_root,
            own_network,
        })
    }

    /// The process that keeps it alive.
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// The file that stands for its network.
    pub fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }

    /// A command inside.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.holder.id().to_string())
            .arg("--mount");
        if self.own_network {
            command.arg("--net");
        }
        if !self.as_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        // The folder is lost with the old mounts; be explicit.
        command.arg("--wd=/").arg("--").arg(program.as_ref());
        command
    }

    /// Shows the folder `from` at `to`.
    ///
    /// # Errors
    /// When `mount` refuses.
    pub fn bind(&self, from: &Path, to: &Path) -> Result<()> {
        let mut command = self.command("mount");
        command.arg("--bind").arg(from).arg(to);
        run(command)
    }

    /// Mounts an empty file system of so many bytes in memory at `at`.
    ///
    /// # Errors
    /// When `mount` refuses.
    pub fn mount_tmpfs(&self, at: &Path, bytes: u64) -> Result<()> {
        let mut command = self.command("mount");
        command
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(at);
        run(command)
    }

    /// Gives the file system at `at` another size.
    ///
    /// # Errors
    /// When `mount` refuses.
    pub fn resize_tmpfs(&self, at: &Path, bytes: u64) -> Result<()> {
        let mut command = self.command("mount");
        command.args(["-o", &format!("remount,size={bytes}")]).arg(at);
        run(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Best effort: nothing else can be done about a holder that will not go.
        let _ = self.holder.wait();
    }
}

fn run(mut command: Command) -> Result<()> {
    let output = command
        .output()
        .context("cannot start 'nsenter' (Debian: apt-get install util-linux)")?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
