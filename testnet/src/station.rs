//! A station: the real `tetryx-node` on a port of the machine's choice, with a home of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::binaries;
use crate::folders::{self, Temporary};
use crate::http::Http;
use crate::namespace::Namespace;
use crate::process::{Finished, Running};

/// A station, running or stopped. Its home and data stay until it is dropped.
#[derive(Debug)]
pub struct Station {
    home: Temporary,
    data: PathBuf,
    namespace: Option<Arc<Namespace>>,
    running: Option<Running>,
    address: SocketAddr,
    root_token: String,
}

/// What a station is started with, other than the defaults.
#[derive(Debug, Default)]
pub struct Settings {
    /// What its configuration file says; nothing: the file that a first start writes.
    pub config: Option<String>,
    /// The mounts it sees.
    pub namespace: Option<Arc<Namespace>>,
    /// Where its data goes; nothing: below its home.
    pub data_dir: Option<PathBuf>,
}

impl Station {
    /// The first start of a station, with nothing but defaults.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(Settings::default())
    }

    /// The first start of a station.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(settings: Settings) -> Result<Self> {
        let home = folders::temporary("station-")?;
        if let Some(config) = settings.config {
            let folder = home.path().join(".config/tetryx");
            fs::create_dir_all(&folder).context("cannot make a configuration folder")?;
            fs::write(folder.join("node.toml"), config).context("cannot write a configuration")?;
        }
        let mut station = Self {
            data: settings
                .data_dir
                .unwrap_or_else(|| home.path().join(".local/share/tetryx")),
            home,
            namespace: settings.namespace,
            running: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            root_token: String::new(),
        };
        let running = station.run()?;
        station.root_token = running.wait_for_line("how to log in", |line| {
            let words = line.trim().strip_prefix("tetryx-cli login")?;
            words.split_whitespace().last().map(str::to_owned)
        })?;
        station.running = Some(running);
        Ok(station)
    }

    /// Starts it again, on the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.running = None;
        self.running = Some(self.run()?);
        Ok(())
    }

    fn run(&mut self) -> Result<Running> {
        let mut command = self.command()?;
        command.arg("run").arg("--listen").arg(self.address.to_string());
        let running = Running::start(command)?;
        self.address = running.wait_for_line("where it listens", |line| {
            line.strip_prefix("Listening on ")
                .and_then(|address| address.trim().parse().ok())
        })?;
        self.http()
            .get("/ready")?
            .ok()
            .with_context(|| format!("not ready:\n{}", running.printed()))?;
        Ok(running)
    }

    /// `tetryx-node` with this station's home and data, and no command yet.
    fn command(&self) -> Result<Command> {
        let program = binaries::node()?;
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command(program),
            None => Command::new(program),
        };
        let home = self.home.path();
        command
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .arg("--data-dir")
            .arg(&self.data);
        Ok(command)
    }

    /// Runs `tetryx-node run` once more on the same data, which should be refused.
    ///
    /// # Errors
    /// When it cannot be started, or runs.
    pub fn run_second(&self) -> Result<Finished> {
        let mut command = self.command()?;
        command.args(["run", "--listen", "127.0.0.1:0"]);
        Running::start(command)?.wait()
    }

    /// Runs `tetryx-node gc --once`, beside the station if it is running.
    ///
    /// # Errors
    /// When it fails.
    pub fn collect_garbage(&self) -> Result<String> {
        let mut command = self.command()?;
        command.args(["gc", "--once"]);
        Finished::run(command)?.ok()
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), |mut running| running.kill())
    }

    /// Asks it to stop, and returns at once.
    ///
    /// # Errors
    /// When it is not running.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running()?.signal(signal)
    }

    /// Waits for it to end.
    ///
    /// # Errors
    /// When it is not running, or does not end.
    pub fn wait(&mut self) -> Result<Finished> {
        self.running.take().context("the station is not running")?.wait()
    }

    /// Asks it to stop, and waits until it has, in good order.
    ///
    /// # Errors
    /// When it ends in any other way.
    pub fn stop(&mut self) -> Result<()> {
        self.ask_to_stop()?;
        self.wait()?.ok().map(|_| ())
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the station is not running")
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn process_id(&self) -> Result<u32> {
        Ok(self.running()?.id())
    }

    /// Everything it has printed since it was started.
    pub fn printed(&self) -> String {
        self.running.as_ref().map(Running::printed).unwrap_or_default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token that its first start printed.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// Everything durable.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Asks it with no token.
    pub fn http(&self) -> Http {
        Http::new(&self.url(), None)
    }

    /// Asks it with the root token.
    pub fn root(&self) -> Http {
        Http::new(&self.url(), Some(&self.root_token))
    }
}
