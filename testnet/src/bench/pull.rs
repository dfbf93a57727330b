//! How fast the corpus comes out.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result};

use super::nginx::Nginx;
use super::setting::{CACHE, Served, Setting};
use super::table::{Table, Unit, median};
use crate::clock::Stopwatch;
use crate::folders;
use crate::http::Download;
use crate::user::User;

pub(super) fn run(setting: &Setting) -> Result<Table> {
    let bench = setting.filled()?;
    let folder = folders::temporary("mirror-")?;
    let served = bench.mirror(&setting.corpus, folder.path())?;
    let nginx = Nginx::serving(folder.path())?;
    let mut table = Table::new("Pull");
    let peer = "nginx, the same `.nar.zst` as files";
    for clients in [1, 8] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..setting.rounds {
            ours.push(rate(
                setting,
                bench.station.address(),
                &format!("/{CACHE}/"),
                &served,
                clients,
            )?);
            theirs.push(rate(setting, nginx.address(), "/", &served, clients)?);
        }
        let what = format!("NARs, {clients} at a time (uncompressed bytes)");
        table.row(&what, Unit::MibPerSecond, median(ours), peer, median(theirs));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..setting.rounds {
        let url = format!("{}/{CACHE}", bench.station.url());
        ours.push(nix_rate(setting, &bench.user, &url)?);
        theirs.push(nix_rate(setting, &bench.user, &nginx.url())?);
    }
    let peer = "the same from nginx";
    table.row(
        "`nix copy --from`, into a fresh store",
        Unit::MibPerSecond,
        median(ours),
        peer,
        median(theirs),
    );
    Ok(table)
}

/// All NARs of the corpus, by so many clients that take the next one when they are done with one.
pub(super) fn rate(
    setting: &Setting,
    server: SocketAddr,
    base: &str,
    served: &[Served],
    clients: usize,
) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let client = || {
        let mut buffer = vec![0; 1 << 20];
        while let Some(item) = served.get(next.fetch_add(1, Ordering::Relaxed)) {
            let path = format!("{base}{}", item.nar);
            if let Err(error) =
                Download::start(server, &path).and_then(|download| download.finish(&mut buffer))
            {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    };
    let watch = Stopwatch::start();
    thread::scope(|scope| (0..clients).for_each(|_| drop(scope.spawn(client))));
    let seconds = watch.seconds();
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(setting.corpus.mib() / seconds),
    }
}

/// A real Nix, which also unpacks and writes: mostly its own speed.
fn nix_rate(setting: &Setting, user: &User, url: &str) -> Result<f64> {
    let to = folders::temporary("fresh-")?;
    let store = to.path().to_str().context("a folder is UTF-8")?;
    Setting::settle()?;
    let watch = Stopwatch::start();
    let args = ["copy", "--no-check-sigs", "--from", url, "--to", store];
    user.nix(args.into_iter().chain(setting.corpus.paths()))?.ok()?;
    Ok(setting.corpus.mib() / watch.seconds())
}
