//! What a cluster of three takes to agree: records a second, the wait for one, and the wait for a new leader.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};

use super::etcd::Etcd;
use super::load::{EtcdWriter, Outcome, PinWriter, Writer, drive};
use super::table::{Table, Unit, median};
use crate::clock::Stopwatch;
use crate::cluster::{CACHE, Cluster, Shape};
use crate::enclosure::Footing;
use crate::patience;

/// Clients at once: one, and as many as keep both clusters busy.
const CLIENTS: [usize; 2] = [1, 64];
/// How long each measurement takes.
const MEASURED: Duration = Duration::from_secs(5);
/// Paths that are pinned in turn.
const PATHS: usize = 27;
/// No election takes so long.
const ELECTION: Duration = Duration::from_secs(60);

/// Both clusters on this machine's disk and loopback, both with three nodes; only one of them works at a time.
pub(super) fn run(rounds: usize) -> Result<Table> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ours = Ours::start()?;
    let etcd = Etcd::start(3)?;
    let mut table = Table::new("commits, three nodes on loopback (etcd 3.4 over gRPC)");
    for clients in CLIENTS {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            here.push(ours.measure(&runtime, clients)?);
            there.push(measure_etcd(&runtime, &etcd, clients)?);
        }
        let who = if clients == 1 {
            "1 client".to_owned()
        } else {
            format!("{clients} clients")
        };
        let mut row = |what: &str, unit, figure: fn(&Outcome) -> f64| {
            let of = |outcomes: &[Outcome]| median(outcomes.iter().map(figure).collect());
            table.row(&format!("{what}, {who}"), unit, of(&here), "etcd", of(&there));
        };
        row("writes", Unit::PerSecond, |outcome| outcome.per_second);
        row("p50", Unit::Milliseconds, |outcome| outcome.p50_ms);
        row("p99", Unit::Milliseconds, |outcome| outcome.p99_ms);
    }
    Ok(table)
}

/// From the kill of the leader to the next write that is acknowledged.
pub(super) fn elections(rounds: usize) -> Result<Table> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        here.push(Ours::start()?.lose_leader(&runtime)?);
        there.push(lose_leader_of_etcd(&runtime)?);
    }
    let mut table = Table::new("a write after kill -9 of the leader, three nodes on loopback");
    table.row(
        "until acknowledged (lan profile)",
        Unit::Seconds,
        median(here),
        "etcd",
        median(there),
    );
    Ok(table)
}

/// A cluster with paths to pin.
#[derive(Debug)]
struct Ours {
    cluster: Cluster,
    /// The API's paths of the pins.
    pins: Vec<String>,
}

impl Ours {
    fn start() -> Result<Self> {
        let cluster = Cluster::start(Shape {
            config: Some("[raft]\nprofile = \"lan\"\n".to_owned()),
            ..Shape::new(3, Footing::Loopback, 1)
        })?;
        cluster.make_cache()?;
        let paths = cluster.make_paths("pinned", PATHS, 1_000)?;
        let push = ["push".to_owned(), CACHE.to_owned()];
        let push: Vec<_> = push.into_iter().chain(paths.iter().cloned()).collect();
        cluster.cli(0, push.iter().map(String::as_str))?;
        let pin = |path: &String| {
            let name = path.rsplit('/').next().and_then(|name| name.get(..32));
            let hash = name.with_context(|| format!("{path} is no store path"))?;
            Ok(format!("/api/v1/caches/{CACHE}/paths/{hash}/pin"))
        };
        Ok(Self {
            pins: paths.iter().map(pin).collect::<Result<_>>()?,
            cluster,
        })
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let running = self.cluster.running().into_iter();
        running
            .map(|number| self.cluster.station(number).address())
            .collect()
    }

    async fn writer(&self, client: usize) -> Result<PinWriter> {
        let addresses = self.addresses();
        let address = addresses[client % addresses.len()];
        PinWriter::connect(address, self.cluster.station(0).root_token(), self.pins.clone()).await
    }

    fn measure(&self, runtime: &Runtime, clients: usize) -> Result<Outcome> {
        runtime.block_on(async {
            let writers = try_join_all((0..clients).map(|client| self.writer(client))).await?;
            drive(writers, MEASURED).await
        })
    }

    fn lose_leader(mut self, runtime: &Runtime) -> Result<f64> {
        let leader = self.cluster.wait_for_leader(&self.cluster.running())?;
        self.cluster.station_mut(leader).kill()?;
        let watch = Stopwatch::start();
        patience::until("a write is acknowledged", ELECTION, || {
            runtime.block_on(async { self.writer(0).await?.write(0).await })
        })?;
        Ok(watch.seconds())
    }
}

fn measure_etcd(runtime: &Runtime, etcd: &Etcd, clients: usize) -> Result<Outcome> {
    let addresses = etcd.addresses();
    runtime.block_on(async {
        let connect = |client: usize| EtcdWriter::connect(addresses[client % addresses.len()], client);
        let writers = try_join_all((0..clients).map(connect)).await?;
        drive(writers, MEASURED).await
    })
}

fn lose_leader_of_etcd(runtime: &Runtime) -> Result<f64> {
    let mut etcd = Etcd::start(3)?;
    etcd.kill_leader()?;
    let watch = Stopwatch::start();
    let address = *etcd.addresses().first().context("two nodes are left")?;
    patience::until("a write is acknowledged", ELECTION, || {
        runtime.block_on(async { EtcdWriter::connect(address, 0).await?.write(0).await })
    })?;
    Ok(watch.seconds())
}
