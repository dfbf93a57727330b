//! From station to station on loopback: a whole corpus at once, and one small path as soon as it is pushed.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::setting::Setting;
use super::table::{Table, Unit, median};
use crate::clock::Stopwatch;
use crate::cluster::{CACHE, Cluster, Shape};
use crate::corpus::Corpus;
use crate::enclosure::Footing;
use crate::folders::{self, Temporary};
use crate::http::Http;
use crate::patience;
use crate::process::{Finished, Running};

/// For the copy of a corpus.
const PATIENCE: Duration = Duration::from_secs(600);
/// Small paths whose way is measured.
const SMALL: usize = 15;

/// One copy is enough to push; the cache asks for more before the second station is there.
const ALONE: &str = "[raft]\nprofile = \"lan\"\n\n[replication]\ncopies = 1\nwrite_replicas = 1\n";

/// The corpus from one station to a new one, beside `rsync` from a daemon to an empty folder.
pub(super) fn run(setting: &Setting) -> Result<Table> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..setting.rounds {
        ours.push(setting.corpus.mib() / copy_between_stations(setting)?);
        theirs.push(setting.corpus.mib() / copy_by_rsync(&setting.corpus)?);
    }
    let mut table = Table::new("all NARs from one machine to another, on loopback");
    table.row(
        "NAR bytes, verified and durable",
        Unit::MibPerSecond,
        median(ours),
        "rsync daemon, NAR files, then sync",
        median(theirs),
    );
    Ok(table)
}

fn copy_between_stations(setting: &Setting) -> Result<f64> {
    let mut cluster = Cluster::found(Shape {
        config: Some(ALONE.to_owned()),
        ..Shape::new(2, Footing::Loopback, 1)
    })?;
    let store_dir = setting.corpus.store.store_dir();
    let store_dir = store_dir.to_str().context("a store directory is UTF-8")?;
    let user = crate::user::User::new(std::sync::Arc::clone(&setting.corpus.store))?;
    let first = cluster.station(0);
    crate::world::log_in(&user, "first", &first.url(), first.root_token())?;
    user.cli(["cache", "create", CACHE, "--public", "--store-dir", store_dir])?
        .ok()?;
    setting.push(&user, CACHE)?;
    user.cli(["cache", "configure", CACHE, "--replication", "all"])?
        .ok()?;
    Setting::settle()?;

    let chunks = |cluster: &Cluster, station: usize| -> Result<Option<u64>> {
        Ok(cluster.status(station)?["store"]["chunks"].as_u64())
    };
    let wanted = chunks(&cluster, 0)?.context("the first station counts its chunks")?;
    // From before it joins: what it owes comes as soon as it is a member.
    let watch = Stopwatch::start();
    cluster.join_next()?;
    patience::until("everything is copied", PATIENCE, || {
        ensure!(chunks(&cluster, 1)? == Some(wanted), "not all chunks are there");
        Ok(())
    })?;
    // A NAR is no longer missing when it is whole and durable.
    cluster.wait_until_copied()?;
    Ok(watch.seconds())
}

/// `rsync` of the NARs as files, whole, from a daemon of its own; and everything on disk at the end.
fn copy_by_rsync(corpus: &Corpus) -> Result<f64> {
    let from = folders::temporary("rsync-from-")?;
    for (number, path) in corpus.paths().enumerate() {
        let nar = fs::File::create(from.path().join(format!("{number}.nar")))?;
        let user = crate::user::User::new(std::sync::Arc::clone(&corpus.store))?;
        let mut dump = user.command("nix-store");
        let status = dump.args(["--dump", path]).stdout(nar).status()?;
        ensure!(status.success(), "nix-store --dump {path} failed");
    }
    let daemon = Rsync::serving(from.path())?;
    let to = folders::temporary("rsync-to-")?;
    Setting::settle()?;
    let watch = Stopwatch::start();
    let mut command = Command::new("rsync");
    command
        .args(["--archive", "--whole-file", &format!("{}/nars/", daemon.url)])
        .arg(to.path());
    Finished::run(command)?.ok()?;
    Setting::settle()?;
    Ok(watch.seconds())
}

/// A daemon of rsync. Ends when dropped.
#[derive(Debug)]
struct Rsync {
    url: String,
    _running: Running,
    _work: Temporary,
}

impl Rsync {
    fn serving(folder: &Path) -> Result<Self> {
        let work = folders::temporary("rsync-")?;
        // rsync binds by number; the port is free at this moment.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let config = work.path().join("rsyncd.conf");
        let mut text = format!(
            "use chroot = no\n[nars]\npath = {}\nread only = yes\n",
            folder.display()
        );
        if rustix::process::geteuid().is_root() {
            text.push_str("uid = root\ngid = root\n");
        }
        fs::write(&config, text).context("cannot write a configuration")?;
        let mut command = Command::new("rsync");
        command
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--config={}", config.display()));
        let running = Running::start(command).context("testnet/setup.sh installs rsync")?;
        let rsync = Self {
            url: format!("rsync://{address}"),
            _running: running,
            _work: work,
        };
        patience::until("rsync listens", Duration::from_secs(10), || {
            Ok(std::net::TcpStream::connect(address)?)
        })?;
        Ok(rsync)
    }
}

/// A path is pushed at one station: how long until another one serves it. No peer does that; the aim is 1 s.
pub(super) fn visible() -> Result<Table> {
    let cluster = Cluster::start(Shape {
        config: Some("[raft]\nprofile = \"lan\"\n".to_owned()),
        ..Shape::new(3, Footing::Loopback, 1)
    })?;
    cluster.make_cache()?;
    let paths = cluster.make_paths("small", SMALL, 100_000)?;
    let (mut whole, mut after) = (Vec::new(), Vec::new());
    for path in &paths {
        let watch = Stopwatch::start();
        cluster.cli(0, ["push", CACHE, path])?;
        let pushed = watch.seconds();
        fetch(&cluster.station(2).http(), path)?;
        whole.push(watch.seconds());
        after.push(watch.seconds() - pushed);
    }
    let mut table = Table::new("a path pushed at one station is served by another, three nodes on loopback");
    table.row(
        "from the start of the push",
        Unit::Seconds,
        median(whole),
        "aim",
        1.0,
    );
    table.row(
        "from its acknowledgement",
        Unit::Seconds,
        median(after),
        "aim",
        1.0,
    );
    Ok(table)
}

/// The narinfo and the whole NAR of a path.
pub(super) fn fetch(http: &Http, path: &str) -> Result<usize> {
    let name = path.rsplit('/').next().and_then(|name| name.get(..32));
    let hash = name.with_context(|| format!("{path} is no store path"))?;
    let narinfo = patience::until("there is a narinfo", Duration::from_secs(30), || {
        Ok(http.get(&format!("/{CACHE}/{hash}.narinfo"))?.ok()?.text())
    })?;
    let url = narinfo.lines().find_map(|line| line.strip_prefix("URL: "));
    let nar = http.get(&format!("/{CACHE}/{}", url.context("a narinfo has a URL")?))?;
    Ok(nar.ok()?.body.len())
}
