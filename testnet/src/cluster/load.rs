//! Pushes, one or many, and what was acknowledged of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::CACHE;
use super::ledger::Ledger;
use crate::patience;
use crate::process::{Finished, Running};
use crate::user::User;

/// How long one push under load may take before the client turns to another station.
const PATIENCE: Duration = Duration::from_secs(8);

/// For so many pushes a station that failed is left alone, unless there is no other.
const REST: usize = 8;

/// Somebody who pushes to the stations of a cluster.
#[derive(Clone, Debug)]
pub struct Pusher {
    user: Arc<User>,
    servers: Vec<String>,
}

/// How a push went.
#[derive(Debug)]
pub struct Pushed {
    /// The paths that are in the cache, as the tool said.
    pub acknowledged: BTreeSet<String>,
    /// The paths that the station alone has for now.
    pub provisional: BTreeSet<String>,
    /// How the tool ended.
    pub finished: Finished,
}

impl Pusher {
    pub(super) fn new(user: Arc<User>, servers: Vec<String>) -> Self {
        Self { user, servers }
    }

    /// Pushes paths at a station.
    ///
    /// # Errors
    /// When the tool cannot be started, or hangs.
    pub fn push(&self, station: usize, paths: &[String]) -> Result<Pushed> {
        Ok(Pushed::of(self.start(station, paths)?.wait()?))
    }

    /// Pushes paths that must all be acknowledged, and notes that they were.
    ///
    /// # Errors
    /// When one is not.
    pub fn push_all(&self, station: usize, paths: &[String], ledger: &mut Ledger) -> Result<()> {
        let pushed = self.push(station, paths)?;
        ledger.note(&pushed);
        pushed.finished.ok()?;
        ledger.expect(paths)
    }

    fn start(&self, station: usize, paths: &[String]) -> Result<Running> {
        let target = format!("{}:{CACHE}", self.servers[station]);
        let mut args = vec!["push", &target];
        args.extend(paths.iter().map(String::as_str));
        self.user.start_cli(args)
    }

    /// Pushes these paths, one after the other and each at the next station, until all are acknowledged or the load
    /// is stopped. A path that is not acknowledged is tried at the next station, as a client would.
    pub fn load(&self, stations: &[usize], paths: Vec<String>) -> Load {
        let progress = Arc::new(Progress::default());
        let (pusher, stations, shared) = (self.clone(), stations.to_owned(), Arc::clone(&progress));
        let thread = thread::spawn(move || pusher.work(&stations, &paths, &shared));
        Load { progress, thread }
    }

    fn work(&self, stations: &[usize], paths: &[String], progress: &Progress) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        let mut turns = Turns::new(stations);
        for path in paths {
            while !ledger.has(path) {
                if progress.stop.load(Ordering::Relaxed) {
                    return Ok(ledger);
                }
                let station = turns.next();
                let mut push = self.start(station, std::slice::from_ref(path))?;
                if patience::until("a push ends", PATIENCE, || push.has_ended()).is_err() {
                    // What it has said until then counts.
                    push.end()?;
                }
                ledger.note(&Pushed::of(push.wait()?));
                if !ledger.has(path) {
                    turns.failed(station);
                    progress.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
            progress.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ledger)
    }
}

impl Pushed {
    fn of(finished: Finished) -> Self {
        let named = finished.stderr.lines().filter_map(acknowledged_in).collect();
        // The tool says it once for all: what a station cut off has taken, it has taken as a whole.
        let is_provisional = finished.stderr.lines().any(|line| line.contains("⏳ "));
        let (acknowledged, provisional) = if is_provisional {
            (BTreeSet::new(), named)
        } else {
            (named, BTreeSet::new())
        };
        Self {
            acknowledged,
            provisional,
            finished,
        }
    }
}

/// The path that a line of `tetryx-cli push` says was taken.
fn acknowledged_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("✅ ")?;
    let word = rest.split(' ').next()?;
    // Other lines begin so too, and go on with a word.
    (word.len() > 33 && word.as_bytes()[32] == b'-').then(|| word.to_owned())
}

/// Whose turn it is: one after the other, but for those that have failed lately.
struct Turns {
    stations: Vec<usize>,
    /// Until which push each is left alone.
    rests: Vec<usize>,
    pushes: usize,
}

impl Turns {
    fn new(stations: &[usize]) -> Self {
        Self {
            stations: stations.to_owned(),
            rests: vec![0; stations.len()],
            pushes: 0,
        }
    }

    fn next(&mut self) -> usize {
        self.pushes += 1;
        let count = self.stations.len();
        let in_turn = (0..count).map(|step| (self.pushes + step) % count);
        let fit = in_turn.clone().find(|place| self.rests[*place] <= self.pushes);
        self.stations[fit.unwrap_or(self.pushes % count)]
    }

    fn failed(&mut self, station: usize) {
        for (place, known) in self.stations.iter().enumerate() {
            if *known == station {
                self.rests[place] = self.pushes + REST;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    failures: AtomicUsize,
}

/// Pushes under way.
#[derive(Debug)]
pub struct Load {
    progress: Arc<Progress>,
    thread: JoinHandle<Result<Ledger>>,
}

impl Load {
    /// How many paths were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.progress.acknowledged.load(Ordering::Relaxed)
    }

    /// How many pushes were not.
    pub fn failures(&self) -> usize {
        self.progress.failures.load(Ordering::Relaxed)
    }

    /// Waits until so many more paths are acknowledged than now.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn wait_for_more(&self, more: usize, within: Duration) -> Result<()> {
        let wanted = self.acknowledged() + more;
        patience::until("more pushes are acknowledged", within, || {
            let got = self.acknowledged();
            anyhow::ensure!(
                got >= wanted || self.thread.is_finished(),
                "{got} of {wanted} pushes were acknowledged, {} failed",
                self.failures()
            );
            anyhow::ensure!(got >= wanted, "the load has ended after {got} of {wanted} pushes");
            Ok(())
        })
    }

    /// Ends it after the push that is under way, and says what was acknowledged.
    ///
    /// # Errors
    /// When the tool could not be started.
    pub fn stop(self) -> Result<Ledger> {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all is pushed, and says what was acknowledged.
    ///
    /// # Errors
    /// When the tool could not be started.
    pub fn finish(self) -> Result<Ledger> {
        self.thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}
