//! A station: the real `tetryx-node` with a home of its own, on ports of the machine's choice or on a host of a [`Net`].
//!
//! [`Net`]: crate::net::Net

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::binaries;
use crate::folders::{self, Temporary};
use crate::http::Http;
use crate::namespace::Namespace;
use crate::net::Host;
use crate::patience;
use crate::process::{DEADLINE, Finished, Running};

/// A station, running or stopped. Its home and data stay until it is dropped.
#[derive(Debug)]
pub struct Station {
    home: Temporary,
    data: PathBuf,
    namespace: Option<Arc<Namespace>>,
    running: Option<Running>,
    identity: Vec<String>,
    /// Where Nix and the tool reach it.
    address: SocketAddr,
    /// Where other stations reach it: data and control, gossip.
    peers: [SocketAddr; 2],
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
    /// The host it runs on; nothing: this machine, on any free ports.
    pub host: Option<Host>,
    /// Its name, which is its zone too; nothing: what the daemon makes of that.
    pub name: Option<String>,
    /// How it becomes part of a cluster; nothing: it begins one.
    pub joining: Option<Joining>,
}

/// What a station needs to become part of a cluster.
#[derive(Clone, Debug)]
pub struct Joining {
    /// What a member has minted.
    pub ticket: String,
    /// The root token of the cluster.
    pub root_token: String,
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
        let (desk, space, ports) = match &settings.host {
            Some(host) if host.namespace.is_some() => (host.desk, host.space, [8080, 4480, 4481]),
            _ => (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, [0; 3]),
        };
        let mut station = Self {
            data: settings
                .data_dir
                .unwrap_or_else(|| home.path().join(".local/share/tetryx")),
            home,
            namespace: settings
                .host
                .and_then(|host| host.namespace)
                .or(settings.namespace),
            running: None,
            identity: settings
                .name
                .map(|name| ["--name", &name, "--zone", &name].map(str::to_owned).into())
                .unwrap_or_default(),
            address: SocketAddr::new(IpAddr::V4(desk), ports[0]),
            peers: [ports[1], ports[2]].map(|port| SocketAddr::new(IpAddr::V4(space), port)),
            root_token: String::new(),
        };
        match settings.joining {
            None => {
                let running = station.run(&["run"])?;
                station.root_token = running.wait_for_line("how to log in", |line| {
                    let words = line.trim().strip_prefix("tetryx-cli login")?;
                    words.split_whitespace().last().map(str::to_owned)
                })?;
                station.running = Some(running);
                station.expect_ready()?;
            }
            Some(Joining { ticket, root_token }) => {
                station.root_token = root_token;
                station.running = Some(station.run(&["join", &ticket])?);
                station.wait_ready()?;
            }
        }
        Ok(station)
    }

    /// Starts it again, on the same ports.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.start_again()?;
        self.expect_ready()
    }

    /// Starts it again, on the same ports, and does not wait until it is of use.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start_again(&mut self) -> Result<()> {
        self.running = None;
        self.running = Some(self.run(&["run"])?);
        Ok(())
    }

    /// Waits until it is of use.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_ready(&self) -> Result<()> {
        patience::until("a station is ready", DEADLINE, || self.expect_ready())
    }

    fn expect_ready(&self) -> Result<()> {
        self.http()
            .get("/ready")?
            .ok()
            .map(|_| ())
            .with_context(|| format!("not ready:\n{}", self.printed()))
    }

    fn run(&mut self, what: &[&str]) -> Result<Running> {
        let mut command = self.command()?;
        command
            .args(what)
            .args(&self.identity)
            .args(["--listen", &self.address.to_string()])
            .args(["--p2p-listen", &self.peers[0].to_string()])
            .args(["--gossip-listen", &self.peers[1].to_string()]);
        let running = Running::start(command)?;
        let address = |what: &'static str| {
            running.wait_for_line(what, |line| line.strip_prefix(what)?.trim().parse().ok())
        };
        self.address = address("Listening on ")?;
        self.peers = [address("Peers on ")?, address("Gossip on ")?];
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
        command.args(["--p2p-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0"]);
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

    /// Runs `tetryx-node scrub --once`, beside the station if it is running.
    ///
    /// # Errors
    /// When it fails, or something stays damaged.
    pub fn scrub(&self) -> Result<String> {
        self.try_scrub()?.ok()
    }

    /// Runs `tetryx-node scrub --once`, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_scrub(&self) -> Result<Finished> {
        let mut command = self.command()?;
        command.args(["scrub", "--once"]);
        Finished::run(command)
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

    /// Whether it was started and not stopped or killed since.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What it has said on standard error since it was started: its log.
    pub fn log(&self) -> Vec<String> {
        self.running.as_ref().map(Running::said).unwrap_or_default()
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
