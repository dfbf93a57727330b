//! What a client notices of collection and of scrub: the latency of pulls beside that of a quiet station.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::load::{Outcome, Writer, drive};
use super::setting::{Bench, CACHE, Setting};
use super::table::{Table, Unit};
use crate::station::Station;

/// Clients that pull one piece after the other.
const CLIENTS: usize = 4;
/// How long each condition is measured.
const LASTS: Duration = Duration::from_secs(15);
/// What one pull asks for: about ten chunks.
const PIECE: u64 = 256 << 10;

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let bench = setting.filled()?;
    let served = bench.narinfos(&setting.corpus)?;
    // Every second path goes, so that there is garbage between what stays.
    let root = bench.station.root();
    for gone in served.iter().step_by(2) {
        let path = format!("/api/v1/caches/{CACHE}/paths/{}", gone.hash);
        root.send(Method::DELETE, &path, &[], &[])?.ok()?;
    }
    let stays = served.iter().skip(1).step_by(2);
    let paths: Vec<String> = stays.map(|served| format!("/{CACHE}/{}", served.nar)).collect();
    Setting::settle()?;
    measure(&bench, &paths)?;
    let quiet = measure(&bench, &paths)?;
    let collected = meanwhile(&bench, &paths, Station::collect_garbage)?;
    let scrubbed = meanwhile(&bench, &paths, Station::scrub)?;
    let mut table = Table::new("Upkeep: pulls of 256 KiB by 4 clients");
    for (what, busy) in [("collections", collected), ("a scrub", scrubbed)] {
        let peer = "the same station, quiet";
        for (percent, busy, quiet) in [
            ("99 %", busy.p99_ms, quiet.p99_ms),
            ("half", busy.p50_ms, quiet.p50_ms),
        ] {
            let what = format!("{percent} take no longer, during {what}");
            table.row(&what, Unit::Milliseconds, busy, peer, quiet);
        }
    }
    Ok(table)
}

/// Pulls while the station does something again and again.
fn meanwhile(bench: &Bench, paths: &[String], upkeep: fn(&Station) -> Result<String>) -> Result<Outcome> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                upkeep(&bench.station)?;
            }
            anyhow::Ok(())
        });
        let outcome = measure(bench, paths);
        is_over.store(true, Ordering::Relaxed);
        working
            .join()
            .map_err(|_| anyhow::anyhow!("the upkeep panicked"))??;
        outcome
    })
}

fn measure(bench: &Bench, paths: &[String]) -> Result<Outcome> {
    let address = bench.station.address();
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut pullers = Vec::new();
        for client in 0..CLIENTS {
            pullers.push(Puller::connect(address, client, paths).await?);
        }
        drive(pullers, LASTS).await
    })
}

/// Pulls a piece of one NAR after the other.
#[derive(Debug)]
struct Puller {
    connection: http1::SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    /// Where in the list it begins.
    offset: usize,
    paths: Vec<String>,
}

impl Puller {
    async fn connect(address: SocketAddr, client: usize, paths: &[String]) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self {
            connection,
            address,
            offset: client * paths.len() / CLIENTS,
            paths: paths.to_vec(),
        })
    }
}

impl Writer for Puller {
    async fn write(&mut self, number: usize) -> Result<()> {
        let path = &self.paths[(self.offset + number) % self.paths.len()];
        let request = Request::builder()
            .uri(path)
            .header("host", self.address.to_string())
            .header("range", format!("bytes=0-{}", PIECE - 1))
            .body(Empty::new())?;
        self.connection.ready().await?;
        let answer = self.connection.send_request(request).await?;
        let status = answer.status();
        ensure!(
            status == StatusCode::PARTIAL_CONTENT || status == StatusCode::OK,
            "a pull was answered {status}"
        );
        let body = answer.into_body().collect().await.context("a pull broke off")?;
        ensure!(!body.to_bytes().is_empty(), "a pull brought nothing");
        Ok(())
    }
}
