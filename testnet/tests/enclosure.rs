//! Nothing of a run is left when it ends, however it ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tetryx_testnet::enclosure::RUN;
use tetryx_testnet::patience;

/// In namespaces where there can be any, and on the loopback interface.
const FOOTINGS: [&[&str]; 2] = [&[], &["--loopback"]];

/// A run that has started processes which never end by themselves.
struct Rehearsal {
    outer: Child,
    started: BTreeSet<u32>,
}

impl Rehearsal {
    fn start(end: &str, options: &[&str]) -> Result<Self> {
        let mut outer = Command::new(env!("CARGO_BIN_EXE_tetryx-testnet"))
            .args(["rehearse", end])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(outer.stdout.take().context("stdout is piped")?).lines();
        while lines.next().context("it says that it has started")?? != "Started" {}
        // In order of their start, the outer program first; a run that is over already has none.
        let started = descendants(outer.id());
        Ok(Self { outer, started })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.outer.id())?).context("a process id")?;
        Ok(kill_process(id, signal)?)
    }

    /// The processes that are still there. A process that has ended and is only remembered does not count.
    fn left(&self) -> Vec<u32> {
        let alive = |id: &u32| {
            fs::read_to_string(format!("/proc/{id}/stat"))
                .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
        };
        self.started.iter().copied().filter(alive).collect()
    }

    fn expect_nothing_left(mut self) -> Result<()> {
        self.outer.wait()?;
        patience::until("all processes are gone", Duration::from_secs(20), || {
            let left = self.left();
            ensure!(left.is_empty(), "left: {left:?}");
            Ok(())
        })
    }
}

/// A process and all that it has started, as far as they still know their parents.
fn descendants(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([of]);
    let mut todo = vec![of];
    while let Some(id) = todo.pop() {
        for thread in fs::read_dir(format!("/proc/{id}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
                if found.insert(child) {
                    todo.push(child);
                }
            }
        }
    }
    found
}

/// The folder of a run that is under way.
fn folder_of(outer: u32) -> Result<Option<PathBuf>> {
    let parent = tetryx_testnet::folders::kept()?.join("tmp");
    let prefix = format!("{RUN}{outer}-");
    let mut paths = fs::read_dir(parent)?.flatten().map(|entry| entry.path());
    Ok(paths.find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    }))
}

#[test]
fn an_interrupted_run_leaves_no_process() -> Result<()> {
    for options in FOOTINGS {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let run = Rehearsal::start("never", options)?;
            ensure!(run.started.len() >= 4, "{:?}", run.started);
            run.signal(signal)?;
            run.expect_nothing_left()
                .with_context(|| format!("{signal:?} {options:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_run_whose_outer_program_is_killed_leaves_no_process() -> Result<()> {
    for options in FOOTINGS {
        let run = Rehearsal::start("never", options)?;
        run.signal(Signal::KILL)?;
        run.expect_nothing_left()
            .with_context(|| format!("{options:?}"))?;
    }
    Ok(())
}

#[test]
fn a_run_that_ends_by_itself_fails_or_panics_leaves_no_process() -> Result<()> {
    for options in FOOTINGS {
        for end in ["return", "error", "panic"] {
            Rehearsal::start(end, options)?
                .expect_nothing_left()
                .with_context(|| format!("{end} {options:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn an_interrupted_run_takes_its_folder_along_and_a_killed_one_leaves_it_to_the_next() -> Result<()> {
    let run = Rehearsal::start("never", &[])?;
    let folder = folder_of(run.outer.id())?.context("a run has a folder")?;
    run.signal(Signal::TERM)?;
    run.expect_nothing_left()?;
    ensure!(!folder.exists(), "{} stayed", folder.display());

    let run = Rehearsal::start("never", &[])?;
    let folder = folder_of(run.outer.id())?.context("a run has a folder")?;
    run.signal(Signal::KILL)?;
    run.expect_nothing_left()?;
    Rehearsal::start("return", &[])?.expect_nothing_left()?;
    ensure!(!folder.exists(), "{} stayed", folder.display());
    Ok(())
}
