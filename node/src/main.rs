//! `tetryx-node`: the command line of the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tetryx_node::config::{self, Advertised, Config, LogFormat, P2p, Size, Zone};
use tetryx_node::http::listener::Listener;
use tetryx_node::http::router::router;
use tetryx_node::membership::Check;
use tetryx_node::places::{self, DataDir};
use tetryx_node::recovery::Survivor;
use tetryx_node::{Ending, Node, NodeError, ScrubProgress, control, first_start, open};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The Tetryx station daemon: a Nix binary cache that needs nothing else.
///
/// Without a command it runs the node. The first start makes keys, a configuration file and a cluster of one, and
/// prints how to log in.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = false)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node (the default)
    Run,
    /// Join an existing cluster, then run
    Join {
        /// What 'tetryx-cli node invite' printed
        ticket: String,
    },
    /// Go on alone after more than half of the voters are lost for good
    Recover {
        /// The cluster's id, or its first 8 characters; without it nothing is changed
        #[arg(long, value_name = "CLUSTER")]
        confirm: Option<String>,
    },
    /// Collect garbage, whether the node runs or not
    Gc {
        /// One collection, then exit
        #[arg(long, required = true)]
        once: bool,
    },
    /// Read everything stored back, and fetch anew what is damaged, whether the node runs or not
    ///
    /// Exits with 1 when something that is needed stays damaged.
    Scrub {
        /// One round, then exit
        #[arg(long, required = true)]
        once: bool,
    },
    /// Check the configuration file and say what it comes to
    CheckConfig,
}

