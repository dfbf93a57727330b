//! Running worlds: one process for each seed, some at a time, with a randomness of the process that the seed decides.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::{Report, Wish, live};

/// What begins the line on which a process tells what its world came to.
const REPORT: &str = "report: ";

/// Lives through one world in this process. What the operating system would give as randomness follows from the seed
/// from here on, for the keys of hash maps and for tokio as well; so this can be done once in a process, and on a thread
/// that has used neither.
///
/// `seed_process` does it. It is the caller's, because the crate for that stops the clock of every program that it is
/// linked into, and nothing of this library must do so to the tests that run in real time.
pub fn live_in_this_process(seed: u64, wish: Wish, is_traced: bool, seed_process: fn(u64)) -> Report {
    seed_process(seed);
    let life = std::thread::Builder::new()
        .name("world".to_owned())
        .spawn(move || live(seed, wish, is_traced))
        .expect("a thread for the world");
    life.join().expect("a broken promise is reported, not thrown")
}

/// The line with which a process hands its report over.
///
/// # Errors
/// Never in practice: a report is plain data.
pub fn report_line(report: &Report) -> serde_json::Result<String> {
    Ok(format!("{REPORT}{}", serde_json::to_string(report)?))
}

/// How worlds are run.
#[derive(Clone, Debug)]
pub struct Batch {
    pub wish: Wish,
    /// Processes at one time.
    pub jobs: usize,
    /// Arguments for each process, besides those that say which world.
    pub arguments: Vec<String>,
}

impl Batch {
    /// The arguments that repeat a world.
    pub fn arguments_for(&self, seed: u64) -> Vec<String> {
        let mut arguments = vec!["--seed".to_owned(), seed.to_string()];
        if let Some(stations) = self.wish.stations {
            arguments.extend(["--nodes".to_owned(), stations.to_string()]);
        }
        if let Some(hours) = self.wish.hours {
            arguments.extend(["--hours".to_owned(), hours.to_string()]);
        }
        if !self.wish.with.is_empty() {
            arguments.extend(["--with".to_owned(), self.wish.with.to_string()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Runs one world in a process of its own.
    ///
    /// # Errors
    /// The process cannot be started, or ends without a report: then it says what the process said.
    pub fn run(&self, seed: u64) -> io::Result<Report> {
        let output = Command::new(std::env::current_exe()?)
            .args(self.arguments_for(seed))
            .arg("--report")
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let report = said.lines().rev().find_map(|line| line.strip_prefix(REPORT));
        let report = report.ok_or_else(|| {
            io::Error::other(format!(
                "seed {seed} ended without a report ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ))
        })?;
        serde_json::from_str(report).map_err(io::Error::other)
    }

    /// Runs the worlds of the seeds, and hands each report on as it comes, until `heed` says that it has enough.
    pub fn run_all(
        &self,
        seeds: std::ops::Range<u64>,
        heed: impl FnMut(u64, io::Result<Report>) -> bool + Send,
    ) {
        let next = AtomicU64::new(seeds.start);
        let heed = Mutex::new((heed, true));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let wants_more = || heed.lock().expect("nobody panics in it").1;
                        if seed >= seeds.end || !wants_more() {
                            return;
                        }
                        let report = self.run(seed);
                        let mut heed = heed.lock().expect("nobody panics in it");
                        let (heed, wants_more) = &mut *heed;
                        *wants_more = *wants_more && heed(seed, report);
                    }
                });
            }
        });
    }
}
