//! A child process whose output is read while it runs.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that is not known to be long.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Captured>,
}

/// What a program has printed so far.
#[derive(Debug, Default)]
struct Captured {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stdout: Vec<String>,
    stderr: Vec<String>,
    open_streams: usize,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Out,
    Err,
}

impl Running {
    /// Starts the command with its output captured.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let output = Arc::new(Captured::default());
        output.lock().open_streams = 2;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        capture(stdout, Stream::Out, Arc::clone(&output));
        capture(stderr, Stream::Err, Arc::clone(&output));
        Ok(Self { name, child, output })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on standard output for which `found` has an answer.
    ///
    /// # Errors
    /// When the program ends before, or the deadline passes; with everything it printed.
    pub fn wait_for_line<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> Result<T> {
        let guard = self.output.lock();
        let search = |state: &mut State| {
            state.stdout.iter().all(|line| found(line).is_none()) && state.open_streams > 0
        };
        let (guard, waited) = self
            .output
            .changed
            .wait_timeout_while(guard, DEADLINE, search)
            .unwrap_or_else(PoisonError::into_inner);
        match guard.stdout.iter().find_map(|line| found(line)) {
            Some(answer) => Ok(answer),
            None if waited.timed_out() => bail!("{} did not print {what} in time:\n{guard}", self.name),
            None => bail!("{} ended without printing {what}:\n{guard}", self.name),
        }
    }

    /// Ends the process at once, as a power cut would.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        // An error here means that it has ended by itself.
        let _ = self.child.kill();
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// Tells it to end at once; to be waited for.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn end(&mut self) -> Result<()> {
        self.child
            .kill()
            .with_context(|| format!("cannot end {}", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("a process id fits")?;
        kill_process(id, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it does not end in time; it is then killed.
    pub fn wait(mut self) -> Result<Finished> {
        let guard = self.output.lock();
        let (guard, waited) = self
            .output
            .changed
            .wait_timeout_while(guard, DEADLINE, |state| state.open_streams > 0)
            .unwrap_or_else(PoisonError::into_inner);
        let (printed, stdout, stderr) = (
            guard.to_string(),
            guard.stdout.join("\n"),
            guard.stderr.join("\n"),
        );
        drop(guard);
        if waited.timed_out() {
            self.kill()?;
            bail!("{} did not end in time:\n{printed}", self.name);
        }
        let status = self
            .child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(Finished {
            name: self.name.clone(),
            status,
            stdout,
            stderr,
        })
    }

    /// Nothing, if it has ended.
    ///
    /// # Errors
    /// When it has not.
    pub fn has_ended(&self) -> Result<()> {
        match self.output.lock().open_streams {
            0 => Ok(()),
            _ => bail!("{} still runs", self.name),
        }
    }

    /// What it has said on standard error so far, line by line.
    pub fn said(&self) -> Vec<String> {
        self.output.lock().stderr.clone()
    }

    /// Waits for the end and keeps what was printed.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        self.child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Everything printed so far, for messages.
    pub fn printed(&self) -> String {
        self.output.lock().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Best effort: it may have ended, and there is nobody to tell.
        let _ = self.kill();
    }
}

impl Captured {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "--- stdout ---\n{}\n--- stderr ---\n{}",
            self.stdout.join("\n"),
            self.stderr.join("\n")
        )
    }
}

fn capture(from: impl Read + Send + 'static, stream: Stream, into: Arc<Captured>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        // A pipe that breaks has ended.
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            let mut state = into.lock();
            match stream {
                Stream::Out => state.stdout.push(text),
                Stream::Err => state.stderr.push(text),
            }
            drop(state);
            into.changed.notify_all();
            line.clear();
        }
        into.lock().open_streams -= 1;
        into.changed.notify_all();
    });
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, without the last newline.
    pub stdout: String,
    /// What it said, without the last newline.
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end. For commands with no deadline of their own, such as builds.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out: Output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {name}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        Ok(Self {
            name,
            status: out.status,
            stdout: text(&out.stdout),
            stderr: text(&out.stderr),
        })
    }

    /// What it printed, if it succeeded.
    ///
    /// # Errors
    /// When it did not, with everything it printed.
    pub fn ok(self) -> Result<String> {
        if !self.status.success() {
            bail!("{self}");
        }
        Ok(self.stdout)
    }

    /// Nothing, if it succeeded.
    ///
    /// # Errors
    /// When it did not, with what it said and nothing else.
    pub fn explained(self) -> Result<()> {
        if !self.status.success() {
            bail!(
                "{}",
                self.stderr
                    .trim()
                    .trim_start_matches("Error: ")
                    .replace('\n', " ")
            );
        }
        Ok(())
    }

    /// What it said, if it failed.
    ///
    /// # Errors
    /// When it succeeded.
    pub fn refused(self) -> Result<String> {
        if self.status.success() {
            bail!("should have failed: {self}");
        }
        Ok(self.stderr)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{name}: {status}\n--- stdout ---\n{stdout}\n--- stderr ---\n{stderr}"
        )
    }
}
