//! Waiting for something that other programs bring about and tell nobody of.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clock::Stopwatch;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(40);

/// Looks until `look` succeeds, and returns what it found.
///
/// # Errors
/// When it has not within the time: what it failed with last.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let clock = Stopwatch::start();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if clock.elapsed() > within => {
                return Err(error).with_context(|| format!("waited {} s until {what}", within.as_secs()));
            }
            Err(_) => pause(PAUSE),
        }
    }
}

/// Lets time pass, where the passing of time is what a story is about.
pub fn pause(time: Duration) {
    let (_sender, nothing) = mpsc::channel::<()>();
    // Nothing is ever sent: this returns when the time is over.
    let _ = nothing.recv_timeout(time);
}
