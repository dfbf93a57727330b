//! What a whole run lives in, so that nothing of it is left when it ends, however it ends.
//!
//! The program starts itself once more, inside namespaces of its own: network (so that it may make links), mounts,
//! and processes, of which the inner program is the first: when that ends, the kernel ends all others. Root makes
//! these by itself; others need a kernel that lets them make user namespaces. Where neither is possible the inner
//! program runs on the machine's own loopback interface, without link emulation, and says so.
//!
//! The outer program holds the inner one by a **lifeline**: a socket that is its standard input. When the outer one ends, by
//! whatever signal, the line breaks, and the inner one ends too. Without namespaces it takes its process group along.
//!
//! # Invariants
//! - The inner program has no terminal signals to fear: Ctrl-C reaches the outer one only.
//! - The folder of the run, with everything temporary in it, goes with the outer program (except if that is killed
//!   by SIGKILL: then no process stays, and the folder until the next run).

use std::env;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};

use crate::doorway;
use crate::folders;
use crate::namespace::Namespace;
use crate::talk::say;

/// What the inner program stands on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Footing {
    /// Namespaces of its own, and emulated links.
    Namespaces,
    /// Ports of the machine's loopback interface.
    Loopback,
}

/// The hidden option by which the outer program tells the inner one what it stands on.
pub const OPTION: &str = "--inside";

/// The hidden command that finds out whether emulated links can be had, inside of namespaces.
pub const PROBE: &str = "probe";

/// How long the inner program may take to end once the line is broken.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// What a program that was interrupted exits with, by the custom of shells.
const INTERRUPTED: u8 = 130;

/// Runs this program once more, inside, with these arguments; with `loopback` on that footing whatever can be had. In
/// namespaces, so many ports of this machine are handed over first: see [`doorway`].
///
/// # Errors
/// When the inner program cannot be started.
pub fn run(arguments: &[String], loopback: bool, doors: usize) -> Result<ExitCode> {
    let footing = match probe() {
        _ if loopback => Footing::Loopback,
        Ok(()) => Footing::Namespaces,
        Err(reason) => {
            say(&format!(
                "No link emulation here: {reason:#}. Stations get ports of the loopback interface instead."
            ))?;
            Footing::Loopback
        }
    };
    remove_leftovers()?;
    let folder = folders::temporary(&format!("{RUN}{}-", std::process::id()))?;
    let (lifeline, end) = UnixStream::pair().context("cannot make a lifeline")?;
    if footing == Footing::Namespaces && doors > 0 {
        doorway::hand_over(lifeline.as_fd(), &doorway::open(doors)?)?;
    }
    let mut command = inner(footing)?;
    command
        .args(arguments)
        .env(folders::RUN_FOLDER, folder.path())
        .process_group(0)
        .stdin(OwnedFd::from(end));
    let child = command.spawn().context("cannot start this program once more")?;
    // It holds the other end of the line, which must be held nowhere else.
    drop(command);
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);

    let (events, happened) = mpsc::channel();
    let interrupted = events.clone();
    ctrlc::set_handler(move || {
        // The receiver is gone only when the program is about to end anyway.
        let _ = interrupted.send(Event::Interrupted);
    })
    .context("cannot listen for signals")?;
    thread::spawn(move || wait_for(child, &events));

    let code = attend(lifeline, &happened, group);
    if let (Footing::Loopback, Some(group)) = (footing, group) {
        // What the inner program has left behind; an error means that it has left nothing.
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(folder);
    Ok(ExitCode::from(code))
}

/// What the names of folders of runs begin with; the process id follows.
pub const RUN: &str = "run-";

/// Removes the folders of runs whose outer program was killed.
fn remove_leftovers() -> Result<()> {
    let parent = folders::kept()?.join("tmp");
    let Ok(entries) = fs::read_dir(&parent) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(RUN)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Best effort: it may belong to somebody else.
            let _ = folders::remove(&entry.path());
        }
    }
    Ok(())
}

enum Event {
    Interrupted,
    Ended(u8),
}

/// Waits for the inner program's end, breaking the line when this one is asked to stop.
fn attend(lifeline: UnixStream, happened: &mpsc::Receiver<Event>, group: Option<Pid>) -> u8 {
    if let Ok(Event::Ended(code)) = happened.recv() {
        return code;
    }
    drop(lifeline);
    loop {
        match happened.recv_timeout(LAST_WORDS) {
            Ok(Event::Ended(code)) => return code,
            Ok(Event::Interrupted) => {}
            Err(RecvTimeoutError::Disconnected) => return INTERRUPTED,
            Err(RecvTimeoutError::Timeout) => {
                // It hangs. With `unshare` between, the kernel passes this on (--kill-child).
                let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            }
        }
    }
}

fn wait_for(mut child: Child, events: &mpsc::Sender<Event>) {
    let code = match child.wait() {
        Ok(status) => status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
        Err(_) => 1,
    };
    // Nobody listens any more if the program is about to end.
    let _ = events.send(Event::Ended(code));
}

/// This program on such a footing, with no command yet.
fn inner(footing: Footing) -> Result<Command> {
    let me = env::current_exe().context("cannot tell where this program lies")?;
    let mut command = match footing {
        Footing::Loopback => Command::new(me),
        Footing::Namespaces => {
            let mut command = Command::new("unshare");
            if !rustix::process::geteuid().is_root() {
                command.args(["--user", "--map-root-user"]);
            }
            command
                .args([
                    "--net",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "--",
                ])
                .arg(me);
            command
        }
    };
    let name = footing.to_possible_value().context("a footing has a name")?;
    command.arg(OPTION).arg(name.get_name());
    Ok(command)
}

/// Finds out whether namespaces and TUN devices can be had.
fn probe() -> Result<()> {
    let mut command = inner(Footing::Namespaces)?;
    // The reason is for a person.
    command.arg(PROBE).env("RUST_LIB_BACKTRACE", "0");
    crate::process::Finished::run(command)
        .map_err(|error| error.context("'unshare' is missing (Debian: apt-get install util-linux)"))?
        .explained()
}

/// The inner side of [`PROBE`]: makes what every station will need, and lets it go.
///
/// # Errors
/// When something cannot be had, with what and why.
pub fn rehearse() -> Result<()> {
    let namespace = Namespace::with_network()?;
    crate::emulator::tun::open(&namespace.network())?;
    crate::emulator::tun::ip(Command::new("ip"), "link set lo up\n")
}

/// The inner side of the lifeline. From now on this process ends, with all that it has started, when the line breaks.
pub fn follow(footing: Footing) {
    thread::spawn(move || {
        wait_for_break();
        end(footing);
    });
}

/// Returns when the outer program wants this one to end.
pub fn wait_for_break() {
    let mut line = io::stdin().lock();
    let mut nothing = [0; 16];
    while line.read(&mut nothing).is_ok_and(|read| read > 0) {}
}

fn end(footing: Footing) -> ! {
    if footing == Footing::Loopback {
        // Includes this process.
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
    std::process::exit(INTERRUPTED.into())
}
