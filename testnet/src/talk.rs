//! Standard output: the one place that prints.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result};

/// Prints a line at once. Nobody reading any more is no error.
///
/// # Errors
/// When standard output cannot be written.
pub fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
