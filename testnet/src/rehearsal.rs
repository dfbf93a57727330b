//! The harness tried on itself: something that never ends by itself, for the tests that it ends with the run.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::talk::say;

/// How the program that started it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum End {
    /// Not by itself
    Never,
    /// In good order, forgetting what it started
    Return,
    /// With an error
    Error,
    /// With a panic
    Panic,
}

impl End {
    /// Its name on the command line.
    ///
    /// # Errors
    /// Never: every end has one.
    pub fn name(self) -> Result<String> {
        let value = self.to_possible_value().context("every end has a name")?;
        Ok(value.get_name().to_owned())
    }
}

/// Starts a process, and one that has left its family and ignores polite requests; says so, and ends as told.
///
/// # Errors
/// When told to.
pub fn run(end: End) -> Result<()> {
    let stubborn = "trap '' HUP INT TERM; sleep 1000000 & wait; sleep 1000000";
    for script in ["sleep 1000000", stubborn] {
        Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start 'sh'")?;
    }
    say("Started")?;
    match end {
        End::Return => Ok(()),
        End::Error => bail!("as told"),
        End::Panic => panic!("as told"),
        End::Never => loop {
            std::thread::park();
        },
    }
}