/// Options go before what the configuration file says.
#[derive(Debug, Args)]
struct Options {
    /// The configuration file [default: $XDG_CONFIG_HOME/tetryx/node.toml, made if absent]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything durable lives [default: $XDG_DATA_HOME/tetryx]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen for HTTP; port 0 takes any free port [default: [::]:8080]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where other nodes reach this one (UDP); port 0 takes any free port [default: [::]:4480]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    p2p_listen: Option<SocketAddr>,
    /// Where other nodes reach it for gossip (UDP) [default: [::]:4481]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    gossip_listen: Option<SocketAddr>,
    /// What other nodes are told to dial; may be repeated [default: the addresses of this machine]
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    advertise: Vec<Advertised>,
    /// What people call this node [default: the host name]
    #[arg(long, global = true)]
    name: Option<String>,
    /// Where it stands: copies are spread over zones
    #[arg(long, global = true)]
    zone: Option<Zone>,
    /// How log lines look on standard error
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run(arguments.options, None).await,
        Command::Join { ticket } => run(arguments.options, Some(&ticket)).await,
        Command::Recover { confirm } => recover(arguments.options, confirm.as_deref()),
        Command::Gc { once: _ } => collect(arguments.options).await,
        Command::Scrub { once: _ } => match scrub(arguments.options).await {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Command::CheckConfig => check_config(&arguments.options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or SIGINT, after joining a cluster if there is a ticket.
async fn run(options: Options, ticket: Option<&str>) -> anyhow::Result<()> {
    // Before anything is made: a signal from here on is an orderly stop.
    let mut signals = Signals::new()?;
    let mut setup = Setup::load(options)?;
    start_logging(&setup.config)?;
    let mut listener = Listener::bind(setup.config.http.listen).await?;
    setup.config.http.listen = listener.address();
    let data_dir = setup.claim_data_dir()?;
    let mut tell = |check: Check| {
        // Whoever closed the output does not want to know.
        let _ = say(&format!("{check}\n"));
    };
    let opened = async {
        match ticket {
            Some(ticket) => open::join(setup.config.clone(), &data_dir, ticket, &mut tell).await,
            None => open::open(setup.config.clone(), &data_dir).await,
        }
    };
    let Some(opened) = signals.unless_told_to_stop(opened).await else {
        return Ok(());
    };
    let mut node = opened?;

    if let Some(token) = first_start::root_token(&node, data_dir.path()).await? {
        let welcome = first_start::Welcome {
            config_file: &setup.config_file,
            data_dir: data_dir.path(),
            port: listener.address().port(),
            token: &token,
        };
        say(&format!("Tetryx {}\n\n{welcome}", env!("CARGO_PKG_VERSION")))?;
        first_start::mark_shown(data_dir.path())?;
    }
    if ticket.is_some() {
        let address = listener.address().to_string();
        tell(Check::Serving { address });
    }
    let mut addresses = format!("Listening on {}\n", listener.address());
    if let Some((links, gossip)) = node.peer_addresses() {
        addresses.push_str(&format!("Peers on {links}\nGossip on {gossip}\n"));
        (setup.config.p2p.listen, setup.config.p2p.gossip_listen) = (links, gossip);
    }
    say(&addresses)?;

    while let Some(ending) = serve(&node, &data_dir, listener, &mut signals).await? {
        if let Ending::Failed(error) = ending {
            return Err(error.into());
        }
        drop(node);
        let opened = open::open(setup.config.clone(), &data_dir);
        let Some(opened) = signals.unless_told_to_stop(opened).await else {
            return Ok(());
        };
        node = opened?;
        listener = Listener::bind(setup.config.http.listen).await?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves until a signal, or until the node must end by itself, and shuts it down.
async fn serve(
    node: &Node,
    data_dir: &DataDir,
    listener: Listener,
    signals: &mut Signals,
) -> anyhow::Result<Option<Ending>> {
    let mut impatience = Signals::new()?;
    tracing::info!(
        address = %listener.address(), node = %node.node_id(), name = node.name(),
        version = env!("CARGO_PKG_VERSION"), data = %data_dir.path().display(), "serving"
    );
    node.start_tasks();
    if let Err(error) = control::serve(node, data_dir) {
        tracing::warn!(%error, "no control socket: 'gc --once' works only while this node is stopped");
    }
    let mut ending = None;
    let stop = async {
        tokio::select! {
            signal = signals.next() => tracing::info!(signal, "stopping"),
            why = node.ending() => ending = Some(why),
        }
    };
    tokio::select! {
        () = listener.serve(node, router(node.clone()), stop) => {}
        () = impatience.second() => tracing::warn!("a second signal: running requests are cut off"),
    }
    node.shutdown().await?;
    Ok(ending)
}

/// Makes this node the only voter of its cluster, if that is confirmed; else says what there is.
fn recover(options: Options, confirm: Option<&str>) -> anyhow::Result<()> {
    let setup = Setup::load(options)?;
    start_logging(&setup.config)?;
    let survivor = Survivor::look(&setup.claim_data_dir()?)?;
    match confirm {
        None => say(&format!(
            "{survivor}\nNothing was changed. To recover: tetryx-node recover --confirm CLUSTER\n"
        )),
        Some(text) if survivor.is_confirmed_by(text) => {
            let recovered = survivor.recover()?;
            say(&format!(
                "recovered: all entries up to {} count, in epoch {}; {} other members are removed\n\
                 Start this node with 'tetryx-node run', and invite others.\n",
                recovered.kept,
                recovered.epoch,
                recovered.removed.len()
            ))
        }
        Some(_) => anyhow::bail!(
            "that is not the id of the cluster in this data directory; run 'tetryx-node recover' to see it"
        ),
    }
}

/// One garbage collection, by the node that runs on the data or, if none does, by this process.
async fn collect(options: Options) -> anyhow::Result<()> {
    let setup = Setup::load(options)?;
    start_logging(&setup.config)?;
    let summary = match setup.claim_data_dir() {
        Ok(data_dir) => {
            let node = open::open_offline(setup.config.clone(), &data_dir).await?;
            let summary = node.collect_once().await?;
            node.shutdown().await?;
            summary
        }
        // A node runs on it: have that one do it.
        Err(NodeError::DataDirInUse { path }) => match control::collect(&path).await? {
            Some(summary) => summary,
            None => return Err(NodeError::DataDirInUse { path }.into()),
        },
        Err(error) => return Err(error.into()),
    };
    if let Some(why) = &summary.expiry_failed {
        tracing::warn!(why, "the cluster could not decide which paths expire");
    }
    say(&format!(
        "freed {}: {} paths expired, {} chunks and {} NARs removed, {} abandoned uploads dropped\n",
        Size::new(summary.bytes_freed),
        summary.paths_expired,
        summary.chunks_removed,
        summary.manifests_removed,
        summary.uploads_dropped
    ))
}

/// One scrub, by the node that runs on the data or, if none does, by this process. Whether all that is needed is sound.
async fn scrub(options: Options) -> anyhow::Result<bool> {
    let setup = Setup::load(options)?;
    start_logging(&setup.config)?;
    let summary = match setup.claim_data_dir() {
        Ok(data_dir) => {
            let node = open::open_offline(setup.config.clone(), &data_dir).await?;
            let summary = node.scrub_once(None, tell_progress).await?;
            node.shutdown().await?;
            summary
        }
        // A node runs on it: have that one do it.
        Err(NodeError::DataDirInUse { path }) => match control::scrub(&path, tell_progress).await? {
            Some(summary) => summary,
            None => return Err(NodeError::DataDirInUse { path }.into()),
        },
        Err(error) => return Err(error.into()),
    };
    let mut text = format!(
        "read {} back: {} chunks and manifests checked, {} found damaged, {} healed\n",
        rough(summary.bytes),
        summary.records,
        summary.found,
        summary.healed
    );
    if summary.damaged_nars > 0 {
        text.push_str(&format!("{} NARs are damaged:\n", summary.damaged_nars));
        for damaged in &summary.damaged {
            text.push_str(&format!("  {damaged}\n"));
        }
        text.push_str(
            "No other node could be asked, or none has them. A running node goes on trying; else push their paths \
             again, or delete them.\n",
        );
    }
    say(&text)?;
    Ok(summary.damaged_nars == 0)
}

fn tell_progress(progress: ScrubProgress) {
    let ScrubProgress {
        bytes,
        bytes_total,
        found,
    } = progress;
    let percent = (bytes * 100).checked_div(bytes_total).unwrap_or(100);
    tracing::info!(found, "{percent} % of {} read back", rough(bytes_total));
}

/// A size for people.
fn rough(bytes: u64) -> bytesize::Display {
    bytesize::ByteSize(bytes).display().iec()
}

fn check_config(options: &Options) -> anyhow::Result<()> {
    let (file, config) = read_config(options)?;
    let Some(config) = config else {
        return say(&format!(
            "{} does not exist: the defaults apply\n",
            file.display()
        ));
    };
    let data_dir = match config.data_dir {
        Some(path) => path,
        None => places::default_data_dir(|name| std::env::var_os(name))?,
    };
    say(&format!(
        "{} is in order: listens on {}, keeps its data in {}\n",
        file.display(),
        config.http.listen,
        data_dir.display()
    ))
}

/// The configuration as it applies: file, then options.
struct Setup {
    config_file: PathBuf,
    config: Config,
}

impl Setup {
    fn load(options: Options) -> Result<Self, NodeError> {
        let (config_file, config) = read_config(&options)?;
        let mut config = match config {
            Some(config) => config,
            None => {
                first_start::write_config(&config_file)?;
                Config::default()
            }
        };
        if let Some(listen) = options.listen {
            config.http.listen = listen;
            // Whoever takes any port for one takes any for the others: several nodes on one machine, as in tests.
            if listen.port() == 0 && config.p2p == P2p::default() {
                config.p2p.listen = listen;
                config.p2p.gossip_listen = listen;
            }
        }
        config.p2p.listen = options.p2p_listen.unwrap_or(config.p2p.listen);
        config.p2p.gossip_listen = options.gossip_listen.unwrap_or(config.p2p.gossip_listen);
        if !options.advertise.is_empty() {
            config.p2p.advertise = options.advertise;
        }
        if let Some(zone) = options.zone {
            config.zone = zone;
        }
        config.name = options.name.or(config.name);
        config.data_dir = options.data_dir.or(config.data_dir);
        config.log.format = options.log_format.unwrap_or(config.log.format);
        Ok(Self { config_file, config })
    }

    fn claim_data_dir(&self) -> Result<DataDir, NodeError> {
        match &self.config.data_dir {
            Some(path) => DataDir::claim(path),
            None => DataDir::claim(&places::default_data_dir(|name| std::env::var_os(name))?),
        }
    }
}

/// The configuration file and what it says; nothing when it is the default one and not there yet.
fn read_config(options: &Options) -> Result<(PathBuf, Option<Config>), NodeError> {
    if let Some(file) = &options.config {
        return Ok((file.clone(), Some(load_config(file)?)));
    }
    let file = places::default_config_file(|name| std::env::var_os(name))?;
    let config = if file.exists() {
        Some(load_config(&file)?)
    } else {
        None
    };
    Ok((file, config))
}

fn load_config(file: &Path) -> Result<Config, NodeError> {
    config::load(file).map_err(NodeError::Config)
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter)
        .with_context(|| format!("log.filter {:?} is not understood", config.log.filter))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Human => subscriber
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The work's result; nothing when a signal came first: a member that waits for the others to come may be told to
    /// stop waiting.
    async fn unless_told_to_stop<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            signal = self.next() => {
                tracing::info!(signal, "stopped before it served");
                None
            }
        }
    }

    /// The one after the next.
    async fn second(&mut self) {
        self.next().await;
        self.next().await;
    }
}

/// Standard output is for what the user asked for; logs go to standard error.
fn say(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a process that may have no logging yet"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("tetryx-node: {error:#}");
}
